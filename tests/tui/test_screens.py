"""The screens in Textual's own test driver: what is shown, and what keys do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fishtune.core.config.project import Project
from fishtune.core.config.settings import TrainSettings
from fishtune.core.dataset.findings import FindingKind, error, warning
from fishtune.core.events import CheckpointSaved, Failed, Finished, ItemFailed, Progress, Step, Validation
from fishtune.core.hardware.readings import DriverState, Gpu, GpuReading, GpuState
from fishtune.core.pipeline.steps import StepName
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.dialogs.clip import ClipScreen
from fishtune.tui.dialogs.folders import FolderScreen
from fishtune.tui.dialogs.prompt import PromptScreen
from fishtune.tui.screens.gpus import GpuScreen
from fishtune.tui.screens.help import HelpScreen
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.screens.start import StartScreen
from fishtune.tui.screens.too_small import TooSmallScreen
from fishtune.tui.widgets.button import Button
from fishtune.tui.widgets.choice import Choice
from fishtune.tui.widgets.frame import FooterBar, gpu_line
from fishtune.tui.widgets.log_pane import LogPane
from fishtune.tui.widgets.table import Table
from textual.widgets import Input, Static
from wizard_helpers import READING, FakeEngine, shown, until, until_open, until_shown

Make = Callable[..., Wizard]


async def opened(app: Wizard) -> ProjectScreen:
    screen = await until_open(app)
    await until(lambda: screen.pane is not None and screen.pane.ready, app)
    return screen


def training_step(number: int, total: int = 100) -> Step:
    return Step(
        step=number,
        total_steps=total,
        clip_passes=number / 5,
        loss=8 - number / 50,
        base_loss=3.0,
        semantic_loss=5 - number / 50,
        learning_rate=1e-4,
        tokens_per_second=12_345,
        eta=600,
    )


# frame


async def test_a_project_opens_on_the_first_step_that_is_not_done(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)):
        screen = await opened(app)
        assert screen.current is StepName.DATASET
        steps = ("1 Dataset", "2 Model", "3 Extract", "4 Pack", "5 Train", "6 Merge")
        await until_shown(app, *steps, "GPU0 H100 ▮▯▯▯▯▯ 12.4/80.0 GiB")


async def test_a_project_opens_on_the_running_step(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.EXTRACT)
    engine.say(job, [Progress(task="audio", done=31, total=50, unit="s")])
    app = wizard()
    async with app.run_test(size=(80, 24)):
        screen = await opened(app)
        assert screen.current is StepName.EXTRACT
        await until_shown(app, "running 62 %")
        assert "● 3 Extract" in shown(app)


async def test_every_state_has_a_mark_and_a_word_and_a_locked_step_says_why(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await pilot.press("5")
        await until_shown(app, "It waits for packed data (Pack).")
        assert "· 5 Train" in shown(app) and "needs Pack" in shown(app)
        await until_shown(app, "First: Pack ▸")


async def test_the_footer_has_at_most_six_keys_quit_and_help_first(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)):
        await opened(app)
        footer = app.screen.query_one(FooterBar)
        assert len(footer.items) <= FooterBar.MOST
        assert [label for _key, label in footer.items[:2]] == ["Quit", "Help"]
        assert len(shown(app).splitlines()[-1]) <= 80 and "Log" in shown(app).splitlines()[-1]


async def test_keys_of_the_settings_file_count_and_are_shown(wizard: Make, engine: FakeEngine) -> None:
    app = wizard(keys={"show_help": "f5"})
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        assert "F5" in shown(app)
        await pilot.press("question_mark")
        assert not isinstance(app.screen, HelpScreen)
        await pilot.press("f5")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)


async def test_letters_typed_into_a_field_are_no_commands(wizard: Make, project: Project) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        field = screen.query_one("#field-dataset-path", Input)
        field.focus()
        field.value = ""
        await pilot.press("q", "s", "1")
        await pilot.pause()
        assert field.value == "qs1"
        assert Project.load(project.folder).dataset.path == project.dataset.path, "not stored half typed"
        await pilot.press("enter")
        await pilot.pause()
        assert Project.load(project.folder).dataset.path == Path("qs1")


async def test_arrows_go_through_buttons_and_fields_as_tab_does(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        await pilot.press("3", "escape", "right")
        await until(lambda: isinstance(app.focused, Choice | Input), app)
        first = app.focused
        await pilot.press("down")
        assert app.focused is not first
        await pilot.press("up")
        assert app.focused is first
        buttons = list(screen.query(Button))
        buttons[-1].focus()
        await pilot.press("left")
        assert app.focused is not buttons[-1]
        await pilot.press("right")
        assert app.focused is buttons[-1]


async def test_escape_leads_back_to_the_steps_and_to_the_start_page(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        screen.query_one("#field-dataset-path").focus()
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert app.focused is not None and app.focused.id == "steps"
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, StartScreen), app)
        await until_shown(app, "yoona")


async def test_below_the_smallest_size_one_sentence_is_shown(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await pilot.resize_terminal(70, 20)
        await until(lambda: isinstance(app.screen, TooSmallScreen), app)
        assert "needs 80×24" in shown(app).replace("\n", " ")
        await pilot.resize_terminal(100, 30)
        await until(lambda: isinstance(app.screen, ProjectScreen), app)


async def test_the_palette_finds_every_action(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(app)
        await pilot.press("ctrl+p", *"gpus")
        await until_shown(app, "Show every GPU")
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("enter")
        await until_shown(app, "NVIDIA driver 560.35")
        assert "4711" in shown(app)


async def test_every_dialog_has_help(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        for dialog in (PromptScreen("Which?"), FolderScreen("Which?", Path("/")), GpuScreen()):
            await app.push_screen(dialog)
            await pilot.press("f1")
            await until(lambda: isinstance(app.screen, HelpScreen), app)
            words = dialog.help_text().split()
            assert " ".join(words[:4]) in shown(app)
            await pilot.press("escape")
            await until(lambda: app.screen is dialog, app)  # noqa: B023
            app.pop_screen()
            await until(lambda: app.screen is screen, app)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
async def test_a_long_clip_leaves_room_for_its_buttons(
    wizard: Make, project: Project, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    async def inspect(self: FakeEngine, project: Project, clip: str, points: int) -> dict[str, object]:
        return {"outline": [0.5] * points, "transcript": "many words " * 300}

    monkeypatch.setattr(FakeEngine, "inspect_clip", inspect)
    app = wizard()
    async with app.run_test(size=size) as pilot:
        await opened(app)
        await app.push_screen(ClipScreen(project, "A/a", None))
        await until_shown(app, "many words")
        await pilot.pause()
        assert "Leave this clip out" in shown(app) and "Close" in shown(app)


async def test_themes_change_and_leave_the_text(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        for theme in ("fishtune-light", "high-contrast", "ansi-dark", "fishtune-dark"):
            await pilot.press("ctrl+t")
            await pilot.pause()
            assert app.theme == theme and "1 Dataset" in shown(app)


# GPU


@pytest.mark.parametrize(
    ("reading", "text"),
    [
        (READING, "GPU0 H100 ▮▯▯▯▯▯ 12.4/80.0 GiB  37 % 61 °C"),
        (GpuReading(state=DriverState.NO_DRIVER, message="x"), "GPU: no driver"),
        (GpuReading(state=DriverState.READY, gpus=(Gpu(index=0, state=GpuState.LOST),)), "GPU0 lost"),
        (GpuReading(state=DriverState.READY, gpus=(Gpu(index=0, name="[/x]"),)), "GPU0 [/x]"),
        (None, ""),
    ],
)
def test_the_header_says_what_nvml_says(reading: GpuReading | None, text: str) -> None:
    assert gpu_line(reading, 60) == text


def test_more_gpus_than_fit_are_counted() -> None:
    cards = tuple(replace(READING.gpus[0], index=number) for number in range(8))
    line = gpu_line(replace(READING, gpus=cards), 60)
    assert line.endswith("+7 more") and len(line) <= 60


# dataset


def report(data: Path) -> Finished:
    return Finished(
        summary={
            "data": str(data),
            "clips": 3,
            "seconds": 750.0,
            "speakers": [
                {"speaker": "[/amy]", "clips": 3, "seconds": 750.0, "median_seconds": 2.5, "loudness": -21.0}
            ],
            "findings": [
                error(
                    FindingKind.TEXT_EMPTY, data / "A" / "a.lab", "a.lab is empty [/x].", "Write it."
                ).model_dump(mode="json"),
                warning(
                    FindingKind.CLIPPING, data / "A" / "b.wav", "b.wav clips.", "Record again."
                ).model_dump(mode="json"),
            ],
        }
    )


async def test_findings_are_shown_filtered_and_explained(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.VALIDATE, {"data": str(project.data)})
    engine.say(job, [report(project.data)])
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app)
        await pilot.press("1")
        for part in ("a.lab is empty [/x].", "✗ error", "≈ warning", "[/amy]"):
            await until(lambda part=part: part in shown(app), app)
        # Not as shown: it wraps where the length of the checkout's path says.
        sentences = [str(line.content) for line in screen.query("#sentence").results(Static)]
        assert any("; 1 error, 1 warning." in sentence for sentence in sentences)
        screen.query_one("#filter").focus()
        await pilot.press("right")
        await pilot.pause()
        assert "b.wav clips." not in shown(app)
        screen.query_one("#findings", Table).focus()
        await pilot.press("enter")
        await until_shown(app, "→ Write it.")
        assert str(project.data / "A" / "a.lab") in shown(app)
        await pilot.press("x")
        await until(lambda: isinstance(app.screen, ProjectScreen), app)
    assert Project.load(project.folder).dataset.exclude == ["A/a"]


async def test_a_clip_is_shown_with_its_words_and_waveform(wizard: Make, project: Project) -> None:
    app = wizard()
    clip = next(path for path in sorted(project.data.rglob("*.lab")))
    async with app.run_test(size=(100, 30)):
        await opened(app)
        app.push_screen(ClipScreen(project, f"{clip.parent.name}/{clip.stem}", None))
        await until(lambda: "Transcript" in shown(app), app, 30)


async def test_checking_starts_a_job_on_the_projects_folder(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await pilot.press("enter")
        await until(lambda: engine.started, app)
        stage, settings, _secrets = engine.started[0]
        assert stage is StageName.VALIDATE and settings.model_dump()["data"] == project.data
        await until_shown(app, "Running (job")


# model


async def test_the_base_model_is_chosen_among_the_presets(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    project.model = type(project.model)()
    project.save()
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app)
        await pilot.press("2")
        await until(lambda: screen.current is StepName.MODEL and "Token…" in shown(app), app)
        choice = screen.query_one("#field-model-name", Choice)
        assert [value for value, _ in choice.options] == ["", "s2-pro"]
        choice.action_turn(1)
        await until_shown(app, "model-00002-of-00002.safetensors")
        directory = screen.query_one("#field-model-path", Input)
        assert directory.placeholder == "checkpoints/s2-pro"
        assert screen.pane is not None
        screen.pane.press("run")
        await until(lambda: engine.started, app)
    _stage, settings, _secrets = engine.started[0]
    assert settings.model_dump()["name"] == "s2-pro"
    assert settings.model_dump()["local_dir"] == project.folder / "checkpoints/s2-pro"


async def test_before_a_download_both_models_stand_with_size_and_licence_and_a_row_chooses(
    wizard: Make, project: Project
) -> None:
    project.model = type(project.model)()
    project.save()
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        await pilot.press("2")
        await until_shown(app, "openaudio-s1-mini", "3.4 GiB", "s2-pro", "10.2 GiB", "CC BY-NC-SA 4.0")
        offers = screen.query_one("#offers", Table)
        offers.focus()
        offers.select_key("s2-pro")
        await pilot.press("enter")
        await until_shown(app, "‹ s2-pro ›", "checkpoints/s2-pro")
    assert Project.load(project.folder).model.name == "s2-pro"


async def test_the_token_goes_to_the_download_and_nowhere_else(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    project.model.path = Path("checkpoints/new")
    project.save()
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        await pilot.press("2")
        await until(lambda: screen.current is StepName.MODEL and "Token…" in shown(app), app)
        assert screen.pane is not None
        screen.pane.press("token")
        await pilot.pause()
        await pilot.press(*"hf_secret")
        assert "hf_secret" not in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        screen.pane.press("run")
        await until(lambda: engine.started, app)
    stage, _settings, secrets = engine.started[0]
    assert stage is StageName.DOWNLOAD and secrets == {"HF_TOKEN": "hf_secret"}
    written = [path.read_text(errors="replace") for path in project.folder.rglob("*") if path.is_file()]
    assert not any("hf_secret" in content for content in written)


# forms


async def test_a_wrong_value_is_refused_beside_its_field_and_not_saved(
    wizard: Make, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        await pilot.press("3")
        await until(lambda: bool(screen.query("#field-extract-batch-size")), app)
        field = screen.query_one("#field-extract-batch-size", Input)
        field.focus()
        await pilot.press("0")
        await pilot.pause()
        assert "input should be greater than or equal to" in shown(app)
        await pilot.press("backspace", "x")
        await pilot.pause()
        assert "a number is needed" in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "Not stored: Clips per batch: a number is needed" in shown(app)
        await pilot.press("backspace", "8", "tab")
        await pilot.pause()
        assert Project.load(project.folder).extract.batch_size == 8
        field.focus()
        await pilot.press("backspace", "tab")
        await pilot.pause()
    assert "batch_size" not in project.file.read_text()


async def test_choosing_a_preset_writes_it_and_changes_what_is_inherited(
    wizard: Make, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app)
        await pilot.press("5")
        await until(lambda: bool(screen.query("#presets")) and "gentle" in shown(app), app)
        table = screen.query_one("#presets", Table)
        await until(
            lambda: "MiB" in table.get_row("gentle")[-1].plain or "GiB" in table.get_row("gentle")[-1].plain,
            app,
        )
        table.focus()
        table.select_key("gentle")
        await pilot.press("enter")
        await pilot.pause()
        assert Project.load(project.folder).train.lora_config == "gentle"
        assert screen.query_one("#field-train-learning-rate", Input).placeholder == "1e-05"


# training


async def test_a_training_run_shows_curve_numbers_and_log(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    job.log_path.write_text("first line [/x]\nsecond line\n")
    engine.say(job, [training_step(number) for number in range(1, 41)])
    engine.say(job, [Validation(step=40, loss=7.654, base_loss=3, semantic_loss=4.6, top_5_accuracy=0.31)])
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        numbers = ("40 / 100", "12,345", "10 min 00 s", "7.654", "31 %", "12.4/80.0 GiB")
        await until_shown(app, *numbers, "total loss", "held-out", "first line [/x]")
        screen.query_one("#axis").focus()
        await pilot.press("right")
        await until_shown(app, "clip passes   ─ train")
        assert shown(app).count("second line") == 1
        engine.say(job, [training_step(50), CheckpointSaved(step=50, path="x", bytes=123_456)])
        await until_shown(app, "50 / 100")
        engine.say(job, [Finished(summary={})])
        await until(lambda: "Train" in shown(app) and "Running" not in shown(app), app)


async def test_a_run_of_100_000_steps_opens_quickly_and_keys_are_answered(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    lines = b"".join(
        training_step(number, 100_000).model_dump_json().encode() + b"\n" for number in range(1, 100_001)
    )
    job.events_path.write_bytes(lines)
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app)
        # benchmarks/wizard.py measures the second; here other tests share the machine.
        await until(lambda: "/ 100,000" in shown(app), app, 4)
        assert "100,000 / 100,000" not in shown(app), "what is known is shown before everything is read"
        await pilot.press("2")
        await until(lambda: app.screen.current is StepName.MODEL, app, 2)  # type: ignore[attr-defined]
        await pilot.press("5")
        await until(lambda: "100,000 / 100,000" in shown(app), app, 40)


async def test_a_failure_is_shown_with_its_hint_where_it_belongs(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await until_shown(app, "Running (job")
        job.log_path.write_text("Traceback: boom\n")
        engine.say(
            job,
            [Failed(error="PreflightError", message="Layer [/x] got no gradient.", hint="Look at targets.")],
        )
        await until_shown(app, "Error: Layer [/x] got no gradient.")
        assert "→ Look at targets." in shown(app) and "l shows the log." in shown(app)
        await until(lambda: "Traceback: boom" in "\n".join(app.screen.query_one(LogPane).lines), app)
        assert "Traceback" not in shown(app)
        await pilot.press("l")
        await until_shown(app, "Traceback: boom")
        await pilot.press("l")
        await pilot.pause()
        assert not app.screen.query_one(LogPane).display


async def test_stopping_asks_first_and_ends_at_once_the_second_time(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await until_shown(app, "Running (job")
        await pilot.press("s")
        await until_shown(app, "Stop the training?")
        assert engine.stopped == []
        await pilot.press("s")
        await until(lambda: engine.stopped == [(job.id, False)], app)
        await pilot.press("s")
        await until(lambda: engine.stopped[1:] == [(job.id, True)], app)


async def test_the_question_whether_to_stop_goes_with_the_training_that_it_was_about(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        await until_shown(app, "Running (job")
        await pilot.press("s")
        await until_shown(app, "Stop the training?")
        engine.say(job, [Failed(error="PreflightError", message="No gradient.", hint="Look.")])
        await until(lambda: app.screen is screen and "Error: No gradient." in shown(app), app)
    assert engine.stopped == []


async def test_failed_items_are_a_list(wizard: Make, engine: FakeEngine, project: Project) -> None:
    job = engine.new_job(project, StageName.EXTRACT)
    engine.say(job, [ItemFailed(item=f"A/{n}", message="[/broken]", hint="Re-export.") for n in range(3)])
    app = wizard()
    async with app.run_test(size=(100, 30)):
        await opened(app)
        await until_shown(app, "3 could not be used.")
        await until_shown(app, "A/2", "[/broken]")
        await until_shown(app, "→ Re-export.")


# leaving


async def test_leaving_while_a_job_runs_says_how_to_come_back(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await pilot.press("q")
    assert job.id in app.farewell and str(project.folder) in app.farewell and "fishtune-tui" in app.farewell
    assert engine.stopped == []


# merge


async def test_the_base_stands_above_the_checkpoints_and_cannot_be_picked(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    checkpoint = project.run_folder / "checkpoints" / f"step_{20:09d}.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"x")
    job = engine.new_job(project, StageName.TRAIN)
    losses = ((0, 6.125), (20, 5.0))
    engine.say(
        job,
        [
            Validation(step=step, loss=loss, base_loss=1, semantic_loss=1, top_5_accuracy=0.5)
            for step, loss in losses
        ],
    )
    engine.say(job, [Finished()])
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app)
        await pilot.press("6")
        await until_shown(app, "6.125", "Recommended: step 20.")
        table = screen.query_one("#candidates", Table)
        screen.set_focus(table)
        table.select_key("base")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert Project.load(project.folder).merge.checkpoint is None
        assert screen.pane is not None
        screen.pane.press("run")
        await until_shown(app, "The base is what checkpoints are merged into")
        assert not engine.started
        screen.pane.press("audition")
        await until_shown(app, "Who speaks")
        app.screen.query_one("#who", Choice).value = "one"
        await pilot.press("enter")
        await until(lambda: engine.started, app)
        assert engine.started[0][1].model_dump()["checkpoint"] == project.base


async def test_the_recommended_checkpoint_is_marked_and_merged(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    checkpoints = project.run_folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    job = engine.new_job(project, StageName.TRAIN)
    for step, loss in ((20, 5.0), (40, 4.0), (60, 3.99)):
        path = checkpoints / f"step_{step:09d}.ckpt"
        path.write_bytes(b"x" * 100)
        engine.say(
            job,
            [
                Validation(
                    step=step, loss=loss, base_loss=1, semantic_loss=1, top_5_accuracy=0.5, clip_passes=step
                ),
                CheckpointSaved(step=step, path=str(path), bytes=100, validation_loss=loss, clip_passes=step),
            ],
        )
    engine.say(job, [Finished()])
    (project.folder / "protos").mkdir()
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app)
        await pilot.press("6")
        await until_shown(app, "Recommended: step 40.")
        assert "◆" in shown(app) and "is within 1% of the" in shown(app)
        assert screen.pane is not None
        screen.pane.press("run")
        await until(lambda: engine.started, app)
        _stage, settings, _secrets = engine.started[0]
        assert settings.model_dump()["lora_weight"].name == "step_000000040.ckpt"
        table = screen.query_one("#candidates", Table)
        await until(lambda: screen.pane is not None and screen.pane.monitor_shown, app)
        screen.pane.show_monitor(False)
        screen.set_focus(table)
        table.select_key(str(checkpoints / "step_000000020.ckpt"))
        await pilot.pause()
        await pilot.press("enter")
        await until(lambda: Project.load(project.folder).merge.checkpoint is not None, app)
    chosen = Project.load(project.folder).merge.checkpoint
    assert chosen is not None and chosen.endswith("step_000000020.ckpt")


def test_settings_of_training_are_the_presets_under_the_projects(project: Project) -> None:
    project.train.lora_config = "gentle"
    project.train.max_steps = 7
    settings = project.train_settings()
    assert isinstance(settings, TrainSettings) and settings.max_steps == 7
    assert json.loads(settings.model_dump_json())["learning_rate"] == 1e-5


# memory


@pytest.mark.parametrize(
    ("key", "table", "names"), [("3", "extract", ("batch_size",)), ("5", "train", ("batch_tokens",))]
)
async def test_the_suggested_batch_comes_with_its_table_and_can_be_taken(
    wizard: Make, project: Project, key: str, table: str, names: tuple[str, ...]
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 60)) as pilot:
        screen = await opened(app)
        await until(lambda: app.gpus is not None, app)
        await pilot.press(key)
        await until_shown(app, "Fits 67.6 GiB free", "needed in all", "free now", "CUDA context")
        assert screen.pane is not None
        button = screen.pane.query_one("#take Button")
        button.focus()
        await pilot.pause()
        await pilot.press("enter")
        await until(lambda: getattr(Project.load(project.folder), table).model_fields_set >= set(names), app)
