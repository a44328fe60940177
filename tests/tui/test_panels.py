"""Parts of pages have a title: in a frame where there is room, else on a line of their own or nowhere."""

from __future__ import annotations

from pathlib import Path

from fishtune.core.pipeline.steps import StepName
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.wizard_settings import WizardSettings
from rich.cells import cell_len
from staged_project import StagedEngine, held_out, staged_project, training_step
from textual.geometry import Region
from textual.widget import Widget
from wizard_helpers import shown, until, until_open, until_shown

TITLES = {
    StepName.DATASET: ("Settings", "Speakers, lengths and levels", "Findings", "All clips"),
    StepName.MODEL: ("Settings", "Files", "Model directories found here"),
    StepName.EXTRACT: ("Settings", "Memory"),
    StepName.PACK: ("Settings", "Speakers", "Left out", "Lengths"),
    StepName.TRAIN: ("LoRA presets", "Settings", "Plan", "Memory"),
    StepName.MERGE: ("Checkpoints", "Settings", "Result"),
}
RULED = ("Memory", "Model directories found here")
"""Titles of what stands below something else, where there is no room for frames."""


def sign_at(row: str, x: int) -> str:
    """Return the character in a cell of a row of the screen; wide ones take two."""
    at = 0
    for sign in row:
        if at >= x:
            return sign
        at += cell_len(sign)
    return ""


def all_framed(app: Wizard, screen: ProjectScreen) -> bool:
    """Return whether every part of the open page has a frame's corners drawn in its own."""
    rows = shown(app).splitlines()

    def corners(area: Region) -> str:
        return "".join(
            sign_at(rows[y], x) for y in (area.y, area.bottom - 1) for x in (area.x, area.right - 1)
        )

    return all(corners(part.region) == "┌┐└┘" for part in framed(screen))


def framed(screen: ProjectScreen) -> list[Widget]:
    """Return the parts of the open page that are wholly seen."""
    assert screen.pane is not None
    seen = screen.pane.region.shrink((0, 1, 2, 1))  # without the buttons
    parts = [part for part in screen.pane.query(".panel").results(Widget) if part.is_on_screen]
    whole = [part for part in parts if seen.contains_region(part.region)]
    assert whole
    return whole


async def ready(app: Wizard, screen: ProjectScreen, step: StepName) -> None:
    """Wait until a step is open and shows its form."""
    await until(lambda: screen.pane is not None and screen.pane.step is step and screen.pane.ready, app)
    assert screen.pane is not None
    screen.pane.show_monitor(False)


async def test_every_part_of_a_page_is_framed_under_its_title_and_at_80_columns_no_frame_takes_a_row(
    tmp_path: Path, golden: Path
) -> None:
    engine = StagedEngine()
    project = staged_project(tmp_path / "yoona", golden, engine)
    app = Wizard(WizardSettings(), project=project.folder, engine=engine)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        for number, step in enumerate(StepName, 1):
            await pilot.press(str(number))
            await ready(app, screen, step)
            await pilot.pause()
            assert screen.pane is not None
            for part in screen.pane.query(".panel").results(Widget):
                taken = part.styles.gutter.height - part.styles.padding.height
                assert taken == (str(part.border_title) in RULED), part
        for size in ((120, 40), (200, 60)):
            await pilot.resize_terminal(*size)
            for number, step in enumerate(StepName, 1):
                await pilot.press(str(number))
                await ready(app, screen, step)
                await until_shown(app, *(f"┌─ {title} ─" for title in TITLES[step]))
                await until(lambda: all_framed(app, screen), app)


async def test_a_running_training_is_framed_too(tmp_path: Path, golden: Path) -> None:
    engine = StagedEngine()
    project = staged_project(tmp_path / "yoona", golden, engine)
    job = engine.new_job(project, StageName.TRAIN, project.train_settings().model_dump(mode="json"))
    engine.say(job, [*(training_step(number, 100) for number in range(1, 60)), held_out(40, 7.0)])
    app = Wizard(WizardSettings(), project=project.folder, engine=engine)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await until_open(app)
        await pilot.press("5")
        await until_shown(
            app, *(f"┌─ {title} ─" for title in ("Loss", "Numbers", "GPU", "Checkpoints", "Log"))
        )
        await until(lambda: all_framed(app, screen), app)
