"""Keys that users of other full-screen programs press by habit do what they expect, or say what does."""

from __future__ import annotations

from collections.abc import Callable

from fishtune.tui.app import Wizard
from wizard_helpers import until_open, until_shown

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
