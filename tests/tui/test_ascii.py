"""With --ascii the wizard draws nothing but ASCII; letters of other scripts are names and stay."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from fishtune.core.errors import FishtuneError
from fishtune.core.events import Step
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.ascii_only import plain
from fishtune.tui.catalogue import use_language
from fishtune.tui.dialogs.clip import ClipScreen
from fishtune.tui.dialogs.folders import FolderScreen
from fishtune.tui.dialogs.prompt import PromptScreen
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.screens.start import StartScreen
from fishtune.tui.widgets.log_pane import LogPane
from fishtune.tui.wizard_settings import WizardSettings
from rich.cells import cell_len
from staged_project import StagedEngine, staged_project, training_step
from textual.command import CommandPalette
from textual.widgets import Input
from wizard_helpers import shown, until, until_shown


def signs(text: str) -> set[str]:
    """Return what is neither ASCII nor a letter."""
    return {sign for sign in text if not sign.isascii() and not unicodedata.category(sign).startswith("L")}


@pytest.mark.parametrize(
    ("language", "size"),
    [pytest.param("en", (80, 24), marks=pytest.mark.slow), ("ko", (120, 40))],
    ids=["en", "ko"],
)
async def test_no_screen_has_other_signs(
    tmp_path: Path, golden: Path, language: str, size: tuple[int, int]
) -> None:
    use_language(language)
    engine = StagedEngine()
    project = staged_project(tmp_path / "yoona", golden, engine)
    app = Wizard(WizardSettings(ascii=True), project=project.folder, engine=engine)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
        await until(lambda: app.gpus is not None, app)
        screen = app.screen
        assert isinstance(screen, ProjectScreen)
        seen = []

        async def look(words: str = "") -> None:
            if words:
                await until_shown(app, words)
            await pilot.pause()
            seen.append(shown(app))
            assert not signs(seen[-1]), (signs(seen[-1]), seen[-1])

        for number in range(1, 7):
            await pilot.press(str(number))
            await until(
                lambda: screen.pane is not None and screen.pane.step.value in str(screen.current), app
            )
            assert screen.pane is not None
            for monitor in (True, False):
                screen.pane.show_monitor(monitor)
                screen.pane.notice.show_error(FishtuneError("It failed – 3 × …", "Look at “that” → there."))
                await look()
            await pilot.press("question_mark")
            await look()
            await pilot.press("escape", "right", "tab")
            await look()
            await pilot.press("escape")
        job = engine.new_job(project, StageName.TRAIN)
        engine.say(job, [_training(number) for number in range(1, 60)])
        screen.refresh_state()
        await pilot.press("5")
        await look("59 / 100")
        screen.query_one("#smoothing").focus()
        await pilot.press("right", "right")
        await look()
        await pilot.press("escape", "ctrl+p")
        await until(lambda: isinstance(app.screen, CommandPalette), app)
        await look()
        await pilot.press("escape")
        await until(lambda: app.screen is screen, app)
        await pilot.press("g")
        await look("python train.py")
        await pilot.press("escape")
        app.tell("Copied – “that”…")
        await look("Copied")
        for other in (
            PromptScreen("Which?", "/tmp", explanation="−23 LUFS"),
            PromptScreen("Token", secret=True),
            FolderScreen("Folder:", project.folder),
            ClipScreen(project, "윤아/편지", None),
        ):
            await app.push_screen(other)
            if isinstance(other, PromptScreen):
                other.query_one(Input).value += "secret"
            await pilot.pause()
            await look("윤아" if isinstance(other, ClipScreen) else "")
            app.pop_screen()
        screen.query_one(LogPane).focus()
        await look()
        screen.focus_steps()
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, StartScreen), app)
        await look("yoona")
        await pilot.resize_terminal(70, 20)
        await look("80x24")
    assert len(set(seen)) > 20, "the walk really went through the screens"


def _training(number: int) -> Step:
    return training_step(number, 100)


@pytest.mark.parametrize("text", ["┌─┐│└┘", "⣿⠁▁▂▅█░", "a → b … 3 × 4 – “c”", "≈✓✗●◆▸‹›", "윤아 ŝ 😀 한글"])
def test_a_stand_in_takes_as_many_cells(text: str) -> None:
    assert cell_len(plain(text)) == cell_len(text)


def test_letters_of_all_scripts_stay() -> None:
    assert plain("윤아 é ñ 你好 こんにちは") == "윤아 é ñ 你好 こんにちは"
