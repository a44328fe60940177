"""What a field of the settings is for a user: the one description that flags, forms and documentation share.

A field of a settings model says everything about itself: its default and bounds as pydantic has them, its
help as the docstring below it, and the rest as an `Option` in its annotation:

    batch_size: Annotated[int, Option("Clips per batch", unit="clips", group=BASIC)] = Field(default=16, ge=1)
    \"""Maximum clips per batch.\"""

`describe` reads all of it. The command line (`core/cli/options.py`), the wizard's forms
(`tui/widgets/form.py`) and `docs/settings.md` (`benchmarks/settings.py`) are made from that.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Group(StrEnum):
    """Who needs an option."""

    BASIC = "basic"
    """Everybody: the wizard's forms show it."""
    ADVANCED = "advanced"
    """Some: the wizard's forms have it where they are unfolded."""
    RARE = "rare"
    """Few: it is set by a flag or in the project file."""


BASIC = Group.BASIC
ADVANCED = Group.ADVANCED


class Kind(StrEnum):
    """What a value is, for those who read it from a text."""

    TEXT = "text"
    PATH = "path"
    WHOLE = "whole"
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"


@dataclass(frozen=True)
class Option:
    """Marks a field of a settings model.

    Args:
        title: what a form calls it; forms show it translated.
        unit: of its value, in the plural ("clips", "seconds").
        panel: heading under which the command's help lists it.
        argument: whether a command takes it by its place instead of by a flag.
        flag: its flag without the dashes, where that is not the field's name.
        metavar: what the help shows as the flag's or argument's value.
        secret: whether messages must not show its value.
        unset: what holds where nothing is given and the default does not say it ("never", "no limit").
    """

    title: str = ""
    unit: str = ""
    group: Group = Group.RARE
    panel: str = ""
    argument: bool = False
    flag: str = ""
    metavar: str = ""
    unset: str = ""
    secret: bool = False


@dataclass(frozen=True)
class FirstRunOnly:
    """Marks a field that is meant for a first run: repeated, it would undo what that run has done."""

    then: Any
    """The value of a run that continues."""


@dataclass(frozen=True)
class Description:
    """Everything that is known about one field of a settings model.

    Args:
        help: one paragraph.
        repeated: whether the value is a list, given by repeating the flag; `kind` is that of an entry.
        choices: values of a `Kind.CHOICE`.
        bounds: of a number, as pydantic checks them.
        first_run_only: None where the field is for every run.
    """

    name: str
    option: Option
    help: str
    kind: Kind
    repeated: bool
    choices: tuple[str, ...]
    bounds: tuple[Ge | Gt | Le | Lt, ...]
    required: bool
    default: Any
    first_run_only: FirstRunOnly | None

    @property
    def title(self) -> str:
        """What a form calls it; where nothing was chosen, its name in words."""
        return self.option.title or self.name.replace("_", " ").capitalize()

    @property
    def flag(self) -> str:
        """What the command line calls it: `--batch-size`, and `DATA` where its place says what it is."""
        if self.option.argument:
            return self.option.metavar or self.name.upper()
        return f"--{self.option.flag or self.name.replace('_', '-')}"

    @property
    def range(self) -> str:
        """The allowed values of a number, `≥ 0, < 1`; "" where all are."""
        return ", ".join(f"{sign} {_number(limit)}" for sign, limit in map(_limit, self.bounds))

    @property
    def holds(self) -> str:
        """What holds where nothing is given, as text; "" where nothing can be said."""
        if self.option.unset or self.required:
            return self.option.unset
        return shown(self.default)


def describe(model: type[BaseModel]) -> dict[str, Description]:
    """Return the description of every field of a settings model by name, in its order."""
    return {name: _description(model, name, field) for name, field in model.model_fields.items()}


def help_of(model: type[BaseModel], name: str) -> str:
    """Return the docstring below a field, as one paragraph; "" where there is none.

    Pydantic can read them all (`use_attribute_docstrings`), but where the classes are made: 0.6 MiB and a
    tenth of the time that the wizard takes to load the engine.
    """
    for owner in model.__mro__:
        if owner is BaseModel:
            break
        if below := _docstrings(owner.__module__).get((owner.__name__, name)):
            return " ".join(below.split())
    return ""


def flag_of(model: type[BaseModel], name: str) -> str:
    """Return what the command line calls a field, also one that the model does not have."""
    field = model.model_fields.get(name)
    return _description(model, name, field).flag if field else f"--{name.replace('_', '-')}"


def shown(value: Any) -> str:
    """Return a value as a user writes it; "" for None and for an empty list or text."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list():
            return ", ".join(map(shown, value))
        case _:
            return str(value)


def _limit(bound: Ge | Gt | Le | Lt) -> tuple[str, Any]:
    match bound:
        case Ge(ge=limit):
            return "≥", limit
        case Gt(gt=limit):
            return ">", limit
        case Le(le=limit):
            return "≤", limit
        case Lt(lt=limit):
            return "<", limit


def _number(limit: Any) -> str:
    power = int(limit).bit_length() - 1
    return f"2^{power}" if power > 32 and limit == 1 << power else shown(limit)


@cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """Return the docstrings below fields in a module, by class and field."""
    source = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        (owner.name, field.target.id): below.value.value
        for owner in ast.walk(source)
        if isinstance(owner, ast.ClassDef)
        for field, below in pairwise(owner.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(below.value.value, str)
    }


def _description(model: type[BaseModel], name: str, field: FieldInfo) -> Description:
    inner = list(_leaves(field.annotation))
    marks = [*field.metadata]
    for _, found in inner:
        for mark in found:
            marks += mark.metadata if isinstance(mark, FieldInfo) else [mark]
    parts = [part for part, _ in inner if part is not type(None)]
    return Description(
        name,
        option=next((mark for mark in marks if isinstance(mark, Option)), Option()),
        help=help_of(model, name),
        kind=_kind(parts),
        repeated=any(typing.get_origin(part) is list for part in _members(field.annotation)),
        choices=tuple(
            str(value) for part in parts if typing.get_origin(part) is Literal for value in part.__args__
        ),
        bounds=tuple(mark for mark in marks if isinstance(mark, Ge | Gt | Le | Lt)),
        required=field.is_required(),
        default=None if field.is_required() else field.get_default(call_default_factory=True),
        first_run_only=next((mark for mark in marks if isinstance(mark, FirstRunOnly)), None),
    )


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _leaves(annotation: Any, marks: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield the plain types in an annotation, each with what is marked on it; a `Literal` is one."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _leaves(arguments[0], (*marks, *arguments[1:]))
    elif arguments and origin is not Literal:
        for argument in arguments:
            yield from _leaves(argument, marks)
    else:
        yield annotation, marks


def _kind(parts: list[Any]) -> Kind:
    if len(parts) != 1:
        return Kind.TEXT
    if typing.get_origin(parts[0]) is Literal:
        return Kind.CHOICE
    kinds = {bool: Kind.SWITCH, int: Kind.WHOLE, float: Kind.NUMBER, Path: Kind.PATH}
    return kinds.get(parts[0], Kind.TEXT)
