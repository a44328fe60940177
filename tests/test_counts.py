"""`1 clip`, not `1 clips`: every text that names a number of things has a form for one of them.

A text with a place for a number before a plural noun must be a form of `plural` or `ngettext`, whose other
form is for one; `format_count` makes both. What never is one thing is listed here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fishtune.core.messages import Message, plural
from fishtune.core.units import format_amount, format_count

ROOT = Path(__file__).parent.parent
BY_NUMBER = {"plural", "ngettext"}
"""Calls whose texts are chosen by a number; the first text is for one."""
NOUNS = (
    "batches checkpoints clips columns comparisons edits epochs errors files folders jobs lines models "
    "passes places presets problems processes recordings sentences shards speakers steps texts validations "
    "voices votes warnings words"
).replace(" ", "|")
"""What there may be one of. Bytes, tokens, letters and the like come by the dozen."""
NEVER_ONE = {
    "{number} files ({name}, …)": "one file is named",
    "{key} has {number} recordings, {names}; they would share {name}.npy.": "one is no fault",
    "{file} has {number} lines, which are joined.": "one line needs no joining",
    "{file} names {number:,} shards, more than any model.": "a bound of hundreds",
    "The page shows {shown:,} of {total:,} clips, those whose words are least sure: all of them would "
    "make {size}.": "of one clip all is shown",
    "The shards in {output} hold {held} clips, the new ones would hold {now}, so the old ones were kept. "
    "What cannot be packed now: {reasons}.": "many more than the new ones",
    "The shards in {output} hold {held} clips, but {input} now has {now}, so the old ones were kept.": "too",
}
_COUNTED = re.compile(
    rf"(?:\{{[^{{}}]*\}}|\b1\b) (?:of (?:all )?\{{[^{{}}]*\}} )?(?!has|holds)(?:[a-z-]+ )?(?:{NOUNS})\b"
)


def faults(text: str) -> list[str]:
    """Return where a text has a number before a plural noun."""
    return [] if text in NEVER_ONE else [found[0] for found in _COUNTED.finditer(text)]


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)  # type: ignore[misc]
    return ""


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that stand for any number, and those for one with 1 in place."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in BY_NUMBER:
                forms = [part for part in arguments if isinstance(part, ast.Constant | ast.JoinedStr)]
                skipped |= {id(part) for form in forms for part in ast.walk(form)}
                for form in forms[:1]:
                    yield node.lineno, re.sub(r"\{number[^{}]*\}", "1", _text(form))
            case ast.Expr(value=ast.Constant() as docstring):
                skipped.add(id(docstring))
            case ast.JoinedStr(values=parts):
                skipped |= {id(part) for part in parts}
    for node in ast.walk(tree):
        if id(node) not in skipped and (text := _text(node)):
            yield getattr(node, "lineno", 0), text


@pytest.mark.parametrize("room", ["core", "tui"])
def test_no_text_names_one_thing_in_the_plural(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, text in texts(path.read_text(encoding="utf-8"))
        for fault in faults(text)
    ]
    assert not found, "choose the form with plural, ngettext or format_count:\n" + "\n".join(found)


def test_the_search_finds_what_it_is_for() -> None:
    def found(source: str) -> list[str]:
        return [fault for _line, text in texts(source) for fault in faults(text)]

    assert found('out.print(f"{count} clips")') == ["{} clips"]
    assert found('Message("{number} of {total} new votes")') == ["{number} of {total} new votes"]
    assert found('plural(n, "{number} clips", "{number} clips")') == ["1 clips"]
    assert found('plural(n, "{number} clip", "{number} clips"); _("{file} has {size} bytes")') == []
    listed = {text for path in ROOT.glob("core/**/*.py") for _, text in texts(path.read_text("utf-8"))}
    assert listed >= NEVER_ONE.keys(), "it is not in the code any more"


def test_one_thing_is_told_in_the_singular() -> None:
    assert (format_count(1, "clip"), format_count(0, "clip")) == ("1 clip", "0 clips")
    assert format_count(1200, "new vote") == "1,200 new votes"
    assert (format_amount(1, 1, "clips"), format_amount(1, 12, "clips")) == ("1/1 clip", "1/12 clips")
    assert (format_amount(0, 1, "batches"), format_amount(1, None, "steps")) == ("0/1 batch", "1 step")
    assert plural(1, "{number} clip", "{number} clips") == Message("{number} clip", number=1) == "1 clip"
