"""Strict tables: settings whose unknown keys are errors, all errors reported together."""

from __future__ import annotations

import difflib
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticKnownError

from ..data_model import DataModel
from ..errors import SettingsError, UsageError
from ..messages import Message, joined, plural
from .options import describe, flag_of


class Table(DataModel):
    """Base of every settings model: unknown keys are refused, values are checked on assignment."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


T = TypeVar("T", bound=BaseModel)
_LISTED = 20


def parse(model: type[T], content: dict[str, Any], source: str) -> T:
    """Return `content` as `model`.

    Args:
        source: where the content came from, for the message ("fishtune.toml", "preset gentle").

    Raises:
        SettingsError: names every wrong field by its path; for an unknown key the nearest valid one, or all.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        problems = [_describe(model, item) for item in found[:_LISTED]]
        problems += [Message("…")] if len(found) > _LISTED else []
        raise SettingsError(
            plural(
                len(found),
                "{source} has {number} problem: {problems}.",
                "{source} has {number} problems: {problems}.",
                source=source,
                problems=joined(problems, "; "),
            ),
            "Correct the named fields and try again.",
        ) from error


def parse_flags(model: type[T], /, **flags: Any) -> T:
    """Return what a command was given as `model`.

    Raises:
        UsageError: names every wrong flag.
    """
    try:
        return model.model_validate(flags)
    except ValidationError as error:
        problems = [
            _describe(model, item | {"loc": tuple(flag_of(model, str(name)) for name in item["loc"][:1])})
            for item in error.errors()
        ]
        raise UsageError(
            "{problems}.", "See what the command takes with --help.", problems=joined(problems, "; ")
        ) from error


def complaint(item: Any) -> Message:
    """Return what is wrong with a value, of one entry of `ValidationError.errors()`.

    It is a validator's own message, or pydantic's template for that kind of error with the values it names.
    """
    context = item.get("ctx", {})
    if item["type"] == "value_error":
        return Message.of(str(context["error"]), {})
    if item["type"] == "path_type":
        return Message("input is not a valid path")
    said: str = item["msg"][0].lower() + item["msg"][1:]
    try:
        template = PydanticKnownError(item["type"], context).message_template
    except (KeyError, TypeError):  # not one of its own kinds
        return Message(said)
    number = context.get("min_length", context.get("max_length"))
    template = template.replace("{expected_plural}", "" if number == 1 else "s")
    values = {name: _without_zeros(value) for name, value in context.items()}
    if item["type"] == "literal_error":
        values["expected"] = _choice(context["expected"])
    message = Message(template[0].lower() + template[1:], **values)
    return message if message == said else Message(said)


def _without_zeros(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _choice(expected: str) -> Message:
    """Return pydantic's list of choices, whose "or" has a translation."""
    choices, either, last = expected.rpartition(" or ")
    return Message("{choices} or {last}", choices=choices, last=last) if either else Message(expected)


def _describe(model: type[BaseModel], item: Any) -> Message:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        valid = _keys_at(model, item["loc"][:-1])
        key = str(item["loc"][-1])
        meant = difflib.get_close_matches(key, valid, n=1)
        if meant:
            return Message("{key} is not a known key (did you mean {meant}?)", key=path, meant=meant[0])
        return Message("{key} is not a known key; valid are {valid}", key=path, valid=", ".join(valid))
    if item["type"] == "missing":
        return Message("{key} is missing", key=path)
    fault = complaint(item)
    if not path:  # a fault of the table as a whole: fields that do not fit together
        return fault
    if _is_secret(model, item["loc"]):
        return Message("{key}: {fault}", key=path, fault=fault)
    shown = repr(item["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return Message("{key}: {fault} (the value is {value})", key=path, fault=fault, value=shown)


def _is_secret(model: type[BaseModel], path: tuple[int | str, ...]) -> bool:
    """Return whether a field's value must not be shown."""
    names = [part for part in path if isinstance(part, str)]
    owner = _model_at(model, tuple(names[:-1]))
    field = describe(owner).get(names[-1]) if owner is not None and names else None
    return field is not None and field.option.secret


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    owner = _model_at(model, path)
    return list(owner.model_fields) if owner is not None else []


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that a table of a settings file fills, by its path; None where there is none."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if _is_model(current) else None
        if field is None:
            return None
        current = next((kind for kind in _leaves(field.annotation) if _is_model(kind)), None)
    return current if _is_model(current) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _leaves(annotation: Any) -> list[Any]:
    arguments = typing.get_args(annotation)
    return [leaf for argument in arguments for leaf in _leaves(argument)] if arguments else [annotation]
