"""Proofreading: clips with the least sure transcript first, corrected in place and saved at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.widgets import DataTable, Input, Static
from textual.worker import Worker

from ...core.errors import FishtuneError
from ..access import wizard
from ..base_screen import Dialog
from ..catalogue import _, ngettext
from ..trouble import in_background
from ..widgets.notice import Notice
from ..widgets.table import Table
from ..widgets.word_picker import WordPicker
from ..wording import count, decimal, harmless, plain, right

if TYPE_CHECKING:
    from ...core.dataset.edits import Edit
    from ...core.dataset.proofreading import ProofClip

_MOST_ROWS = 2000
_LONGEST_TRANSCRIPT = 2000


class ProofreadingScreen(Dialog[bool]):
    """Gives whether anything was changed.

    Args:
        data: the data set.
    """

    BINDINGS = [
        Binding("escape", "leave", show=False),
        Binding("q", "leave", show=False),
        Binding("e", "change", show=False),
        Binding("x", "leave_out", show=False),
        Binding("s", "split", show=False),
        Binding("j", "join", show=False),
        Binding("u", "undo", show=False),
        Binding("question_mark,f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    ProofreadingScreen .dialog { width: 100%; height: 100%; max-width: 100%; border: none; padding: 0 1; }
    ProofreadingScreen #clips { height: 1fr; }
    ProofreadingScreen VerticalScroll { height: 5; margin: 1 0 0 0; }
    ProofreadingScreen #words, ProofreadingScreen #keys { height: auto; }
    ProofreadingScreen #keys { color: $text-muted; }
    ProofreadingScreen .hidden { display: none; }
    """

    def __init__(self, data: Path) -> None:
        super().__init__()
        self._data = data
        self._clips: list[ProofClip] = []
        self._order: list[str] = []
        self._changed = False
        self._writing: Worker[None] | None = None
        """The last of what writes; each waits for the one before it."""
        self._splitting: ProofClip | None = None
        """Whose words a place is chosen between."""
        self._finding: Worker[None] | None = None
        """What looks for the places between the words of a clip."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("", id="summary", classes="title", markup=False)
            yield Table(
                [
                    (_("sure"), 5, "right"),
                    (_("clip"), None, "left"),
                    (_("s"), 5, "right"),
                    (_("text"), None, "left"),
                ],
                id="clips",
            )
            with VerticalScroll():
                yield Static("", id="words", markup=False)
                yield WordPicker(id="picker")
                yield Input("", compact=True, select_on_focus=False, id="text")
            yield Notice(id="notice")
            yield Static("", id="keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self._stand("words")
        self.query_one("#summary", Static).update(Text(_("Reading the clips…")))
        self.query_one(Table).focus()
        in_background(self, self._load, self._show_error, "load")

    @property
    def _notice(self) -> Notice:
        return self.query_one(Notice)

    async def _load(self) -> None:
        from ...core.dataset.proofreading import least_sure_first

        self._clips = await wizard(self).engine.proof_clips(self._data)
        self._order = [clip.clip for clip in least_sure_first(self._clips)]
        self._show()

    # what is shown

    def _show(self) -> None:
        clips = {clip.clip: clip for clip in self._clips}
        # Where a clip stood it stays, corrected or not; what an edit made stands behind what it was made of.
        known = set(self._order)
        for before, clip in zip([None, *self._clips], self._clips, strict=False):
            if clip.clip not in known:
                place = self._order.index(before.clip) + 1 if before is not None else 0
                self._order.insert(place, clip.clip)
        self._order = [name for name in self._order if name in clips]
        doubtful = sum(clip.is_doubtful for clip in self._clips)
        total = ngettext("{number} clip in all", "{number} clips in all", len(clips))
        total = total.format(number=count(len(clips)))
        doubts = ngettext("{number} of them is doubtful", "{number} of them are doubtful", doubtful)
        text = f"{total}; {doubts.format(number=count(doubtful))}."
        if not clips:
            text = _("There are no clips with a transcript.")
        elif len(clips) > _MOST_ROWS:
            text += " " + _("The first {number} are shown.").format(number=count(_MOST_ROWS))
        self.query_one("#summary", Static).update(Text(text))
        self.query_one(Table).show_rows((name, self._row(clips[name])) for name in self._order[:_MOST_ROWS])
        self._show_words()

    def _row(self, clip: ProofClip) -> tuple[object, ...]:
        sure = "–" if clip.score is None else f"{clip.score:.0%}"
        style = "bold" if clip.is_doubtful else ""
        return right(sure, style), plain(clip.clip), right(decimal(clip.seconds, 1)), plain(clip.text)

    def _show_words(self) -> None:
        clip = self._chosen
        self.query_one("#words", Static).update(words_of(clip) if clip is not None else Text(""))

    def on_data_table_row_highlighted(self, _event: DataTable.RowHighlighted) -> None:
        self._show_words()

    @property
    def _chosen(self) -> ProofClip | None:
        name = self.query_one(Table).chosen
        return next((clip for clip in self._clips if clip.clip == name), None)

    def _stand(self, shown: str) -> None:
        """Show one of: the words, the line that changes them, the choice of a place between two."""
        for part in ("words", "text", "picker"):
            self.query_one(f"#{part}").set_class(part != shown, "hidden")
        keys = {
            "words": _("⏎ change  x leave out  s split  j join with next  u undo  Esc close"),
            "text": _("⏎ save  Esc leave it as it was"),
            "picker": _("← → choose the word  ⏎ split before it  Esc leave it whole"),
        }
        self.query_one("#keys", Static).update(Text(keys[shown]))
        if shown == "words":
            self.query_one(Table).focus()
        else:
            self.query_one(f"#{shown}").focus()

    # what is done

    def on_data_table_row_selected(self, _event: DataTable.RowSelected) -> None:
        self.action_change()

    def action_change(self) -> None:
        clip = self._chosen
        if clip is not None and not self._is_busy:
            box = self.query_one(Input)
            box.value = clip.text
            box.cursor_position = len(clip.text)
            self._stand("text")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        from ...core.dataset.edits import ChangeText

        clip = self._chosen
        self._stand("words")
        if clip is not None and event.value.strip() != clip.text:
            self._edit(ChangeText(clip=clip.clip, text=event.value))

    def action_leave_out(self) -> None:
        from ...core.dataset.edits import LeaveOut

        clip = self._chosen
        if clip is not None and not self._is_busy:
            self._edit(LeaveOut(clip=clip.clip))

    def action_join(self) -> None:
        from ...core.dataset.edits import Join

        clip = self._chosen
        if clip is not None and not self._is_busy:
            self._edit(Join(clip=clip.clip))

    def action_split(self) -> None:
        clip = self._chosen
        if clip is None or self._is_busy:
            return
        words = clip.text.split()
        if len(words) < 2:
            self._notice.show_warning(
                _("{clip} has no two words to be split between.").format(clip=harmless(clip.clip))
            )
            return
        self._notice.clear()
        self.query_one(WordPicker).offer(words)
        self._splitting = clip
        self._stand("picker")
        self._find_gaps(clip, by_ear=False)

    def on_word_picker_listening(self) -> None:
        if self._splitting is not None:
            self._find_gaps(self._splitting, by_ear=True)

    def _find_gaps(self, clip: ProofClip, by_ear: bool) -> None:
        """Look where the words of the clip are; the choice of a place waits for it, or is given up."""
        writing = self._writing
        picker = self.query_one(WordPicker)

        async def find() -> None:
            if writing is not None:
                await writing.wait()  # the files are in line with what is shown then
            try:
                found = await wizard(self).engine.word_gaps(self._data, clip, by_ear)
            except FishtuneError:
                if by_ear:
                    picker.stay_estimated()
                else:
                    self._stand("words")
                raise
            picker.know(found.gaps, found.can_listen)

        self._finding = in_background(self, find, self._show_error, "gaps")

    def on_word_picker_picked(self, event: WordPicker.Picked) -> None:
        from ...core.dataset.edits import Split

        clip = self._splitting
        self._stand("words")
        if clip is not None:
            self._edit(Split(clip=clip.clip, at=event.at, before=event.before))

    def _edit(self, edit: Edit) -> None:
        """Show what an edit comes to, and save it."""
        from ...core.dataset.proofreading import proofread

        try:
            after = proofread(self._clips, [edit])
        except FishtuneError as error:
            self._notice.show_error(error)
            return
        self._notice.clear()
        self._clips = after
        self._changed = True
        self._show()

        async def save() -> None:
            await wizard(self).engine.edit_clip(self._data, edit)

        self._write(save)

    def action_undo(self) -> None:
        if self._is_busy:
            return
        self._notice.clear()

        async def take_back() -> None:
            if await wizard(self).engine.undo_clip_edit(self._data):
                self._changed = True
                self._clips = await wizard(self).engine.proof_clips(self._data)
                self._show()
            else:
                self._notice.show_plain(_("There is nothing to undo."))

        self._write(take_back)

    def _write(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what writes, one after another; what fails is shown, with the clips as they then are."""
        before = self._writing

        async def do() -> None:
            if before is not None:
                await before.wait()
            try:
                await work()
            except FishtuneError:
                self._clips = await wizard(self).engine.proof_clips(self._data)
                self._show()
                raise

        self._writing = in_background(self, do, self._show_error, "write", exclusive=False)

    @property
    def _is_busy(self) -> bool:
        """Whether a line or a place is being chosen: keys are for that then."""
        return bool(self.query_one("#words").has_class("hidden"))

    def _show_error(self, error: FishtuneError) -> None:
        self._notice.show_error(error)

    def text_to_copy(self) -> str:
        """Return the path of the clip."""
        clip = self._chosen
        return str(self._data / clip.clip) if clip is not None else str(self._data)

    def help_text(self) -> str:
        """Return what should be known here."""
        return _(
            "Clips whose words recognition was least sure of come first; doubtful words are underlined. "
            "Enter changes the text, x leaves the clip out, s splits it at a word, j joins it with the next "
            "one of its folder, u takes the last change back, also after the screen was closed. All of it is "
            "saved at once; recordings as they were made stay in a hidden folder of the data set.\n"
            "A split lies in the pause between two words. Where nothing heard the clip, the place is "
            "estimated from its letters and pauses; l listens to it, if recognition is installed.\n"
            "To hear a clip on a remote machine, copy its path with y."
        )

    def action_leave(self) -> None:
        if self._is_busy:
            if self._finding is not None:
                self._finding.cancel()
            self._stand("words")
            return
        in_background(self, self._leave, self._show_error, "leave")

    async def _leave(self) -> None:
        if self._writing is not None:
            await self._writing.wait()
        self.dismiss(self._changed)


def words_of(clip: ProofClip) -> Text:
    """Return a clip's transcript with its doubtful words underlined."""
    words = clip.text.split()
    if len(words) != len(clip.words):
        return Text(harmless(clip.text, _LONGEST_TRANSCRIPT))
    text = Text()
    for word, heard in zip(words, clip.words, strict=True):
        text.append(harmless(word), style="bold underline" if heard.is_doubtful else "")
        text.append(" ")
    return text
