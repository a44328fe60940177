"""All clips of a data set: filtered, sorted, searched."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from ...core.dataset.rows import ClipRow
from ..access import wizard
from ..catalogue import _, ngettext
from ..clip_choice import Order, Which, chosen, ordered, why_not
from ..wording import count, decimal, fit_path, harmless
from .choice import Choice
from .long_table import LongTable
from .plain import PlainVertical

_NAME = 18  # cells
_SEARCH_SECONDS = 0.15
"""After the last key: ten thousand transcripts take half of it."""


class _Search(Input):
    """Where the clips are searched."""

    @property
    def enter_does(self) -> str:
        """What Enter does here, a word for the footer."""
        return _("To the clips")


class ClipList(PlainVertical):
    """The clips that the newest check listed."""

    DEFAULT_CSS = """
    ClipList { height: 1fr; }
    ClipList .choices { height: 1; }
    ClipList .choices Choice { margin: 0 1 0 0; }
    ClipList #clip-search { width: 1fr; min-width: 10; }
    ClipList #clips-note { height: 3; }
    """

    BINDINGS = [Binding("escape", "end_search", show=False)]

    class Opened(Message):
        """A clip is to be looked at."""

        def __init__(self, clip: str) -> None:
            super().__init__()
            self.clip = clip

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._all: list[ClipRow] = []
        self._shown: list[ClipRow] = []
        self._exclude: Collection[str] = ()
        self._waiting: Timer | None = None
        """Searches once nothing more is typed."""

    def compose(self) -> ComposeResult:
        glyphs = wizard(self).glyphs
        with Horizontal(classes="choices"):
            yield Choice([(each, _(each)) for each in Which], Which.ALL, glyphs, id="clip-which")
            yield Choice([("", _("all speakers"))], "", glyphs, id="clip-speaker")
            yield Choice([(each, _(each)) for each in Order], Order.NAME, glyphs, id="clip-order")
        search = _Search(placeholder=_("search names and transcripts"), compact=True, id="clip-search")
        search.cursor_blink = False
        yield search
        yield LongTable(
            [
                ("", 1, "left"),
                (_("clip"), _NAME, "left"),
                (_("length"), 7, "right"),
                (_("level"), 6, "right"),
                (_("chars/s"), 7, "right"),
                (_("transcript"), None, "left"),
            ],
            self._cells,
            id="clips",
            enter_does=_("Open"),
        )
        yield Static("", id="clips-note", markup=False)

    def show_clips(self, rows: list[ClipRow], exclude: Iterable[str]) -> None:
        """Show the clips of a check, with what is left out now."""
        self._all, self._exclude = rows, frozenset(exclude)
        speakers = sorted({row.speaker for row in rows})
        box = self.query_one("#clip-speaker", Choice)
        box.options = [("", _("all speakers")), *((name, name) for name in speakers)]
        box.display = len(speakers) > 1
        if box.value not in ("", *speakers):
            box.value = ""
        self._choose(stay_at=self.clip)

    def search(self) -> None:
        """Put the focus into the search."""
        self.screen.set_focus(self.query_one(Input))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Esc leads away as everywhere once nothing is searched."""
        return action != "end_search" or bool(self.query_one(Input).value)

    def action_end_search(self) -> None:
        """Show all clips again, with the cursor in their list."""
        self.query_one(Input).value = ""
        self.query_one(LongTable).focus()

    def _choose(self, stay_at: str = "") -> None:
        """Show the rows that are wanted, with the cursor on a clip; on the first where that is not shown."""
        which, order = (self.query_one(name, Choice).value for name in ("#clip-which", "#clip-order"))
        self._shown = ordered(
            chosen(
                self._all,
                self._exclude,
                Which(which),
                self.query_one("#clip-speaker", Choice).value,
                self.query_one(Input).value,
            ),
            Order(order),
        )
        at = next((at for at, row in enumerate(self._shown) if row.clip == stay_at), 0)
        self.query_one(LongTable).show(len(self._shown), at)
        self._tell()

    def _tell(self) -> None:
        """Say how many clips are shown, and the words of the one under the cursor."""
        if not self._all:
            text = _("The clips are listed once they are checked.")
        else:
            form = ngettext("{shown} of {number} clip.", "{shown} of {number} clips.", len(self._all))
            text = form.format(shown=count(len(self._shown)), number=count(len(self._all)))
            text += " " + _("Enter shows the clip.") if self._shown else ""
        at = self.query_one(LongTable).cursor
        words = Text(harmless(self._words(self._shown[at])) + "\n") if at < len(self._shown) else Text()
        self.query_one("#clips-note", Static).update(words.append(text, style="dim"))

    def _words(self, row: ClipRow) -> str:
        reason = why_not(row, self._exclude)
        return row.text if reason is None else f"({_(reason)}) {row.text}"

    def _cells(self, at: int) -> tuple[str, ...]:
        row = self._shown[at]
        glyphs = wizard(self).glyphs
        unused = why_not(row, self._exclude) is not None
        sign = glyphs.failed if unused else glyphs.stale if row.findings else glyphs.done
        return (
            sign,
            fit_path(row.clip, _NAME),
            _("{seconds} s").format(seconds=decimal(row.seconds, 1)) if row.seconds else "–",
            decimal(row.loudness, 1),
            decimal(row.pace, 1),
            self._words(row),
        )

    @property
    def clip(self) -> str:
        """The clip under the cursor, "" where there is none."""
        at = self.query_one(LongTable).cursor
        return self._shown[at].clip if at < len(self._shown) else ""

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._choose()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(_SEARCH_SECONDS, self._choose)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one(LongTable).focus()

    def on_long_table_moved(self, event: LongTable.Moved) -> None:
        event.stop()
        self._tell()

    def on_long_table_chosen(self, event: LongTable.Chosen) -> None:
        event.stop()
        self.post_message(self.Opened(self._shown[event.row].clip))
