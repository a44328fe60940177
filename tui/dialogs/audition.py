"""What an audition asks: which checkpoints speak, which texts, in whose voice, and who listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Label, Static

from ...core.config.project import Project
from ...core.config.settings import SPREAD
from ...core.errors import FishtuneError
from ...core.judge.extra import INSTALL, is_installed
from ...core.messages import Message
from ...core.text.texts import texts_of
from ...core.text.transcripts import transcript_beside
from ..access import wizard
from ..base_screen import Dialog
from ..candidates import Row, RowKind
from ..catalogue import _, mark, ngettext, sentence
from ..trouble import in_thread
from ..widgets.button import Button
from ..widgets.choice import Choice
from ..widgets.form import Field, Form
from ..widgets.notice import Notice
from ..wording import count, harmless

FIELDS = (
    Field("audition", "text_source"),
    Field("audition", "reference"),
    Field("audition", "seeds"),
    Field("audition", "strengths"),
    Field("audition", "language"),
    Field("audition", "asr_model"),
    Field("audition", "speaker_model"),
)
_OURS, _HELD_OUT = 24, 8
"""Texts of a language that come with fishtune, and transcripts of held-out clips at most."""
_ALL, _SPREAD, _ONE = "all", "spread", "one"
_UNSET = {
    "text_source": mark("the data set's language"),
    "reference": mark("a clip of the data set"),
    "strengths": mark("1, as it was trained"),
    "language": mark("that of the transcripts"),
    "asr_model": mark("chosen by language and free memory"),
    "speaker_model": mark("CAM++"),
}
_REFERENCE_HINT = Message("Put what is said in it into a .lab file beside it.")


@dataclass(frozen=True)
class Asked:
    """Who is to speak.

    Args:
        one: a single row; None = the run.
        everyone: of a run every checkpoint, not only some spread over it.
    """

    one: Row | None = None
    everyone: bool = False


class AuditionScreen(Dialog[Asked | None]):
    """Gives who is to speak, None where the user went back. The rest is kept in the project's `audition`.

    Args:
        checkpoints: how many the run has.
        row: the one under the cursor.
    """

    BINDINGS = [
        Binding("escape", "cancel", show=False),
        Binding("f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    AuditionScreen .dialog { width: 80; height: auto; padding: 0 1; }
    AuditionScreen VerticalScroll { height: auto; max-height: 12; scrollbar-size-vertical: 1; }
    AuditionScreen .row { height: 1; }
    AuditionScreen .row Label { width: 26; color: $text-muted; }
    AuditionScreen Form { margin: 0; }
    AuditionScreen #asked { height: 2; color: $text-muted; }
    AuditionScreen #asked.-wrong { color: $error; }
    AuditionScreen #plan { height: 2; }
    """

    def __init__(self, project: Project, checkpoints: int, row: Row | None) -> None:
        super().__init__()
        self._project = project
        self._checkpoints = checkpoints
        self._row = row if row is not None and row.path is not None else None
        self._texts: int | None = None
        """How many texts are asked for; None = those of the data set's language."""
        self._tried: BaseModel | None = None
        """The settings when it was last to start."""
        self._told_fault = False
        """Whether it was then said that a field holds no value."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(_("Audition: all say the same, and each recording is judged"), classes="title")
            with VerticalScroll(can_focus=False):
                with Horizontal(classes="row"):
                    yield Label(Text(_("Who speaks")))
                    options = self._options()
                    yield Choice(options, options[0][0], wizard(self).glyphs, id="who")
                yield Form(FIELDS, self._table, self._inherited, wizard(self).glyphs)
            yield Static("", id="asked", markup=False)
            yield Static("", id="plan", markup=False)
            yield Notice(id="notice")
            with Horizontal(classes="buttons"):
                yield Button(_("Cancel"), "cancel")
                yield Button(_("Start"), "start", main=True)

    def _options(self) -> list[tuple[str, str]]:
        number = self._checkpoints
        shown = []
        if number:
            every = ngettext("the {number} checkpoint", "all {number} checkpoints", number)
            shown.append((_ALL, every.format(number=count(number))))
        if number > SPREAD:
            shown.append((_SPREAD, _("{number} spread over the run").format(number=SPREAD)))
        if self._row is not None:
            shown.append((_ONE, _("only {name}").format(name=self._row.name)))
        return shown

    def _table(self, name: str) -> BaseModel:
        return getattr(self._project, name)  # type: ignore[no-any-return]

    def _inherited(self, field: Field) -> Any:
        if field.name in _UNSET:
            return _(_UNSET[field.name])
        return type(self._project.audition).model_fields[field.name].get_default(call_default_factory=True)

    def on_mount(self) -> None:
        self._count_texts()
        self._show_missing()
        self.query(Button).last().focus()

    def _show_missing(self) -> None:
        """Say which package is missing, in the place of what was said before."""
        notice = self.query_one(Notice)
        notice.clear()
        self._told_fault = False
        missing = [name for name in ("faster_whisper", "onnxruntime", "swift_f0") if not is_installed(name)]
        if missing:
            told = _("{missing} is not installed, so less is judged.").format(missing=missing[0])
            notice.show_warning(told, sentence(INSTALL))

    def on_form_confirmed(self, event: Form.Confirmed) -> None:
        event.stop()
        self.query(Button).last().focus()

    # what is asked

    @property
    def _who(self) -> str:
        return self.query_one("#who", Choice).value

    def _voices(self) -> int:
        """Return how many speak, the base included."""
        if self._who == _ONE and self._row is not None and self._row.kind is RowKind.BASE:
            return 1
        number = {_ALL: self._checkpoints, _SPREAD: SPREAD}.get(self._who, 1)
        strengths = [each for each in self._project.audition.strengths or [1.0] if each > 0]
        has_base = self._who != _ONE or len(strengths) < len(self._project.audition.strengths)
        return number * len(strengths) + has_base

    def _plan(self) -> None:
        texts = self._texts if self._texts is not None else _OURS + _HELD_OUT
        voices, seeds = self._voices(), self._project.audition.seeds
        form = (
            _("{voices} × {texts} × {seeds} = {recordings}")
            if self._texts is not None
            else _("{voices} × {texts} × {seeds} = at most {recordings}")
        )
        whole = voices * texts * seeds
        told = form.format(
            voices=ngettext("{number} voice", "{number} voices", voices).format(number=count(voices)),
            texts=ngettext("{number} text", "{number} texts", texts).format(number=count(texts)),
            seeds=ngettext("{number} time", "{number} times", seeds).format(number=count(seeds)),
            recordings=ngettext("{number} recording", "{number} recordings", whole).format(
                number=count(whole)
            ),
        )
        self.query_one("#plan", Static).update(
            Text(told + "; " + _("what is there already is not made again."))
        )

    def _count_texts(self) -> None:
        def work() -> None:
            source = self._project.audition_settings(self._project.run_folder).text_source
            try:
                number = len(texts_of(source)) if source else None
            except FishtuneError:
                number = None  # said when it is to start
            self.app.call_from_thread(self._take_count, number)

        in_thread(self, work, self.query_one(Notice).show_error, "texts")

    def _take_count(self, number: int | None) -> None:
        self._texts = number
        self._plan()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        if event.choice.id == "who":
            self._plan()

    def on_form_changed(self, event: Form.Changed) -> None:
        event.stop()
        if self._project.audition != self._tried:
            self._show_missing()  # what was said was about other settings
        self._count_texts()

    def on_form_said(self, event: Form.Said) -> None:
        event.stop()
        line = self.query_one("#asked", Static)
        line.set_class(event.wrong, "-wrong")
        line.update(Text(harmless(event.text)))
        if self._told_fault and not self.query_one(Form).has_faults:
            self._show_missing()

    # the answer

    def enter_does(self) -> str:
        return _("Store") if isinstance(self.focused, Input) else super().enter_does()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.name == "start":
            self._start()
        else:
            self.action_cancel()

    def _start(self) -> None:
        notice = self.query_one(Notice)
        notice.clear()
        wrong = self.query_one(Form).store()
        self._tried = self._project.audition.model_copy(deep=True)
        self._told_fault = bool(wrong)
        if wrong:
            notice.show_warning(wrong)
            return

        def work() -> None:
            # What would end the job after it has loaded a model is found out before.
            settings = self._project.audition_settings(self._project.run_folder)
            if settings.text_source:
                texts_of(settings.text_source)
            if settings.reference is not None:
                transcript_beside(settings.reference, _REFERENCE_HINT)
            self.app.call_from_thread(self._answer)

        in_thread(self, work, notice.show_error, "start")

    def _answer(self) -> None:
        self.dismiss(Asked(self._row if self._who == _ONE else None, everyone=self._who == _ALL))

    def help_text(self) -> str:
        return _(
            "Texts: nothing for 24 texts in the data set's language and up to 8 held-out transcripts; a "
            "language such as en; or a file with one text per line.\n"
            "Reference clip: the voice that all are given, with its words in a .lab file beside it.\n"
            "Times each: more make the numbers surer and take longer.\n"
            "Strengths: such as 0.6 0.8 1; each is a row of its own, which can be merged.\n"
            "The models that listen are fetched once. On a machine without network, name a folder with "
            "Whisper for CTranslate2, and a file of a speaker encoder."
        )

    def action_cancel(self) -> None:
        self.dismiss(None)
