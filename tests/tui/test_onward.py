"""Enter goes forward: the main button has the focus and brings the user on; the footer says what it does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fishtune.core.config.project import Project
from fishtune.core.events import Failed, Finished, Stopped
from fishtune.core.hub.credentials import token_is_set
from fishtune.core.jobs.record import JobState
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.stages.registry import StageName
from fishtune.tui.actions import ACTIONS
from fishtune.tui.app import Wizard
from fishtune.tui.dialogs.prompt import PromptScreen
from fishtune.tui.engine import Engine
from fishtune.tui.project_state import TITLES, ProjectState, ShownStep
from fishtune.tui.widgets.button import Button
from fishtune.tui.widgets.choice import Choice
from fishtune.tui.widgets.log_pane import LogPane
from fishtune.tui.widgets.step_list import StepList
from textual.widget import Widget
from textual.widgets import Input
from wizard_helpers import FakeEngine, shown, until, until_open, until_shown

Make = Callable[..., Wizard]


class Stages:
    """How the steps stand, as the test says; jobs are the engine's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states = dict.fromkeys(StepName, StepState.DONE)
        look = Engine.inspect_project

        def inspect_project(engine: Engine, project: Project) -> ProjectState:
            seen = look(engine, project)
            steps = tuple(self._as_told(step) for step in seen.steps)
            return replace(seen, steps=steps)

        monkeypatch.setattr(FakeEngine, "inspect_project", inspect_project)

    def _as_told(self, step: ShownStep) -> ShownStep:
        if step.state is StepState.RUNNING:
            return step
        state = self.states[step.name]
        needs = StepName.DATASET if state is StepState.LOCKED else None
        return ShownStep(step.name, state, state.value, f"It is {state}.", needs)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    return Stages(monkeypatch)


def focused_label(app: Wizard) -> str:
    return str(app.focused.label) if isinstance(app.focused, Button) else ""


def footer(app: Wizard) -> str:
    return shown(app).splitlines()[-1]


async def test_enter_alone_goes_from_each_step_that_is_done_to_the_next_and_starts_nothing(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        for following in list(StepName)[1:]:
            label = f"Next: {TITLES[following]} ▸"
            await until(lambda: focused_label(app) == label, app)  # noqa: B023
            await until(lambda: f"⏎ Next: {TITLES[following]} " in footer(app), app)  # noqa: B023
            await pilot.press("enter")
            await until(lambda: screen.current is following and focused_label(app), app)  # noqa: B023
        assert engine.started == []


async def test_a_step_to_be_done_is_done_by_enter_as_soon_as_its_project_is_open(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    stages.states[StepName.EXTRACT] = StepState.STALE
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await until(lambda: focused_label(app) == "Extract" and "⏎ Extract " in footer(app), app)
        await pilot.press("enter")
        await until(lambda: [stage for stage, *_ in engine.started] == [StageName.EXTRACT], app)


async def test_enter_on_a_locked_step_opens_the_one_it_waits_for(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    stages.states[StepName.DATASET] = StepState.FAILED
    stages.states[StepName.TRAIN] = StepState.LOCKED
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await pilot.press("5")
        await until(lambda: focused_label(app) == "First: Dataset ▸", app)
        await pilot.press("enter")
        await until(lambda: screen.current is StepName.DATASET and focused_label(app) == "Check", app)
        assert engine.started == []


async def test_the_way_on_has_the_focus_as_soon_as_a_watched_job_is_done(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    stages.states[StepName.PACK] = StepState.READY
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await until(lambda: focused_label(app) == "Pack", app)
        await pilot.press("enter")
        await until(lambda: focused_label(app) == "Watch" and "⏎ Watch " in footer(app), app)
        stages.states[StepName.PACK] = StepState.DONE
        engine.say(screen.state.jobs[StepName.PACK], [Finished()])
        seen = {focused_label(app)}

        def is_done() -> bool:
            seen.add(focused_label(app))
            return focused_label(app) == "Next: Train ▸"

        await until(is_done, app)
        assert seen <= {"Watch", "Next: Train ▸"}, "Enter would have packed again in between"


@pytest.mark.parametrize(("place", "key"), [(LogPane, "enter"), (StepList, "escape")])
async def test_the_end_of_a_job_leaves_the_focus_where_the_user_went_meanwhile(
    wizard: Make, engine: FakeEngine, stages: Stages, place: type[Widget], key: str
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        job = engine.new_job(screen.project, StageName.PACK)
        await pilot.press("4", "ctrl+r")
        await until(lambda: focused_label(app) == "Watch", app)
        await pilot.press(key)
        await until(lambda: isinstance(app.focused, place), app)
        engine.say(job, [Finished()])
        await until_shown(app, "Next: Train")
        assert isinstance(app.focused, place)
        await pilot.press(*["escape"] * (place is LogPane))
        await until(lambda: "⏎ Next: Train " in footer(app), app)
        await pilot.press("enter")
        await until(lambda: screen.current is StepName.TRAIN, app)


async def test_what_failed_is_told_once_below_or_on_top_where_the_form_is_shown(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    stages.states[StepName.PACK] = StepState.FAILED  # "It is failed." stands for the error's own sentence
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        job = engine.new_job(screen.project, StageName.PACK)
        await pilot.press("4", "ctrl+r")
        await until(lambda: focused_label(app) == "Watch", app)
        engine.say(job, [Failed(error="DataError", message="No clip is left.", hint="Add some.")])
        await until_shown(app, "The last run failed.", "Error: No clip is left.", "→ Add some.")
        assert "It is failed." not in shown(app)
        await pilot.press("e")
        await until_shown(app, "It is failed.", "Bytes per shard")
        assert "The last run failed." not in shown(app)


async def test_enter_in_the_log_leads_on_once_the_step_is_done(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        job = engine.new_job(screen.project, StageName.PACK)
        await pilot.press("4", "ctrl+r")
        await until(lambda: focused_label(app) == "Watch", app)
        await pilot.press("enter")
        await until(lambda: isinstance(app.focused, LogPane) and "⏎ Leave the log " in footer(app), app)
        engine.say(job, [Finished()])
        await until(lambda: "⏎ Next: Train " in footer(app), app)
        assert isinstance(app.focused, LogPane)
        await pilot.press("enter")
        await until(lambda: screen.current is StepName.TRAIN, app)
        assert engine.started == []


@pytest.mark.parametrize("key", ["enter", "l", "escape"])
async def test_a_log_opened_over_a_steps_form_gives_way_to_it_again(
    wizard: Make, engine: FakeEngine, stages: Stages, key: str
) -> None:
    stages.states[StepName.PACK] = StepState.READY  # nothing leads on from there: Enter leaves the log alone
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        engine.say(engine.new_job(screen.project, StageName.PACK), [Finished()])
        await pilot.press("4", "ctrl+r")
        await until(lambda: screen.pane is not None and screen.pane.job_state is JobState.FINISHED, app)
        await until(lambda: screen.pane is not None and not screen.pane.monitor_shown, app)
        await pilot.press("l")
        await until(lambda: isinstance(app.focused, LogPane), app)
        await pilot.press(key)
        await until(lambda: screen.pane is not None and not screen.pane.monitor_shown, app)
        assert isinstance(app.focused, StepList if key == "escape" else Button)
        assert engine.started == []


@pytest.mark.parametrize("end", [Stopped(), Failed(error="DataError", message="No.", hint="Yes.")])
async def test_the_focus_never_comes_to_stop_by_itself(
    wizard: Make, engine: FakeEngine, stages: Stages, end: Stopped | Failed
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await pilot.press("4")
        await until_shown(app, "Pack again")
        next(button for button in screen.query(Button) if button.label == "Pack again").focus()
        await pilot.press("enter")
        await until(lambda: focused_label(app) == "Watch", app)
        engine.say(screen.state.jobs[StepName.PACK], [end])
        await until(lambda: focused_label(app) == "Next: Train ▸", app)


async def test_escape_and_the_list_of_steps_are_one_key_away(wizard: Make, stages: Stages) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await until(lambda: isinstance(app.focused, Button) and "Esc Step list" in footer(app), app)
        await pilot.press("escape")
        await until(lambda: isinstance(app.focused, StepList) and "↑↓ Step" in footer(app), app)
        await pilot.press("2", "right")
        await until(lambda: isinstance(app.focused, Choice) and "⏎ Change " in footer(app), app)
        await pilot.press("down")
        await until(lambda: isinstance(app.focused, Input) and "⏎ Store " in footer(app), app)


async def test_the_footer_says_what_the_keys_do_in_what_lies_on_the_page(
    wizard: Make, stages: Stages
) -> None:
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: "⏎ Open or create… " in footer(app), app)
        await pilot.press("enter")
        await until(lambda: "Esc Back  F1 Help  ⏎ Choose " in footer(app), app)
        await until_shown(app, "..")  # the folders are listed beside it
        await pilot.press("down")
        await until(lambda: "⏎ Open " in footer(app), app)
        await pilot.press("f1")
        await until(lambda: "Esc Back ─" in footer(app), app)
        await pilot.press("escape")
        await until(lambda: "⏎ Open " in footer(app), app)
        await pilot.press("escape", "ctrl+p")
        await until(lambda: "Esc Back  ⏎ Run ─" in footer(app), app)
        await pilot.press("escape")
        await until(lambda: "q Quit  ? Help  ⏎ Open or create… " in footer(app), app)


async def test_a_dialog_keeps_its_keys_in_the_footer_while_the_page_below_is_told_of_its_job(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        await until_shown(app, "Normalise…")
        await pilot.press("m")
        await until(lambda: "Esc Back  F1 Help  ⏎ OK " in footer(app), app)
        await pilot.press("tab")
        await until(lambda: "⏎ Cancel " in footer(app), app)
        screen.show_keys()
        await pilot.pause()
        assert "⏎ Cancel " in footer(app)
        await pilot.press("escape")
        await until(lambda: "q Quit  ? Help " in footer(app), app)


async def test_buttons_that_do_not_fit_into_one_row_stand_in_two_and_none_is_cut(
    wizard: Make, engine: FakeEngine, stages: Stages, project: Project
) -> None:
    engine.say(
        engine.new_job(project, StageName.VALIDATE),
        [Finished(summary={"clips": 3, "seconds": 9.0, "speakers": [], "findings": []})],
    )
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        words = ["Folder…", "Normalise…", "Edit", "Report", "Check again", "Next: Model ▸"]
        await until_shown(app, *words)
        assert screen.pane is not None
        bar = screen.pane.query_one("#buttons")
        assert bar.size.height == 2
        await pilot.resize_terminal(120, 40)
        await until(lambda: bar.size.height == 1, app)
        await until_shown(app, *words)


async def test_a_base_model_that_lies_here_is_taken_by_enter_and_leads_on(
    wizard: Make, engine: FakeEngine, project: Project, golden: Path
) -> None:
    shutil.copytree(golden / "base", project.folder / "checkpoints" / "mine")
    project.model = type(project.model)()
    project.save()
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await pilot.press("2")
        await until(lambda: focused_label(app) == "Use mine", app)
        await pilot.press("enter")
        await until(lambda: focused_label(app) == "Next: Extract ▸", app)
    assert engine.started == []
    assert Project.load(project.folder).model.path == Path("checkpoints/mine")


async def test_without_a_model_enter_asks_for_the_token_once_and_then_downloads(
    wizard: Make, engine: FakeEngine, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.chdir(tmp_path)
    project.model = type(project.model)()
    project.save()
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await pilot.press("2")
        await until(lambda: focused_label(app) == "Token…", app)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, PromptScreen), app)
        await pilot.press(*"hf_x", "enter")
        await until(lambda: focused_label(app) == "Download", app)
        await pilot.press("enter")
        await until(lambda: [stage for stage, *_ in engine.started] == [StageName.DOWNLOAD], app)
    assert engine.started[0][2] == {"HF_TOKEN": "hf_x"}


@pytest.mark.parametrize("place", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "file", ""])
def test_a_token_is_found_where_the_hub_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    if place == "file":
        (tmp_path / "token").write_text("hf_x\n")
    elif place:
        monkeypatch.setenv(place, "hf_x")
    assert token_is_set() is bool(place)


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_every_button_but_the_main_one_has_a_key_of_its_own_that_is_seen(
    wizard: Make, engine: FakeEngine, stages: Stages, language: str
) -> None:
    app = wizard(language=language)
    taken = {key for action in ACTIONS for key in action.keys.split(",")} | set("123456")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        for number, step in enumerate(StepName, 1):
            screen.focus_steps()
            await pilot.press(str(number))
            await until(lambda step=step: screen.pane is not None and screen.pane.step is step, app)
            for state in (StepState.DONE, StepState.READY, StepState.LOCKED, StepState.UNFINISHED):
                stages.states[step] = state
                await pilot.press("ctrl+r")
                await until(
                    lambda state=state: screen.pane.status is not None and screen.pane.status.state is state,
                    app,
                )
                *others, main = screen.pane.query("#buttons Button").results(Button)
                keys = [_underlined(button) for button in others]
                assert all(keys), f"{step} {state}: {[button.words for button in others]}"
                assert len(set(keys)) == len(keys) and not taken & set(keys), f"{step} {state}: {keys}"
                assert not _underlined(main)


def _underlined(button: Button) -> str:
    label = button.label
    return "".join(
        label.plain[span.start : span.end] for span in label.spans if "underline" in str(span.style)
    )


async def test_a_button_s_key_presses_it_wherever_the_focus_is_but_in_a_field(
    wizard: Make, engine: FakeEngine, stages: Stages
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        screen.focus_steps()
        await pilot.press("4", "n")
        await until(lambda: [stage for stage, *_ in engine.started] == [StageName.PACK], app)
        await pilot.press("3")
        await until(lambda: bool(screen.query("#field-extract-batch-size")), app)
        screen.query_one("#field-extract-batch-size", Input).focus()
        await pilot.press("n")
        assert len(engine.started) == 1
