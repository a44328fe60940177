"""The listening page: where it lies, how to get it onto one's own machine, and making it again."""

from __future__ import annotations

import socket
from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from ...core.config.project import Project
from ...core.judge.record import LISTEN_FILE
from ...core.terminal import shell_quoted
from ..access import wizard
from ..base_screen import Dialog
from ..catalogue import _
from ..trouble import in_background
from ..widgets.button import Button
from ..widgets.copy_line import CopyLine
from ..widgets.notice import Notice
from ..wording import clock, size

_PORT = 8710
"""First that is tried for serving the page."""
_LAST_PORT = 8760


class ListeningScreen(Dialog[None]):
    """Lines to copy.

    Args:
        is_heard: whether there is an audition, which the page is made of.
    """

    BINDINGS = [
        Binding("escape,q", "close", show=False),
        Binding("question_mark,f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    ListeningScreen VerticalScroll { height: auto; max-height: 16; scrollbar-size-vertical: 1; }
    """

    def __init__(self, project: Project, is_heard: bool) -> None:
        super().__init__()
        self._project = project
        self._is_heard = is_heard

    @property
    def page(self) -> Path:
        """Where the page lies, or will."""
        return self._project.run_folder / LISTEN_FILE

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.styles.width = "96%"  # paths and commands are long
            yield Static(_("Listen to what was said"), classes="title", markup=False)
            yield Notice(id="notice")
            yield VerticalScroll(id="lines", can_focus=False)
            with Horizontal(classes="buttons"):
                yield Button(_("Close"), "close")
                yield Button("", "make", main=True)

    def on_mount(self) -> None:
        self._show()

    def _show(self) -> None:
        make = self.query(Button).last()
        lines = self.query_one("#lines", VerticalScroll)
        lines.remove_children()
        make.display = self._is_heard
        make.label = _("Make it again") if self.page.is_file() else _("Make the page")
        if not self._is_heard:
            self.query_one(Notice).show_warning(
                _("There is no audition to listen to yet."),
                _("Close this and press Audition: the page is made at its end."),
            )
            self.query(Button).first().focus()
            return
        made = lines_of(self.page, self._project.run_folder)
        if made:
            lines.mount_all(CopyLine(purpose, line) for purpose, line in made)
            self.call_after_refresh(self._focus_first)
        else:
            self.query_one(Notice).show_plain(
                _("One file with every recording side by side, and a blind test. It needs no network.")
            )
            make.focus()

    def _focus_first(self) -> None:
        for line in self.query(CopyLine).results():
            line.focus()
            return

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.name == "make":
            self._make()
        else:
            self.action_close()

    def _make(self) -> None:
        notice = self.query_one(Notice)
        notice.show_plain(_("Making the page…"))

        async def work() -> None:
            await wizard(self).engine.make_listening_page(self._project.run_folder)
            notice.clear()
            self._show()

        in_background(self, work, notice.show_error, "page")

    def text_to_copy(self) -> str:
        return self.focused.content_to_copy if isinstance(self.focused, CopyLine) else str(self.page)

    def help_text(self) -> str:
        return _(
            "The page is one file: it can be copied, mailed and kept. ↑ ↓ go from line to line, Enter or y "
            "copies one, also over SSH and inside tmux. Either fetch the file with scp, or serve it here and "
            "reach it through ssh: then open the address that the serving command prints.\n"
            "Votes of the blind test are saved by the page; fishtune listen --votes FILE takes them into the "
            "recommendation."
        )

    def action_close(self) -> None:
        self.dismiss(None)


def lines_of(page: Path, run_folder: Path) -> list[tuple[str, str]]:
    """Return what each line is for, and the line; nothing where there is no page."""
    from ...core.report.serving import copy_command, tunnel_command

    try:
        found = page.stat()
    except OSError:
        return []
    port = _free_port()
    about = _("The page, {size}, made {time}:").format(size=size(found.st_size), time=clock(found.st_mtime))
    return [
        (about, str(page)),
        (_("To fetch it, on your own computer:"), copy_command(page)),
        (
            _("Or to serve it, here in another window:"),
            f"fishtune listen {shell_quoted(run_folder)} --serve --port {port}",
        ),
        (
            _("and on your own computer, before you open the address that it prints:"),
            tunnel_command(port),
        ),
    ]


def _free_port() -> int:
    """Return a port that nobody listens on now."""
    for port in range(_PORT, _LAST_PORT):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) != 0:
                return port
    return _LAST_PORT
