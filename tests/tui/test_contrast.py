"""What is drawn can be read: WCAG 2.2, level AA, for what each theme really puts on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fishtune.core.config.recent import remember_project
from fishtune.core.errors import FishtuneError
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.dialogs.prompt import PromptScreen
from fishtune.tui.glyphs import ASCII, LINES
from fishtune.tui.project_state import WORDS, ShownStep
from fishtune.tui.screens.help import HelpScreen
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.screens.start import StartScreen
from fishtune.tui.widgets.step_list import StepList
from fishtune.tui.wizard_settings import THEMES, WizardSettings
from rich.color import Color, parse_rgb_hex
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from staged_project import StagedEngine, staged_project, training_step
from textual.geometry import Region
from textual.pilot import Pilot
from wizard_helpers import shown, until, until_open, until_shown

TEXT, SIGN = 4.5, 3.0
"""Least contrast of text, and of lines, bars and marks that carry a meaning."""
Rgb = tuple[int, ...]
_NORMAL = ["000000", "cd0000", "00cd00", "cdcd00", "0000ee", "cd00cd", "00cdcd", "e5e5e5"]
_BRIGHT = ["7f7f7f", "ff0000", "00ff00", "ffff00", "5c5cff", "ff00ff", "00ffff", "ffffff"]
XTERM = TerminalTheme(
    (0, 0, 0), (229, 229, 229), *([parse_rgb_hex(color) for color in row] for row in (_NORMAL, _BRIGHT))
)
"""What xterm makes of the colours that a terminal chooses itself."""


def luminance(color: Rgb) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.2, definition of relative luminance)."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@cache
def drawn_colors(style: Style) -> tuple[Rgb, Rgb]:
    """Return the colours of a sign and of what is behind it."""
    front = tuple((style.color or Color.default()).get_truecolor(XTERM, foreground=True))
    back = tuple((style.bgcolor or Color.default()).get_truecolor(XTERM, foreground=False))
    return (back, front) if style.reverse else (front, back)


def drawn(app: Wizard) -> Iterator[tuple[str, Style]]:
    """Yield pieces of text as they are drawn; of a screen with a dialog, what is in the dialog."""
    dialogs = list(app.screen.query(".dialog"))
    inside = dialogs[0].region if dialogs else Region(0, 0, 10_000, 10_000)
    for y, row in enumerate(app.screen._compositor.render_strips()):
        x = 0
        for segment in row:
            if inside.contains(x, y) and segment.text.strip():
                yield segment.text.strip(), segment.style or Style.null()
            x += segment.cell_length


def too_faint(app: Wizard) -> set[str]:
    """Return what has less contrast than it needs, with its colours, in words for the failure."""
    found = {}
    for text, style in drawn(app):
        front, back = drawn_colors(style)
        needed = SIGN if all(0x2500 <= ord(sign) < 0x2900 or sign.isspace() for sign in text) else TEXT
        if contrast(front, back) < needed:
            found[front, back, needed] = text[:20]
    return {
        f"{text!r}: {front} on {back} has {contrast(front, back):.2f} of {needed}"
        for (front, back, needed), text in found.items()
    }


async def look(app: Wizard, pilot: Pilot[None], faint: set[str]) -> None:
    """Note what can hardly be read on the screen."""
    await pilot.pause()
    faint.update(f"{app.theme}: {words}" for words in too_faint(app))


async def look_at_pages(app: Wizard, pilot: Pilot[None], screen: ProjectScreen, faint: set[str]) -> None:
    """Look at all steps' forms with what can be said above them, at all states of a step, and at dialogs."""
    for number, step in enumerate(StepName, 1):
        await pilot.press(str(number))
        await until(lambda: screen.pane is not None and screen.pane.step is step, app)  # noqa: B023
        pane = screen.pane
        assert pane is not None
        pane.show_monitor(False)
        if number % 2:
            pane.notice.show_error(FishtuneError("It failed.", "Look at that."))
        else:
            pane.notice.show_warning("It may fail.")
        screen.enter_step()
        await look(app, pilot, faint)
        screen.focus_steps()
    states = [*StepState]
    for shown_states in (states[:6], states[1:]):  # there are seven
        screen.query_one(StepList).steps = [
            ShownStep(name, state, WORDS[state], "")
            for name, state in zip(StepName, shown_states, strict=True)
        ]
        await look(app, pilot, faint)
    for other in (PromptScreen("Which?", "/tmp", explanation="Why."), HelpScreen("What it is.")):
        await app.push_screen(other)
        await pilot.pause()
        await look(app, pilot, faint)
        app.pop_screen()
    screen.focus_steps()


async def test_every_theme_can_be_read_on_every_page(tmp_path: Path, golden: Path) -> None:
    engine = StagedEngine()
    project = staged_project(tmp_path / "yoona", golden, engine)
    remember_project(project.results, project.name)
    app = Wizard(WizardSettings(), engine=engine)
    app.ansi_theme_dark = XTERM
    faint: set[str] = set()
    async with app.run_test(size=(120, 40)) as pilot:
        # Another theme restyles all that is open: first what needs no project, then all pages in each.
        await until(lambda: isinstance(app.screen, StartScreen) and "yoona" in shown(app), app)
        for theme in THEMES:
            app.theme = theme
            await look(app, pilot, faint)
        app.open_project(project.folder)
        screen = await until_open(app)
        job = engine.new_job(project, StageName.TRAIN)
        engine.say(job, [training_step(number, 100) for number in range(1, 60)])
        screen.refresh_state()
        for theme in THEMES:
            app.theme = theme
            await look_at_pages(app, pilot, screen, faint)
            await pilot.press("5")
            assert screen.pane is not None
            screen.pane.show_monitor(True)
            await until_shown(app, "59 / 100")
            await look(app, pilot, faint)
    assert not faint, "\n".join(sorted(faint))


def test_a_state_is_told_by_its_mark_and_its_word_without_any_colour() -> None:
    for glyphs in (LINES, ASCII):
        assert len({getattr(glyphs, state.value) for state in StepState}) == len(StepState)
    assert len({WORDS[state] for state in StepState}) == len(StepState)
