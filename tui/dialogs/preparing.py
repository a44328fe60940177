"""From raw recordings to a data set: what `fishtune prepare` has to know."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Label, Static

from ...core.config.options import describe
from ...core.config.settings import PrepareSettings
from ...core.config.strict import complaint
from ...core.judge.extra import is_installed
from ..base_screen import Dialog
from ..catalogue import _, mark, sentence
from ..widgets.button import Button
from ..widgets.folder_suggester import FolderSuggester, expanded
from ..wording import harmless

_FIELDS = (
    ("raw", mark("Recordings")),
    ("out", mark("Data set")),
    ("speaker", mark("Speaker")),
    ("language", mark("Language")),
    ("asr_model", mark("Recognition model")),
)
_PATHS = ("raw", "out")
_NEEDED = ("faster_whisper", "onnxruntime")


class PrepareScreen(Dialog[PrepareSettings | Path | None]):
    """Gives the settings of a preparation, the folder where it is to be used as it is, None for neither.

    Args:
        raw: folder of the recordings.
        out: the data set that is suggested.
        explanation: what is known of the folder.
        may_use: whether the folder itself may be taken as the data set.
    """

    BINDINGS = [
        Binding("escape", "cancel", show=False),
        Binding("f1", "app.show_help", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    PrepareScreen Static { height: auto; }
    PrepareScreen .row { height: 1; }
    PrepareScreen .row Label { width: 20; color: $text-muted; }
    PrepareScreen .row Input { width: 1fr; }
    PrepareScreen #explanation { margin: 0 0 1 0; }
    PrepareScreen #help { color: $text-muted; margin: 1 0 0 0; min-height: 2; }
    PrepareScreen #help.-wrong { color: $error; }
    PrepareScreen #missing { color: $warning; margin: 1 0 0 0; }
    """

    def __init__(self, raw: Path, out: Path, explanation: str = "", *, may_use: bool = False) -> None:
        super().__init__()
        self._raw, self._out = raw, out
        self._explanation, self._may_use = explanation, may_use
        self._described = describe(PrepareSettings)

    def compose(self) -> ComposeResult:
        values = {"raw": str(self._raw), "out": str(self._out)}
        with Vertical(classes="dialog"):
            yield Static(Text(_("Prepare recordings")), classes="title", markup=False)
            if self._explanation:
                yield Static(Text(harmless(self._explanation)), id="explanation", markup=False)
            for name, label in _FIELDS:
                with Horizontal(classes="row"):
                    yield Label(Text(_(label)))
                    yield Input(
                        values.get(name, ""),
                        placeholder=_(self._described[name].holds),
                        compact=True,
                        select_on_focus=False,
                        suggester=FolderSuggester() if name in _PATHS else None,
                        id=f"prepare-{name.replace('_', '-')}",
                    )
            yield Static("", id="help", markup=False)
            if not is_installed(*_NEEDED):
                yield Static(Text(_missing()), id="missing", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(_("Cancel"), "cancel")
                if self._may_use:
                    yield Button(_("Use it as it is"), "use")
                yield Button(_("Prepare"), "ok", main=True)

    def on_mount(self) -> None:
        for box in self.query(Input):
            box.cursor_blink = False
        self.query(Button).last().focus()

    def on_descendant_focus(self) -> None:
        """Say what the focused field is for."""
        focused = self.focused
        name = (focused.id or "").removeprefix("prepare-").replace("-", "_") if focused else ""
        self._say(_(self._described[name].help) if name in self._described else "")

    def _say(self, text: str, wrong: bool = False) -> None:
        line = self.query_one("#help", Static)
        line.set_class(wrong, "-wrong")
        line.update(Text(harmless(text)))

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self._answer()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.name:
            case "ok":
                self._answer()
            case "use":
                self.dismiss(self._raw)
            case _:
                self.dismiss(None)

    def _answer(self) -> None:
        written = {
            name: self.query_one(f"#prepare-{name.replace('_', '-')}", Input).value.strip()
            for name, _label in _FIELDS
        }
        given: dict[str, object] = {name: value for name, value in written.items() if value}
        for name in _PATHS:
            if name not in given:
                self._say(_("Name both folders."), wrong=True)
                return
            given[name] = expanded(str(given[name])).absolute()
        try:
            self.dismiss(PrepareSettings.model_validate(given))
        except ValidationError as error:
            found = error.errors()[0]
            label = dict(_FIELDS).get(str(found["loc"][0]) if found["loc"] else "", "")
            what = sentence(complaint(found))
            self._say(f"{_(label)}: {what}" if label else what, wrong=True)

    def help_text(self) -> str:
        """Return what should be known here."""
        return _(
            "The recordings are only read. Long ones are cut at pauses into clips of 3 to 12 s; words come "
            "from a table, subtitles or a text beside them, else from recognition. Without a speaker's name "
            "each folder is one speaker.\n"
            "It may be stopped and continued, and more recordings may be added later."
        )

    def action_cancel(self) -> None:
        self.dismiss(None)


def _missing() -> str:
    return _(
        "Cutting and recognition need the extra prepare, which is not installed: pip install "
        '"fishtune[prepare]". Recordings that have their words are imported without it.'
    )
