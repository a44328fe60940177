"""Making the demo project, from wherever it is asked for."""

from __future__ import annotations

from pathlib import Path

from textual.dom import DOMNode

from ..access import wizard
from ..catalogue import _
from ..trouble import in_background
from ..widgets.folder_suggester import expanded
from ..widgets.notice import Notice
from .prompt import PromptScreen


def ask_for_demo(owner: DOMNode, notice: Notice) -> None:
    """Ask for a folder, set up the demo project there and open it; what goes wrong is shown in `notice`."""

    async def make(folder: Path) -> None:
        await wizard(owner).engine.make_demo(folder)
        notice.clear()
        wizard(owner).open_project(folder)

    def chosen(answer: str | None) -> None:
        if answer:
            notice.show_plain(_("Setting up the demo project (half a minute)…"))
            in_background(owner, lambda: make(expanded(answer)), notice.show_error, "demo")

    suggested = Path.cwd() / "fishtune-demo"
    owner.app.push_screen(PromptScreen(_("Folder for the demo project:"), str(suggested)), chosen)
