"""Foreign text is never markup, never a control sequence, and never breaks a screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fishtune.core.config.project import Project
from fishtune.core.dataset.findings import FindingKind, error
from fishtune.core.events import Failed, Finished, ItemFailed, Log, Progress, Step, Warned
from fishtune.core.hardware.readings import DriverState, GpuProcess
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.dialogs.clip import ClipScreen, detail_text
from fishtune.tui.dialogs.folders import FolderScreen
from fishtune.tui.dialogs.prompt import PromptScreen
from fishtune.tui.project_state import ShownStep
from fishtune.tui.run_view import RunView
from fishtune.tui.screens.gpus import GpuScreen
from fishtune.tui.screens.help import HelpScreen
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.themes import DEFAULTS
from fishtune.tui.widgets.choice import Choice
from fishtune.tui.widgets.curve import Curve, Line, Picture
from fishtune.tui.widgets.frame import FooterBar, HeaderBar
from fishtune.tui.widgets.log_pane import LogPane
from fishtune.tui.widgets.notice import Notice
from fishtune.tui.widgets.run_chart import RunChart
from fishtune.tui.widgets.step_list import StepList
from fishtune.tui.widgets.table import Table
from staged_project import saved, training_step
from textual.app import App, ComposeResult
from textual.widget import Widget
from wizard_helpers import HOSTILE, LONG, READING, FakeEngine, shown, until, until_shown

TEXTS = [
    HOSTILE,
    LONG,
    "[laugh]",
    "[/foo]",
    "안녕하세요 [웃음]",
    "你好 [笑]",
    "こんにちは[笑い]",
    "😀[/x]",
    "\x1b[2J\x9b31m",
]
GOOD = "[laugh] [/foo]"  # how HOSTILE begins; must be readable as it is


class Bench(App[None]):
    """One widget alone."""

    def __init__(self, widget: Widget, fill: Callable[[Widget], None]) -> None:
        super().__init__()
        self._widget, self._fill = widget, fill

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return DEFAULTS

    def compose(self) -> ComposeResult:
        yield self._widget

    def on_mount(self) -> None:
        self._fill(self._widget)


def header(widget: Widget, text: str) -> None:
    assert isinstance(widget, HeaderBar)
    widget.project = text
    card = replace(READING.gpus[0], name=text)
    widget.gpus = replace(READING, gpus=(card,))


def steps(widget: Widget, text: str) -> None:
    assert isinstance(widget, StepList)
    widget.steps = [ShownStep(StepName.DATASET, StepState.READY, text, text)]


def table(widget: Widget, text: str) -> None:
    assert isinstance(widget, Table)
    widget.show_rows([("a", (text, text)), ("b", (text, "1"))])
    widget.show_rows([("a", (text, text + "!")), ("b", (text, "2"))])


def curve(widget: Widget, text: str) -> None:
    assert isinstance(widget, Curve)
    widget.show(Picture([Line(text, [1, 2, 3], [3.0, 2.0, 1.0])], text))


def run_chart(widget: Widget, text: str) -> None:
    assert isinstance(widget, RunChart)
    view = RunView()
    view.apply([training_step(1, 2), saved(1, 1.0, text)])
    widget.show(view)
    widget.show_judged({1: text})
    widget.offer_runs([text], text)
    widget.query_one(Curve).focus()


def choice(widget: Widget, text: str) -> None:
    assert isinstance(widget, Choice)
    widget.options = [("b", text)]
    widget.value = "b"


def footer(widget: Widget, text: str) -> None:
    assert isinstance(widget, FooterBar)
    widget.items = ((text, text),) * 6


WIDGETS: list[tuple[str, Callable[[], Widget], Callable[[Widget, str], None]]] = [
    ("header", HeaderBar, header),
    ("steps", StepList, steps),
    ("footer", FooterBar, footer),
    ("notice", Notice, lambda widget, text: widget.show_failure(text, text)),  # type: ignore[attr-defined]
    ("log", LogPane, lambda widget, text: widget.add([text] * 50)),  # type: ignore[attr-defined]
    ("table", lambda: Table([("a", 20, "left"), ("b", None, "right")]), table),
    ("choice", lambda: Choice([("a", "x")], "a"), choice),
    ("curve", Curve, curve),
    ("run chart", RunChart, run_chart),
]


@pytest.mark.parametrize(("name", "make", "fill"), WIDGETS, ids=[name for name, _make, _fill in WIDGETS])
async def test_every_widget_shows_hostile_text_as_it_is(
    name: str, make: Callable[[], Widget], fill: Callable[[Widget, str], None]
) -> None:
    for text in TEXTS:
        app = Bench(make(), lambda widget, text=text: fill(widget, text))
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            seen = shown(app)
            assert not any((ord(sign) < 32 and sign != "\n") or 0x7F <= ord(sign) < 0xA0 for sign in seen)
            if text.startswith("[laugh]"):
                assert "[laugh]" in seen, name


@pytest.fixture
def hostile_project(tmp_path: Path) -> Project:
    folder = tmp_path / "[laugh] [/foo] 안녕 😀"
    data = folder / "data" / "[/speaker] 화자"
    data.mkdir(parents=True)
    (data / "[laugh].wav").write_bytes(b"no audio")
    (data / "[laugh].lab").write_text(HOSTILE + LONG)
    project = Project.create(folder, "[laugh] [-foo] 안녕")
    project.save()
    return project


async def test_every_screen_of_a_project_survives_hostile_text(
    hostile_project: Project, engine: FakeEngine
) -> None:
    from fishtune.tui.wizard_settings import WizardSettings

    project = hostile_project
    card = replace(
        READING.gpus[0], processes=(GpuProcess(pid=1, name=HOSTILE, memory=5, ours=False),), name=HOSTILE
    )
    engine.reading = replace(READING, gpus=(card,))
    said = [
        Progress(task=HOSTILE, done=1, total=2, unit=HOSTILE, detail=LONG),
        ItemFailed(item=HOSTILE, message=LONG, hint=HOSTILE),
        Warned(message=HOSTILE, hint=LONG),
        Log(message=HOSTILE),
    ]
    for stage in (StageName.EXTRACT, StageName.PACK, StageName.MERGE, StageName.DOWNLOAD):
        job = engine.new_job(project, stage)
        job.log_path.write_text(f"{HOSTILE}\n{LONG}\n")
        engine.say(job, [*said, Failed(error="X", message=HOSTILE, hint=LONG)])
    training = engine.new_job(project, StageName.TRAIN)
    numbers = {"loss": 1.0, "base_loss": 1.0, "semantic_loss": 1.0, "learning_rate": 1.0}
    engine.say(training, [*said, Step(step=1, **numbers), Step(step=2, **numbers)])
    finding = error(FindingKind.TEXT_EMPTY, project.data / HOSTILE, HOSTILE, LONG)
    check = engine.new_job(project, StageName.VALIDATE, {"data": str(project.data)})
    speaker = {"speaker": HOSTILE, "clips": 1, "seconds": 1.0, "median_seconds": 1.0, "loudness": None}
    summary = {"data": "x", "clips": 1, "seconds": 1.0, "speakers": [speaker]}
    summary["findings"] = [finding.model_dump(mode="json")]
    engine.say(check, [Finished(summary=summary)])
    app = Wizard(WizardSettings(), project=project.folder, engine=engine)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
        for key, step in zip("123456", StepName, strict=True):
            await pilot.press(key)
            await until(lambda step=step: app.screen.current is step and app.screen.pane.ready, app)
            await pilot.pause()
        await pilot.press("1")
        await until(lambda: GOOD in shown(app), app)
        overlays = [
            ClipScreen(project, "[/speaker] 화자/[laugh]", finding),
            PromptScreen(HOSTILE, HOSTILE, explanation=LONG),
            FolderScreen(HOSTILE, project.data),
            HelpScreen(HOSTILE),
            GpuScreen(),
        ]
        for overlay in overlays:
            await app.push_screen(overlay)
            await until_shown(app, "[laugh]")
            app.pop_screen()
        app.notify(HOSTILE, markup=False)
        await pilot.pause()
        app.farewell = app._farewell()
    assert "[laugh]" in app.farewell


def test_a_clip_in_detail_shows_its_words_as_they_are() -> None:
    detail = {"transcript": HOSTILE, "packed": HOSTILE, "stripped": ["{[/x]}"], "audio": HOSTILE}
    text = detail_text(detail).plain
    assert text.count(GOOD) == 3 and "{[/x]}" in text and "\x1b" not in text


def test_drivers_in_trouble_are_told_in_a_sentence() -> None:
    from fishtune.core.hardware.readings import GpuReading
    from fishtune.tui.wording import driver_sentence

    reading = GpuReading(state=DriverState.FAILED, message=HOSTILE)
    assert driver_sentence(reading).startswith(GOOD)
