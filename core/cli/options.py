"""Flags of a command, made from the settings model that it fills."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer

from ..config.options import Description, Kind, describe, shown
from ..config.strict import Table
from .completion import completer_of

Given = dict[str, Any]
"""What a command was given, by the names of the model's fields; what was not given is left out."""
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]

_TYPES: dict[Kind, Any] = {Kind.WHOLE: int, Kind.NUMBER: float, Kind.PATH: Path, Kind.SWITCH: bool}
_WORDS: dict[Kind, str] = {Kind.WHOLE: "N", Kind.NUMBER: "X", Kind.PATH: "PATH"}
_LONGEST_CHOICE = 20
"""Characters of choices that the help shows in place; typer's own words leave no room for names and texts."""
_BY_NAME = inspect.Parameter.KEYWORD_ONLY
_PROJECTS = "the project's"


def takes(
    model: type[Table],
    *,
    into: str = "given",
    only: Collection[str] | None = None,
    of_project: Collection[str] = (),
    elsewhere: Mapping[str, Any] | None = None,
    panel: str = "",
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command one parameter for each field of a settings model.

    The command's other parameters stay as they are, after these. Values are only read here; whether they
    fit is the model's business.

    Args:
        into: the parameter of the command that receives what was given, a `Given`.
        only: names of the fields that are parameters; None = all.
        of_project: names of those that a project file gives, which the help says.
        elsewhere: what holds where neither flag nor project gives a value and the model has no default.
        panel: heading in the help instead of the fields' own.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = {name: field for name, field in describe(model).items() if only is None or name in only}
        own = inspect.signature(command, eval_str=True).parameters.values()
        made = [
            _parameter(field, _holds(field, name in of_project, elsewhere or {}), panel)
            # What has no default in the model is what a command is about.
            for name, field in sorted(fields.items(), key=lambda item: not item[1].required)
        ]

        def with_flags(**given: Any) -> None:
            values = {name: given.pop(name) for name in fields}
            given[into] = {name: value for name, value in values.items() if value not in (None, [])}
            command(**given)

        parameters = [*made, *(each.replace(kind=_BY_NAME) for each in own if each.name != into)]
        with_flags.__name__, with_flags.__doc__ = command.__name__, command.__doc__
        with_flags.__module__ = command.__module__
        with_flags.__annotations__ = {each.name: each.annotation for each in parameters}
        with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return with_flags

    return decorate


def _holds(field: Description, of_project: bool, elsewhere: Mapping[str, Any]) -> str:
    """Return what holds where the flag is not given, as the help says it; "" = nothing can be said."""
    if field.kind is Kind.SWITCH and field.default is not True:
        return ""
    known = shown(elsewhere.get(field.name)) or field.holds
    if of_project and known != _PROJECTS:
        return f"{_PROJECTS}, or {known}" if known else _PROJECTS
    return known


def _parameter(field: Description, holds: str, panel: str) -> inspect.Parameter:
    """Return the parameter of a command for one field; None stands for "not given"."""
    kind = _type(field)
    # The range is only told here: typer would check it a second time, in other words.
    about: dict[str, Any] = {"help": field.help + (f" ({field.range})" if field.range else "")}
    about["show_default"] = holds or False
    about["autocompletion"] = completer_of(field)
    if field.option.argument:
        mark = typer.Argument(metavar=field.flag, **about)
    else:
        about |= {"metavar": field.option.metavar or _word(field)}
        about |= {"rich_help_panel": panel or field.option.panel or None}
        switch = f"{field.flag}/--no-{field.flag.removeprefix('--')}"
        mark = typer.Option(switch if field.default is True else field.flag, **about)
    needed = field.required and not holds
    return inspect.Parameter(
        field.name,
        _BY_NAME,
        default=inspect.Parameter.empty if needed else None,
        annotation=Annotated[kind if needed else Optional[kind], mark],  # noqa: UP045 - made at run time
    )


def _word(field: Description) -> str | None:
    """Return what the help shows as a flag's value; None = a switch, which has none."""
    if field.kind is Kind.SWITCH:
        return None
    if field.kind is Kind.CHOICE and not field.repeated:
        choices = "|".join(map(str, field.choices))
        return choices if len(choices) <= _LONGEST_CHOICE else "NAME"
    return _WORDS.get(field.kind, "TEXT")


def _type(field: Description) -> Any:
    if field.repeated:
        return list[str]  # its entries are told apart by the model, which names the flag
    if field.kind is Kind.CHOICE:
        return Literal[field.choices]
    return _TYPES.get(field.kind, str)
