"""Fields of the project file as rows of a form. A value is stored when its field is left or confirmed.

Never while it is typed: `1e-5` passes through `1`, and a chain may read the project file at any instant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from ...core.config.options import Description, Group, Kind, describe
from ...core.config.project import Project
from ...core.config.strict import complaint
from ..catalogue import _, sentence
from ..glyphs import LINES, Glyphs
from ..wording import harmless
from .choice import Choice
from .folder_suggester import FolderSuggester

_DEFAULT = ""
_LARGEST = 2**63 - 1
"""The largest whole number that TOML is sure to hold."""


@dataclass(frozen=True)
class Field:
    """One value of a settings table.

    Args:
        table: the table of the project, `train`.
        name: the field of it, `max_steps`. What it is called, is for and takes is the settings' to say.
        options: (value, label) pairs to choose from; the value "" stands for "not set".
    """

    table: str
    name: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """Key of the catalogue for what it is called."""
        return _described(self.table)[self.name].title

    @property
    def help(self) -> str:
        """Key of the catalogue for what it is for; shown while the field has the focus."""
        return _described(self.table)[self.name].help

    @property
    def group(self) -> Group:
        """Who needs it."""
        return _described(self.table)[self.name].option.group

    @property
    def kind(self) -> Kind:
        """What is typed or chosen."""
        if self.is_list:
            return Kind.TEXT
        return Kind.CHOICE if self.options else _described(self.table)[self.name].kind

    @property
    def is_list(self) -> bool:
        """Whether several values are typed, apart by spaces."""
        return _described(self.table)[self.name].repeated

    @property
    def id(self) -> str:
        """Id of the widget that edits it."""
        return f"field-{self.table}-{self.name}".replace("_", "-")


@cache
def _described(table: str) -> dict[str, Description]:
    """Return what the settings say of the fields of a table of the project."""
    return describe(Project.model_fields[table].annotation)  # type: ignore[arg-type]


class Form(Vertical):
    """Rows of label and control.

    Args:
        table_of: gives the settings table of a name, freshly, because the project may be loaded again.
        inherited: gives the value that counts where the field is not set (preset or default).
    """

    DEFAULT_CSS = """
    Form { height: auto; }
    Form .row { height: 1; }
    Form .row Label { width: 26; color: $text-muted; }
    Form Input { width: 1fr; max-width: 48; }
    Form Input.-wrong { color: $error; }
    """

    BINDINGS = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    class Changed(Message):
        """A value was stored."""

        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field

    class Confirmed(Message):
        """Enter was pressed in a field that has nothing to be stored: the user is done with it."""

    class Said(Message):
        """What the focused field is for, or what is wrong with its value."""

        def __init__(self, text: str, wrong: bool) -> None:
            super().__init__()
            self.text = text
            self.wrong = wrong

    def __init__(
        self,
        fields: Sequence[Field],
        table_of: Callable[[str], BaseModel],
        inherited: Callable[[Field], Any],
        glyphs: Glyphs = LINES,
        *,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._fields = {field.id: field for field in fields}
        self._table_of = table_of
        self._inherited = inherited
        self._glyphs = glyphs
        self._typed: set[str] = set()
        """Ids of the fields whose text is not stored yet."""
        self._wrong: dict[str, str] = {}
        """What is wrong with a text that was left or confirmed, by the field's id."""

    def compose(self) -> ComposeResult:
        for field in self._fields.values():
            with Horizontal(classes="row"):
                yield Label(Text(_(field.label)))
                if field.kind is Kind.CHOICE:
                    options = [(value, _(label)) for value, label in field.options]
                    yield Choice(options, self._written(field), self._glyphs, id=field.id)
                else:
                    yield Input(
                        self._written(field),
                        placeholder=self._placeholder(field),
                        compact=True,
                        suggester=FolderSuggester() if field.kind is Kind.PATH else None,
                        id=field.id,
                    )

    def _written(self, field: Field) -> str:
        table = self._table_of(field.table)
        if field.name not in table.model_fields_set:
            return _DEFAULT
        value = getattr(table, field.name)
        return _DEFAULT if value is None else as_written(value)

    def _placeholder(self, field: Field) -> str:
        value = self._inherited(field)
        return "–" if value is None else harmless(as_written(value), 60)

    def show_values(self) -> None:
        """Read all values again, without telling anybody. What is being typed stays."""
        for field_id, field in self._fields.items():
            control = self.query_one(f"#{field_id}")
            with self.prevent(Input.Changed, Choice.Changed):
                if isinstance(control, Choice):
                    control.value = self._written(field)
                elif isinstance(control, Input):
                    control.placeholder = self._placeholder(field)
                    if field_id not in self._typed:
                        control.value = self._written(field)

    def forget_typed(self) -> bool:
        """Show what is stored in place of what was typed and is not; return whether there was any."""
        forgotten = [self._fields[field_id] for field_id in self._typed]
        for field in forgotten:
            control = self.query_one(f"#{field.id}", Input)
            control.value = self._written(field)
            self._settle(field, control)
        return bool(forgotten)

    @property
    def has_faults(self) -> bool:
        """Whether a field holds what is no value of it."""
        return bool(self._wrong)

    def store(self) -> str:
        """Store what was typed, as if every field was left; return what is wrong, empty if nothing is."""
        for control in self.query(Input):
            self._store(control)
        return next(iter(self._wrong.values()), "")

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        field = self._fields.get(event.widget.id or "")
        if field is not None:
            self._explain(field)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        field_id = event.input.id or ""
        field = self._fields.get(field_id)
        if field is None:
            return
        written = event.value.strip()
        if written != self._written(field):
            self._typed.add(field_id)
            fault = self._fault(field, written)
            self._say(fault or _(field.help), wrong=bool(fault))
        elif field_id in self._typed:  # else it only says what it is first shown with
            self._settle(field, event.input)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input.id in self._typed:
            self._store(event.input)
        else:
            self.post_message(self.Confirmed())

    def on_input_blurred(self, event: Input.Blurred) -> None:
        event.stop()
        # Another window, or the end of the program, takes the focus without the user leaving the field.
        if self.app.app_focus and self.app.is_running and not event.input.has_focus:
            self._store(event.input)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        field = self._fields.get(event.choice.id or "")
        if field is not None and event.value != self._written(field):
            self._assign(field, event.value)

    def _store(self, control: Input) -> None:
        field_id = control.id or ""
        if field_id not in self._typed:
            return
        field, written = self._fields[field_id], control.value.strip()
        fault = self._fault(field, written)
        if fault:
            self._wrong[field_id] = _("Not stored: {what}").format(what=fault)
            control.add_class("-wrong")
            self._explain(field)
            return
        self._settle(field, control)
        self._assign(field, written)

    def _settle(self, field: Field, control: Input) -> None:
        """Take note that a field shows what is, or is about to be, stored."""
        self._typed.discard(field.id)
        self._wrong.pop(field.id, None)
        control.remove_class("-wrong")
        self._explain(field)

    def _assign(self, field: Field, written: str) -> None:
        assign(self._table_of(field.table), field.name, _parsed(field, written))
        self.post_message(self.Changed(field))

    def _fault(self, field: Field, written: str) -> str:
        """Return what is wrong with a text for a field, empty if nothing is."""
        try:
            assign(self._table_of(field.table).model_copy(), field.name, _parsed(field, written))
        except ValidationError as error:
            return f"{_(field.label)}: {sentence(complaint(error.errors()[0]))}"
        except ValueError:
            return _("{label}: a number is needed here.").format(label=_(field.label))
        return ""

    def _explain(self, field: Field) -> None:
        """Say what a field is for, or what is wrong with it or, if that is all right, with another one."""
        wrong = self._wrong.get(field.id) or next(iter(self._wrong.values()), "")
        self._say(wrong or _(field.help), wrong=bool(wrong))

    def _say(self, text: str, wrong: bool = False) -> None:
        self.post_message(self.Said(text, wrong))


def assign(table: BaseModel, name: str, value: Any) -> None:
    """Set a field of a settings table; None takes it back to "not set".

    Raises:
        ValidationError: the value does not fit.
    """
    if value is None:
        default = type(table).model_fields[name].get_default(call_default_factory=True)
        setattr(table, name, default)
        table.model_fields_set.discard(name)
    else:
        setattr(table, name, value)


def _parsed(field: Field, written: str) -> object | None:
    if written == _DEFAULT:
        return None
    if field.is_list:
        return written.replace(",", " ").split()
    if field.kind is Kind.WHOLE:
        number = float(written)
        if abs(number) > _LARGEST:
            raise ValueError
        return int(number) if number.is_integer() else number
    if field.kind is Kind.NUMBER:
        return float(written)
    if field.kind is Kind.PATH:
        return Path(written)
    return written


def as_written(value: object) -> str:
    """Return a value as its field shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(as_written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
