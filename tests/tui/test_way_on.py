"""What Enter does and never does, how a training is stopped, how ordinary errors and logs are shown."""

from __future__ import annotations

import gc
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.config.project import Project
from fishtune.core.config.settings import LoudnessNormSettings
from fishtune.core.dataset.journal import JOURNAL_FILE
from fishtune.core.events import Failed, Finished, Started, Stopped
from fishtune.core.jobs.record import Place, list_jobs
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.dialogs import folders
from fishtune.tui.dialogs.confirm import ConfirmScreen
from fishtune.tui.dialogs.folders import FolderScreen
from fishtune.tui.engine import Engine
from fishtune.tui.project_state import ProjectState, ShownStep
from fishtune.tui.trouble import in_background, trouble_file
from fishtune.tui.widgets.button import Button
from fishtune.tui.widgets.log_pane import LogPane
from staged_project import saved, training_step
from wizard_helpers import FakeEngine, shown, until, until_open, until_shown

Make = Callable[..., Wizard]
TUI = Path(folders.__file__).parents[1]


# Enter


@pytest.mark.parametrize("stage", [StageName.VALIDATE, StageName.EXTRACT, StageName.TRAIN, StageName.MERGE])
async def test_enter_on_a_running_job_watches_and_never_stops_it(
    wizard: Make, engine: FakeEngine, project: Project, stage: StageName
) -> None:
    engine.new_job(project, stage)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await until_shown(app, "Watch")
        buttons = list(screen.query("#buttons Button").results(Button))
        assert str(buttons[-1].label) == "Watch"
        await pilot.press("enter", "r")
        await until(lambda: isinstance(app.focused, LogPane), app)
        buttons[-1].focus()
        await pilot.press("enter", "enter", "enter")
        await pilot.pause()
        assert engine.stopped == [] and app.screen is screen


async def test_enter_pressed_again_on_the_button_that_started_a_job_does_not_stop_it(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        button = list(screen.query("#buttons Button").results(Button))[-1]
        button.focus()
        await pilot.press("enter")
        await until(lambda: engine.started and "Watch" in shown(app), app)
        await pilot.press("enter", "enter")
        await pilot.pause()
        assert engine.stopped == [] and len(engine.started) == 1


async def test_enter_meant_for_stopping_starts_nothing_when_the_job_has_just_ended(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await until_shown(app, "Stop and save")
        next(iter(screen.query("#buttons Button").results(Button))).focus()
        engine.say(job, [Stopped()])
        await until_shown(app, "Settings")
        await pilot.press("enter")
        await pilot.pause()
        assert engine.started == []


async def test_stopping_a_training_asks_once_with_numbers_and_enter_keeps_it(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    engine.say(job, [training_step(number, 200) for number in range(1, 51)] + [saved(40, 7.0, "x")])
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await until_shown(app, "50 / 200")
        await pilot.press("s")
        await until(lambda: isinstance(app.screen, ConfirmScreen), app)
        await until_shown(app, "Step 50 of 200 (25 %), 5 min 00 s to go.")
        assert "Last checkpoint: step 40." in shown(app)
        await pilot.press("enter")
        await until(lambda: app.screen is screen, app)
        assert engine.stopped == []
        await pilot.press("s", "s")
        await until(lambda: engine.stopped == [(job.id, False)], app)


async def test_other_stages_stop_without_being_asked_back(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.EXTRACT)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await until_shown(app, "Watch")
        await pilot.press("s")
        await until(lambda: engine.stopped == [(job.id, False)], app)


# errors


async def test_an_unforeseen_error_is_a_sentence_and_its_traceback_lies_in_a_file(
    wizard: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect_project(self: Engine, project: Project) -> ProjectState:
        raise ZeroDivisionError("by [/x]")

    monkeypatch.setattr(Engine, "inspect_project", inspect_project)
    app = wizard()
    async with app.run_test(size=(120, 40)):
        await until_shown(app, "unexpected ZeroDivisionError: by [/x]")
        assert "1 Dataset" in shown(app) and "6 Merge" in shown(app) and "Traceback" not in shown(app)
    assert "ZeroDivisionError: by [/x]" in trouble_file().read_text()


async def test_background_work_says_its_trouble_and_is_silent_when_its_screen_is_gone(
    wizard: Make, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []

    def list_folders(written: str) -> list[str]:
        listed.append(written)
        raise ZeroDivisionError("by [/x]")

    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until_open(app)
        dialog = FolderScreen("Where?", project.folder)
        await app.push_screen(dialog)

        async def look_for_what_is_gone() -> None:
            dialog.query_one("#gone")

        in_background(dialog, look_for_what_is_gone, app.tell_error)
        monkeypatch.setattr(folders, "subfolders", list_folders)
        await pilot.press("x")
        await until_shown(app, "unexpected ZeroDivisionError: by [/x]")
    assert listed


async def test_work_that_another_takes_the_place_of_before_its_turn_leaves_no_warning(
    wizard: Make, recwarn: pytest.WarningsRecorder
) -> None:
    done = []

    async def work() -> None:
        done.append(True)

    app = wizard()
    async with app.run_test():
        for _ in range(2):
            worker = in_background(app, work, app.tell_error)
        await worker.wait()
    gc.collect()
    assert done == [True]
    assert [str(each.message) for each in recwarn if "never awaited" in str(each.message)] == []


def test_nothing_in_the_wizard_starts_a_worker_of_its_own() -> None:
    """`tui.trouble` says what goes wrong in one; Textual would end the program."""
    starters = {
        str(path.relative_to(TUI))
        for path in TUI.rglob("*.py")
        if re.search(r"\brun_worker\(|@work\b", path.read_text())
    }
    assert starters == {"trouble.py"}


async def test_what_ends_the_program_is_kept_for_a_sentence_and_not_printed(
    wizard: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    app = wizard()
    with pytest.raises(ZeroDivisionError):
        async with app.run_test(size=(80, 24)):
            screen = await until_open(app)
            screen.call_later(lambda: 1 / 0)  # type: ignore[arg-type]
            await until(lambda: app.trouble is not None, app)
    assert app.trouble is not None and str(trouble_file()) in app.trouble.hint
    assert "Traceback" not in "".join(capsys.readouterr())


async def test_a_failure_to_start_is_shown_with_its_hint(
    wizard: Make, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: FakeEngine, *_arguments: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(FakeEngine, "start", start)
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await until_open(app)
        await pilot.press("enter")
        await until_shown(app, "Error: The wizard met an unexpected OSError")


async def test_a_step_that_is_done_does_not_show_the_error_of_an_old_job(
    wizard: Make, engine: FakeEngine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    engine.say(job, [Failed(error="TrainingError", message="The loss was NaN.", hint="Lower the rate.")])
    inspect_project = Engine.inspect_project
    done = False

    def looked(self: Engine, project: Project) -> ProjectState:
        state = inspect_project(self, project)
        if not done:
            return state
        steps = [
            ShownStep(step.name, StepState.DONE, "done", "Trained 9 steps.")
            if step.name is StepName.TRAIN
            else step
            for step in state.steps
        ]
        return ProjectState(tuple(steps), state.jobs, state.running, state.checkpoints)

    monkeypatch.setattr(FakeEngine, "inspect_project", looked)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await pilot.press("5")
        await until_shown(app, "Error: The loss was NaN.")
        done = True
        await pilot.press("ctrl+r")
        await until_shown(app, "Trained 9 steps.")
        await until(lambda: "The loss was NaN." not in shown(app), app)


async def test_an_error_that_comes_while_it_is_looked_at_is_shown_beside_a_step_that_is_done(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    first = engine.new_job(project, StageName.VALIDATE)
    engine.say(first, [Finished(summary={"clips": 3, "findings": []})])
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await pilot.press("1")
        job = engine.new_job(project, StageName.LOUDNESS_NORM)
        await pilot.press("ctrl+r")
        await until_shown(app, "Watch")
        engine.say(job, [Failed(error="UsageError", message="The folder is foreign.", hint="Move it.")])
        await until_shown(app, "Error: The folder is foreign.")


async def test_a_verification_is_a_job_whose_result_is_said_beside_the_model(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    merged = engine.new_job(project, StageName.VERIFY, {"directory": "checkpoints/merged"})
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await pilot.press("2")
        await until_shown(app, "Verify")
        next(button for button in screen.query(Button) if button.name == "verify").focus()
        await pilot.press("enter")
        await until(lambda: engine.started and "Watch" in shown(app), app)
        (stage, settings, _secrets) = engine.started[0]
        assert stage is StageName.VERIFY and settings.directory == project.base
        place = Place(results=project.results, project=project.name)
        (job,) = (job for job in list_jobs(place) if job.id in engine.writers and job.id != merged.id)
        files = ["config.json", "model.pth", "codec.pth"]
        engine.say(job, [Finished(summary={"tensors": 12, "files": files})])
        await until_shown(app, "Sound: 12 tensors fit the configuration, 3 files read.")


# log


async def test_the_log_follows_its_end_after_every_change_of_size(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.EXTRACT)
    engine.say(job, [Started(stage="extract")])
    app = wizard()
    numbers = itertools.count(1)

    def more(lines: int) -> str:
        written = [f"line {next(numbers):04}" for _ in range(lines)]
        with job.log_path.open("a") as log:
            log.write("\n".join([*written, ""]))
        return written[-1]

    async with app.run_test(size=(120, 40)) as pilot:
        await until_open(app)
        last = more(100)
        await until(lambda: last in shown(app), app)
        for size in ((80, 24), (120, 40), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            last = more(3)
            await until(lambda: last in shown(app), app, 10)  # noqa: B023
        await pilot.press("l", "l")
        last = more(3)
        await until(lambda: last in shown(app), app, 10)
        app.screen.query_one(LogPane).focus()
        await pilot.press("home")
        last = more(3)
        await until(lambda: last in "\n".join(app.screen.query_one(LogPane).lines), app)
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert "line 0001" in shown(app), "whoever scrolled up stays there"


# a normalisation that ended early


async def test_a_stopped_normalisation_is_unfinished_and_the_main_button_continues_it(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    raw, data = project.folder / "data-raw", project.folder / "data"
    shutil.copytree(project.data, raw)
    shutil.copytree(project.data, data)
    for codes in data.glob("*/*.npy"):
        codes.with_suffix(".wav").write_bytes(b"RIFF")
    project.dataset.path = Path("data")
    project.save()
    lines = [{"file": f"A/{number}.wav"} for number in range(24)]
    lines += [{"file": f"A/{number}.wav", "written": [1, 1]} for number in range(10)]
    (data / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = LoudnessNormSettings(source=raw, target=data, loudness=-20, clean=True)
    job = engine.new_job(project, StageName.LOUDNESS_NORM, settings.model_dump(mode="json"))
    engine.say(job, [Stopped(saved="What is finished is kept.")])
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        assert screen.current is StepName.DATASET
        await until_shown(app, "unfinished", "Continue normalising")
        assert "10 of 24" in shown(app)
        await pilot.press("enter")
        await until(lambda: engine.started, app)
    stage, given, _secrets = engine.started[0]
    assert stage is StageName.LOUDNESS_NORM
    assert given == settings.model_copy(update={"clean": False})
