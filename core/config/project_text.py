"""The project file as a text of the user's own: changed in place with its comments, and begun with ours.

`tomlkit` keeps what was written. It is imported only when something is saved: it takes 70 ms and 5 MiB, which
the first screen of the wizard cannot spare.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ..messages import NOTHING, Message
from .options import Description, Group, describe, help_of

if TYPE_CHECKING:
    from tomlkit.items import Item, Key

_WIDTH = 100
_INTRODUCTION = (
    "Every choice of this project. A # directly before a name marks an option that is not set, with its "
    "default: remove the # to set it. What is not set follows the preset, then the default. Your comments "
    "are kept."
)
_ADVANCED = "Rarely needed:"


def edited(text: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the text of a TOML file with what changed from `before` to `after`; the rest stays as written.

    A new key goes below the line that has it commented out, else below the last key of its table. The comment
    behind a value that is taken out stays, in a line of its own.
    """
    import tomlkit

    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n")
    document = tomlkit.parse(lines if lines.endswith("\n") or not lines else f"{lines}\n")
    _change(document, before, after)
    return tomlkit.dumps(document).replace("\n", line_end)


def template(model: type[BaseModel]) -> str:
    """Return a project file with every option of `model` explained and commented out; its `name` is empty."""
    lines = [*_prose(_INTRODUCTION), ""]
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines += ["", f"[{name}]", *_table(field.annotation)]
        else:
            lines += [*_prose(help_of(model, name)), f'{name} = ""']
    return "\n".join(lines) + "\n"


def decimal_comma(text: str) -> str:
    """Return the hint for a number written with a comma, the likeliest mistake outside of English, or ""."""
    found = re.search(r"^[ \t]*([\w.-]+)[ \t]*=[ \t]*(-?\d+),(\d+)[ \t\r]*$", text, re.MULTILINE)
    if found is None:
        return NOTHING
    key, whole, fraction = found.groups()
    return Message(
        "Numbers take a decimal point: {key} = {whole}.{fraction}", key=key, whole=whole, fraction=fraction
    )


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield from _prose(inspect.cleandoc(model.__doc__ or ""))
    fields = describe(model).values()
    basic = [field for field in fields if field.option.group is Group.BASIC]
    for field in basic:
        yield from _option(field)
    others = [field for field in fields if field not in basic]
    if basic and others:
        yield from ("", *_prose(_ADVANCED))
    for field in others:
        yield from _option(field)


def _option(field: Description) -> Iterator[str]:
    import tomlkit

    yield ""
    yield from _prose(field.help + (f" ({field.range})" if field.range else ""))
    if field.default is None:
        yield f"#{field.name} =  # not set" + (f": {field.holds}" if field.holds else "")
        return
    known = isinstance(field.default, bool | int | float | str | list)
    value = tomlkit.item(field.default if known else str(field.default)).as_string()
    yield f"#{field.name} = {value}" + (f"  # {', '.join(field.choices)}" if field.choices else "")


def _prose(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False
    )


def _change(container: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Make a table of `tomlkit` say what `after` does."""
    from tomlkit.items import AbstractTable

    new_keys = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        there = container.get(key)
        if isinstance(there, AbstractTable) and isinstance(new, dict | None):
            _change(there, old or {}, new or {})
            if there.as_string().strip() in ("", "{}") and not there.trivia.comment:
                del container[key]
        elif isinstance(new, dict) and key in container:  # in keys with dots, here and there in the file
            del container[key]
            new_keys.append(key)
        elif new is None:
            _take_out(container, key)
        elif isinstance(there, list) and isinstance(new, list):
            _change_list(there, new)
        elif key in container:
            container[key] = new
        else:
            new_keys.append(key)
    for key in new_keys:  # last: tomlkit does not learn of what `_put_in` moves
        _put_in(container, key, after[key])


def _change_list(there: list[Any], new: list[Any]) -> None:
    for place in reversed(range(len(there))):
        if there[place] not in new:
            del there[place]
    there.extend(new[len(there) :])
    if there != new:  # in another order, or one twice
        there[:] = new


def _take_out(container: Any, key: str) -> None:
    body = _body(container)
    place = next((place for place, (name, _) in enumerate(body or ()) if name and name.key == key), None)
    if body is None or place is None:
        del container[key]
        return
    said = body[place][1].trivia.comment
    del container[key]
    if said:
        import tomlkit

        body[place] = (None, tomlkit.comment(said.removeprefix("#").strip()))


def _put_in(container: Any, key: str, value: Any) -> None:
    import tomlkit

    if isinstance(value, dict):
        table = tomlkit.table()
        _change(table, {}, value)
        container[key] = table
        return
    item = tomlkit.item(value)
    if isinstance(value, list) and value:
        item.multiline(True)
    body = _body(container)
    if body is None:
        container[key] = item
    else:
        body.insert(_place(body, key), (tomlkit.key(key), item))


def _body(container: Any) -> list[tuple[Key | None, Item]] | None:
    """Return the lines of a `[table]`, comments among them; None for the file and for a table in one line."""
    from tomlkit.items import Table

    return container.value.body if isinstance(container, Table) else None


def _place(body: list[tuple[Key | None, Item]], key: str) -> int:
    """Return where in a table a new key belongs."""
    from tomlkit.items import Comment

    commented_out = re.compile(rf"\s*#\s*{re.escape(key)}\s*=")
    place = 0
    for number, (name, item) in enumerate(body, 1):
        if isinstance(item, Comment) and commented_out.match(item.as_string()):
            return number
        if name is not None:
            place = number
    while place < len(body) and isinstance(body[place][1], Comment):
        place += 1
    return place
