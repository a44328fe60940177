"""Collects the catalogue's keys from the code, merges them into the .po files and compiles those.

    make catalogue

Run it after changing a text; translate what it lists as missing in the .po file; run it again. A test holds
that nothing is missing and that the compiled files are up to date. Nothing of this is needed at run time.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from fishtune.core.config.options import Group, describe
from fishtune.core.config.project import Project
from fishtune.core.config.settings import PrepareSettings
from pydantic import BaseModel
from templates import ROOT, called, engine_texts

LOCALE = ROOT / "tui" / "locale"
PO_FILES = sorted(LOCALE.glob("*/LC_MESSAGES/fishtune.po"))
COMMENT = "# fishtune. `make catalogue` keeps the keys up to date; only the translations are by hand."
# What the engine's progress counts.
COUNTED = ("clips", "files", "steps", "models", "tensors", "frames")

# Fields of the dialog that begins a preparation, of whose settings a project has none.
PREPARATION = ("raw", "out", "speaker", "language", "asr_model")

Key = str | tuple[str, str]
"""A text, or one with its plural."""


def collect() -> dict[Key, str]:
    """Return every key and the file it is from: the wizard's own texts, then the engine's."""
    keys: dict[Key, str] = {}
    for file in sorted((ROOT / "tui").rglob("*.py")):
        for key in own_texts(ast.parse(file.read_text(encoding="utf-8"))):
            keys.setdefault(key, str(file.relative_to(ROOT)))
    for file in sorted((ROOT / "presets" / "lora").glob("*.toml")):
        description = tomllib.loads(file.read_text(encoding="utf-8"))["description"]
        keys.setdefault(description, str(file.relative_to(ROOT)))
    for table in Project.model_fields.values():
        if isinstance(table.annotation, type) and issubclass(table.annotation, BaseModel):
            for field in describe(table.annotation).values():
                offered = field.option.group is not Group.RARE
                if offered or field.option.title:  # the wizard names what is undone
                    keys.setdefault(field.title, "core/config/settings")
                if offered:
                    keys.setdefault(field.help, "core/config/settings")
    for name in PREPARATION:
        field = describe(PrepareSettings)[name]
        for text in (field.help, field.holds):
            if " " in text:  # else a path
                keys.setdefault(text, "core/config/settings")
    for word in COUNTED:
        keys.setdefault(word, "core/events.py")
    for text, name in engine_texts().items():
        keys.setdefault(text, name)
    # A catalogue has one entry per text: the plural's serves the engine's "{number} clip", too.
    plurals = {key[0] for key in keys if isinstance(key, tuple)}
    return {key: name for key, name in keys.items() if key not in plurals}


def own_texts(tree: ast.AST) -> Iterator[Key]:
    """Yield what is given to `_`, `mark` and `ngettext`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        constants = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        texts = [text for text in constants if isinstance(text, str)]
        if called(node) in ("_", "mark") and texts:
            yield texts[0]
        elif called(node) == "ngettext" and len(texts) >= 2:
            yield (texts[0], texts[1])


def load(file: Path) -> Catalog:
    """Return a .po file."""
    with file.open("rb") as content:
        return read_po(content, locale=file.parent.parent.name, abort_invalid=True)


def translations(catalog: Catalog) -> dict[Key, str]:
    """Return what a catalogue has for each key (the first form of a plural), "" where it lacks any of it."""
    found: dict[Key, str] = {}
    for message in catalog:
        if key := _key(message.id):
            said = message.string
            found[key] = said if isinstance(said, str) else (said[0] if said and all(said) else "")
    return found


def _key(name: object) -> Key:
    return (str(name[0]), str(name[1])) if isinstance(name, list | tuple) else str(name)


def update(file: Path, keys: dict[Key, str]) -> list[Key]:
    """Write a .po file with exactly `keys` and compile it; return the keys without translation."""
    old = load(file)
    known = {key: message.string for message in old if (key := _key(message.id))}
    new = Catalog(
        locale=old.locale,
        project="fishtune",
        version="1",
        msgid_bugs_address="-",
        last_translator="-",
        language_team="-",
        charset="utf-8",
        fuzzy=False,
        header_comment=COMMENT,
        creation_date=old.creation_date,
        revision_date=old.creation_date,
    )
    for key, name in keys.items():
        new.add(key, known.get(key, ("",) if isinstance(key, tuple) else ""), locations=[(name, 0)])
    with file.open("wb") as content:
        write_po(content, new, width=100, include_lineno=False)
    with file.with_suffix(".mo").open("wb") as content:
        write_mo(content, new)
    said = translations(new)
    return [key for key in keys if not said.get(key)]


def main() -> int:
    """Update everything; return 1 if translations are missing."""
    keys = collect()
    missing = {file.parent.parent.name: update(file, keys) for file in PO_FILES}
    for language, without in missing.items():
        print(f"{language}: {len(keys)} keys, {len(without)} without translation")
        for key in without:
            print(f"  {key!r}")
    return 1 if any(missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
