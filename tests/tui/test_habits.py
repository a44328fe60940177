"""Keys that users of other full-screen programs press by habit do what they expect, or say what does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fishtune.core.pipeline.steps import StepName
from fishtune.tui.app import Wizard
from fishtune.tui.dialogs.folders import FolderScreen
from fishtune.tui.dialogs.prompt import PromptScreen
from fishtune.tui.widgets.table import Table
from textual import events
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.widgets import Input
from wizard_helpers import until, until_open, until_shown

Make = Callable[..., Wizard]


async def test_ctrl_c_ends_nothing_and_says_which_keys_leave_on_pages_and_in_dialogs(wizard: Make) -> None:
    app = wizard(keys={"leave": "ctrl+x"})
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_open(app)
        await pilot.press("ctrl+c")
        await until_shown(app, "To leave: Ctrl+X.")
        app.clear_notifications()
        await pilot.press("question_mark", "ctrl+c")
        await until_shown(app, "To leave: Ctrl+X.")


@pytest.mark.parametrize(
    ("typed", "chosen"),
    [
        ("clips", "START/clips"),
        ("/srv/clips", "/srv/clips"),
        ("~/clips", "HOME/clips"),
        ("a~/b", "START/a~/b"),
    ],
)
async def test_a_whole_path_typed_behind_the_proposed_folder_counts_alone(
    wizard: Make, tmp_path: Path, typed: str, chosen: str
) -> None:
    app = wizard(open_it=False)
    answers: list[Path | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await app.push_screen(FolderScreen("Where?", tmp_path), answers.append)
        await pilot.press(*("slash" if key == "/" else "tilde" if key == "~" else key for key in typed))
        await pilot.press("enter")
        await until(lambda: answers, app)
    expected = chosen.replace("START", str(tmp_path)).replace("HOME", str(Path.home()))
    assert answers == [Path(expected)]


async def test_a_whole_path_pasted_behind_the_proposed_folder_counts_alone(
    wizard: Make, tmp_path: Path
) -> None:
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await app.push_screen(FolderScreen("Where?", tmp_path))
        box = app.screen.query_one(Input)
        await until(lambda: box.has_focus, app)
        box.post_message(events.Paste("/srv/clips"))
        await until(lambda: box.value == "/srv/clips" and box.cursor_position == len(box.value), app)


async def test_j_k_and_capital_g_move_in_lists_and_in_texts(wizard: Make) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        screen.focus_steps()
        await pilot.press("j", "j")
        await until(lambda: screen.current is StepName.EXTRACT, app)
        await pilot.press("k")
        await until(lambda: screen.current is StepName.MODEL, app)
        table = Table([("name", None, "left")])
        await app.screen.mount(table)
        table.show_rows([(name, (name,)) for name in "abcd"])
        table.focus()
        for keys, row in ((["j"], "b"), (["G"], "d"), (["k"], "c"), (["home"], "a"), (["end"], "d")):
            await pilot.press(*keys)
            assert table.chosen == row
        await pilot.press("question_mark")
        await until(lambda: isinstance(app.focused, VerticalScroll), app)
        assert isinstance(app.focused, VerticalScroll)
        text = app.focused
        await pilot.press("j")
        await until(lambda: text.scroll_offset.y == 1, app)
        await pilot.press("G")
        await until(lambda: text.scroll_offset.y == text.max_scroll_y > 1, app)


async def test_j_and_k_are_letters_in_a_field(wizard: Make, tmp_path: Path) -> None:
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await app.push_screen(FolderScreen("Where?", tmp_path))
        await pilot.press("j", "k", "G")
        await until(lambda: app.screen.query_one(Input).value == f"{tmp_path}/jkG", app)


async def test_help_lists_the_buttons_of_the_step_with_their_keys(wizard: Make) -> None:
    app = wizard(keys={"stop_job": "ctrl+x"})
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        await until(screen.button_keys, app)
        assert screen.button_keys()[0] == ("⏎", "Check") and ("f", "Folder…") in screen.button_keys()
        await pilot.press("question_mark")
        await until_shown(app, "Buttons of this step", " ⏎  Check", " f  Folder…")


async def test_what_is_typed_into_a_question_takes_the_place_of_the_proposal(wizard: Make) -> None:
    app = wizard(open_it=False)
    answers: list[str | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for keys in (["slash", "s", "r", "v", "enter"], ["end", "2", "enter"], ["enter"]):
            await app.push_screen(PromptScreen("Which file?", "/tmp/findings"), answers.append)
            await until(lambda: isinstance(app.focused, Input), app)
            await pilot.press(*keys)
        await until(lambda: len(answers) == 3, app)
    assert answers == ["/srv", "/tmp/findings2", "/tmp/findings"]


async def test_rows_that_are_drawn_before_their_columns_have_grown_are_drawn_again(wizard: Make) -> None:
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)) as pilot:
        table = Table([("name", None, "left")])
        await app.screen.mount(table)
        table.show_rows([("a", ("short",))])
        await pilot.pause()
        table.show_rows([("b", ("much longer than the one before",))])
        table.render_lines(Region(0, 0, 60, 3))  # as a paint that comes in between
        await until_shown(app, "much longer than the one before")
