"""Texts for users, as data: an English template and the values that fill it in.

    raise DataError("{file} is empty.", "Record it again.", file=path)  # errors and findings take the values
    Message("{done} of {total} clips", done=8, total=11)                 # any other text

A `Message` *is* its English text, so it is shown, compared and searched like any string. Another language is
made from `template` and `values` where it is shown (`translated`), so that nothing has to be recognised in a
finished sentence. Events and job records keep both (`AS_DATA`); everywhere else JSON has the text.

A text without places is taken as it is, so a library's own words are safe as a whole text. Among other words
they go in as a value, never as a part of the template.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema
    from pydantic_core.core_schema import SerializationInfo

AS_DATA: Final = {"messages": "data"}
"""Serialization context in which a `Message` becomes `{"template": …, "values": …}`."""
PLACE: Final = r"\{\{|\}\}|\{(?P<name>[A-Za-z_]\w*)(?::(?P<format>,?(?:\.\d{1,2})?[defgs%]?|0\dd?))?\}"
"""What is filled in: `{name}`, `{name:format}` with a short format, and braces that are doubled."""
_PLACE = re.compile(PLACE)
_LONGEST = 1 << 16
"""Characters that a text from a file may fill in to."""
Value = str | int | float
_PLAIN = frozenset({str, int, float})


class Message(str):
    """A template filled in with values.

    Args:
        template: English, with `{name}` or `{name:.1f}` in the places of values; braces are doubled where
            there are places. A place without a value stays as it is, and a value that its format does not fit
            is filled in without it: an error must never fail while it is told.
        values: numbers and messages stay what they are; paths, exceptions and the like become their text. A
            message among them is translated with the one that it stands in.
    """

    __slots__ = ("template", "values")
    template: str
    values: dict[str, Value]

    def __new__(cls, template: str, /, **values: object) -> Self:
        """Fill in the template."""
        return cls._made(template, {name: _value(value) for name, value in values.items()})

    @classmethod
    def of(cls, text: str, values: Mapping[str, object]) -> Message:
        """Return `text` with those of `values` that it names; what is a message already stays as it is."""
        if isinstance(text, Message):
            return text
        return cls._made(text, {name: _value(values[name]) for name in names_of(text) if name in values})

    def __str__(self) -> str:
        """Return the message itself, so that it survives `str(error)`."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross the borders of processes whole."""
        return type(self)._made, (self.template, self.values)

    def translated(
        self, translate: Callable[[str], str], fill: Callable[[str, Mapping[str, Value]], str] | None = None
    ) -> str:
        """Return the text in another language.

        Args:
            translate: gives the template in that language, or the same again where it has none.
            fill: fills in a template as that language needs it (see `filled`).
        """
        values = {
            name: value.translated(translate, fill) if isinstance(value, Message) else value
            for name, value in self.values.items()
        }
        return (fill or filled)(translate(self.template) if self.template else "", values)

    @classmethod
    def _made(cls, template: str, values: dict[str, Value]) -> Self:
        self = super().__new__(cls, filled(template, values))
        self.template = template
        self.values = values
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read a text or its data; write the text or, in the context `AS_DATA`, its data."""
        from pydantic_core import core_schema  # the wizard starts without pydantic

        return core_schema.no_info_plain_validator_function(
            from_data,
            serialization=core_schema.plain_serializer_function_ser_schema(_written, info_arg=True),
        )


def filled(template: str, values: Mapping[str, Value]) -> str:
    """Return `template` with its places filled in; without values it is returned as it is."""
    if not values:
        return template
    return "".join([each if isinstance(each, str) else part(each, values) for each in _parts_of(template)])


@lru_cache(maxsize=1024)
def _parts_of(template: str) -> tuple[str | re.Match[str], ...]:
    """Return what stands between a template's places, and the places, in their order."""
    parts: list[str | re.Match[str]] = []
    end = 0
    for place in _PLACE.finditer(template):
        parts += template[end : place.start()], place
        end = place.end()
    return (*parts, template[end:])


def part(found: re.Match[str], values: Mapping[str, Value]) -> str:
    """Return what stands in one place (a match of `PLACE`)."""
    name = found["name"]
    if name is None:
        return found[0][:1]
    value = values.get(name)
    if value is None:
        return found[0]
    try:
        return format(value, found["format"] or "")
    except ValueError:
        return str(value)


@lru_cache(maxsize=1024)
def names_of(template: str) -> tuple[str, ...]:
    """Return the names of a template's places, in their order."""
    return tuple(each["name"] for each in _parts_of(template) if isinstance(each, re.Match) and each["name"])


def joined(texts: Iterable[str], separator: str = " ") -> Message:
    """Return texts one after another, without the empty ones; each is translated for itself."""
    parts = {f"part{number}": text for number, text in enumerate(filter(None, texts))}
    if len(parts) == 1 and isinstance(only := parts["part0"], Message):
        return only
    if isinstance(separator, Message):
        parts, places = {"separator": separator, **parts}, "{separator}"
    else:
        places = separator.replace("{", "{{").replace("}", "}}")
    return Message(places.join(f"{{{name}}}" for name in parts if name != "separator"), **parts)


def plural(number: float, one: str, many: str, /, **values: object) -> Message:
    """Return the template that goes with `number`, which it may name.

    Example:
        plural(len(clips), "{number} clip is empty.", "{number} clips are empty.")
    """
    return Message(one if number == 1 else many, number=number, **values)


def first_of(names: Sequence[object], most: int, separator: str = ", ") -> Message:
    """Return the first `most` of many names, and how many more there are: `a, b and 4 more`."""
    first = joined(map(_text, names[:most]), separator)
    more = len(names) - most
    return Message("{names} and {number} more", names=first, number=more) if more > 0 else first


NOTHING: Final = Message("")


def named(names: Sequence[str]) -> Message:
    """Return the only name, or how many files there are and the first."""
    if len(names) == 1:
        return Message("{name}", name=names[0])
    return Message("{number} files ({name}, …)", number=len(names), name=names[0])


def near(word: str, known: Sequence[str]) -> Message:
    """Return the question whether a known word was meant, or nothing where none is like it."""
    import difflib  # for a rare mistake

    found = difflib.get_close_matches(word, known, n=1)
    return Message("Did you mean {name}?", name=found[0]) if found else NOTHING


def of_the_system(error: OSError) -> Message:
    """Return the system's own words for an error, which are a text of the catalogue, or nothing."""
    return Message(error.strerror or "")


def _value(value: object) -> Value:
    if type(value) in _PLAIN:  # most are; to ask what else is a number takes ten times as long
        return value  # type: ignore[return-value]
    if isinstance(value, PurePath):
        return str(value)
    match value:
        case Message():
            return value
        case bool():
            return str(value)
        case int() | float() if type(value) in (int, float):
            return value
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
    return _text(value)


def _text(value: object) -> str:
    if not isinstance(value, OSError) or type(value).__str__ is not OSError.__str__ or not value.strerror:
        return str(value)
    # As `str` words it, with the system's own words to be translated.
    number, what = value.errno, of_the_system(value)
    if value.filename is None:
        return Message("[Errno {number}] {what}", number=number, what=what)
    return Message("[Errno {number}] {what}: {file}", number=number, what=what, file=repr(value.filename))


def as_data(message: Message) -> dict[str, Any]:
    """Return template and values as JSON can hold them."""
    values = {name: _as_json(value) for name, value in message.values.items()}
    return {"template": message.template, "values": values}


def _as_json(value: Value) -> Any:
    if isinstance(value, Message):
        return as_data(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _written(message: Message, info: SerializationInfo) -> Any:
    wanted = isinstance(info.context, dict) and info.context.get("messages") == "data"
    return as_data(message) if wanted and message.values else str.__str__(message)


def from_data(found: object) -> Message:
    """Return the message that JSON holds, as text or as data; what cannot be a template of ours is text.

    Raises:
        ValueError: it is something else.
    """
    match found:
        case Message():
            return found
        case str():
            return Message(found)
        case {"template": str(template), "values": dict(values)}:
            inner = {str(name): _read_value(value) for name, value in values.items()}
            return Message._made(template, inner if _size(template, inner) <= _LONGEST else {})
    raise ValueError("is not a message")


def _read_value(value: object) -> Value:
    match value:
        case dict():
            return from_data(value)
        case str() | float():
            return value
        case int() if abs(value) < 1 << 64:  # Python refuses to print numbers of very many digits
            return value
    raise ValueError("is not a value of a message")


def _size(template: str, values: Mapping[str, Value]) -> int:
    """Return how many characters a template fills in to at most: what is in a file may multiply itself."""
    longest = max((len(value) if isinstance(value, str) else 512 for value in values.values()), default=0)
    return len(template) + template.count("{") * longest
