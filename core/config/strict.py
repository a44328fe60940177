"""Strict tables: settings whose unknown keys are errors, all errors reported together."""

from __future__ import annotations

import difflib
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import SettingsError, UsageError
from ..messages import Message
from .options import flag_of


class Table(BaseModel):
    """Base of every settings model: unknown keys are refused, values are checked on assignment."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


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
        lines = [_describe(model, item) for item in found[:_LISTED]]
        lines += ["…"] if len(found) > _LISTED else []
        noun = "problem" if len(found) == 1 else "problems"
        raise SettingsError(
            "{source} has {found} {noun}: {lines}.",
            "Correct the named fields and try again.",
            source=source,
            found=len(found),
            noun=noun,
            lines="; ".join(lines),
        ) from error


def parse_flags(model: type[T], /, **flags: Any) -> T:
    """Return what a command was given as `model`.

    Raises:
        UsageError: names every wrong flag.
    """
    try:
        return model.model_validate(flags)
    except ValidationError as error:
        lines = [
            _describe(model, item | {"loc": (flag_of(model, str(item["loc"][0])),)})
            for item in error.errors()
        ]
        raise UsageError("; ".join(lines) + ".", "See what the command takes with --help.") from error


def _describe(model: type[BaseModel], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        valid = _keys_at(model, item["loc"][:-1])
        key = str(item["loc"][-1])
        near = difflib.get_close_matches(key, valid, n=1)
        if near:
            return Message("{file} is not a known key (did you mean {near}?)", file=path, near=near[0])
        return Message("{file} is not a known key; valid are {valid}", file=path, valid=", ".join(valid))
    if item["type"] == "missing":
        return Message("{file} is missing", file=path)
    message: str = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not path:  # a fault of the table as a whole: fields that do not fit together
        return message
    shown = repr(item["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return Message("{file}: {said} (the value is {shown})", file=path, said=message, shown=shown)


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if _is_model(current) else None
        if field is None:
            return []
        current = next((kind for kind in _leaves(field.annotation) if _is_model(kind)), None)
    return list(current.model_fields) if _is_model(current) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _leaves(annotation: Any) -> list[Any]:
    arguments = typing.get_args(annotation)
    return [leaf for argument in arguments for leaf in _leaves(argument)] if arguments else [annotation]
