"""Fields of the project file as rows of a form, written back at every change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from ..catalogue import _, sentence
from ..glyphs import LINES, Glyphs
from ..wording import harmless
from .choice import Choice
from .folder_suggester import FolderSuggester

Kind = Literal["text", "whole", "number", "choice", "path"]
_DEFAULT = ""


@dataclass(frozen=True)
class Field:
    """One value of a settings table.

    Args:
        table: the table of the project, `train`.
        name: the field of it, `max_steps`.
        label, help: keys of the catalogue; the help is shown while the field has the focus.
        options: (value, label) pairs of a choice; the value "" stands for "not set".
    """

    table: str
    name: str
    label: str
    help: str
    kind: Kind = "text"
    options: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """Id of the widget that edits it."""
        return f"field-{self.table}-{self.name}".replace("_", "-")


class Form(Vertical):
    """Rows of label and control.

    Args:
        table_of: gives the settings table of a name, freshly, because the project may be loaded again.
        inherited: gives the value that counts where the field is not set (preset or default).
    """

    DEFAULT_CSS = """
    Form { height: auto; }
    Form .row { height: 1; }
    Form .row Label { width: 22; color: $text-muted; }
    Form Input { width: 1fr; max-width: 48; }
    """

    BINDINGS = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    class Changed(Message):
        """A value was changed and accepted."""

        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field

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

    def compose(self) -> ComposeResult:
        for field in self._fields.values():
            with Horizontal(classes="row"):
                yield Label(Text(_(field.label)))
                if field.kind == "choice":
                    options = [(value, _(label)) for value, label in field.options]
                    yield Choice(options, self._written(field), self._glyphs, id=field.id)
                else:
                    yield Input(
                        self._written(field),
                        placeholder=self._placeholder(field),
                        compact=True,
                        select_on_focus=False,
                        suggester=FolderSuggester() if field.kind == "path" else None,
                        id=field.id,
                    )

    def _written(self, field: Field) -> str:
        table = self._table_of(field.table)
        if field.name not in table.model_fields_set:
            return _DEFAULT
        value = getattr(table, field.name)
        return _DEFAULT if value is None else _shown(value)

    def _placeholder(self, field: Field) -> str:
        value = self._inherited(field)
        return "–" if value is None else harmless(_shown(value), 60)

    def show_values(self) -> None:
        """Read all values again, without telling anybody."""
        for field_id, field in self._fields.items():
            control = self.query_one(f"#{field_id}")
            with self.prevent(Input.Changed, Choice.Changed):
                if isinstance(control, Choice):
                    control.value = self._written(field)
                elif isinstance(control, Input):
                    control.placeholder = self._placeholder(field)
                    if not control.has_focus:
                        control.value = self._written(field)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        field = self._fields.get(event.widget.id or "")
        if field is not None:
            self._say(_(field.help))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        field = self._fields.get(event.input.id or "")
        if field is not None:
            self._take(field, event.value.strip())

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        field = self._fields.get(event.choice.id or "")
        if field is not None:
            self._take(field, event.value)

    def _take(self, field: Field, written: str) -> None:
        table = self._table_of(field.table)
        if written == self._written(field):
            return  # also what a field says when it is first shown
        try:
            assign(table, field.name, _parsed(field, written))
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            message = sentence(message[0].lower() + message[1:])
            self._say(f"{_(field.label)}: {message}", wrong=True)
            return
        except ValueError:
            self._say(_("{label}: a number is needed here.").format(label=_(field.label)), wrong=True)
            return
        self._say(_(field.help))
        self.post_message(self.Changed(field))

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
    if field.kind == "whole":
        number = float(written)
        return int(number) if number.is_integer() else number
    if field.kind == "number":
        return float(written)
    if field.kind == "path":
        return Path(written)
    return written


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
