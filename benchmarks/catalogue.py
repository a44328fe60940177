"""Collects the catalogue's keys from the code, merges them into the .po files and compiles those.

    python benchmarks/catalogue.py

Run it after changing a text; translate what it lists as missing; run it again. A test holds that nothing is
missing and that the compiled files are up to date. Nothing of this is needed at run time.
"""

from __future__ import annotations

import ast
import re
import struct
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
HERE = ROOT / "tui" / "locale"
ENGINE_KEYS = HERE / "engine.txt"
HEADER = (
    "Project-Id-Version: fishtune\\n"
    "MIME-Version: 1.0\\n"
    "Content-Type: text/plain; charset=UTF-8\\n"
    "Content-Transfer-Encoding: 8bit\\n"
    "Language: {language}\\n"
    "Plural-Forms: nplurals=1; plural=0;\\n"
)
# Modules whose sentences appear on screen as they are, names and numbers filled in.
SPOKEN = ("core/jobs/steps.py", "core/training/selection.py", "core/hardware/nvml.py")
# Enumerations whose values appear on screen.
ENUMERATIONS = {
    "core/packing/manifest.py": ("DropReason",),
    "core/hardware/readings.py": ("DriverState", "GpuState"),
    "core/hardware/ledger.py": ("Part",),
    "core/audition/record.py": ("FindingKind",),
}
# What the engine's progress counts, and the nouns that its sentences count with.
COUNTED = ("clips", "files", "steps", "models", "tensors")
NOUNS = ("clip", "speaker", "checkpoint", "shard")
WORDS = (
    *("sound", "clips", "audio"),
    *("1 clip of 1 speaker", "{} clips of 1 speaker", "{} clips of {} speakers"),
)

Entries = dict[str, str]
"""Key to translation; a key with plural is `one\\0many`."""


def collect() -> tuple[list[str], list[str]]:
    """Return the keys of the wizard's own texts, and those of the engine's sentences."""
    own: dict[str, None] = {}
    for file in sorted((ROOT / "tui").rglob("*.py")):
        own.update(dict.fromkeys(_marked(ast.parse(file.read_text(encoding="utf-8")))))
    for file in sorted((ROOT / "presets" / "lora").glob("*.toml")):
        own[tomllib.loads(file.read_text(encoding="utf-8"))["description"]] = None
    own.update(dict.fromkeys(COUNTED))
    spoken: dict[str, None] = {}
    for name, classes in ENUMERATIONS.items():
        spoken.update(dict.fromkeys(_values(ast.parse((ROOT / name).read_text(encoding="utf-8")), classes)))
    for name in SPOKEN:
        spoken.update(dict.fromkeys(_sentences(ast.parse((ROOT / name).read_text(encoding="utf-8")))))
    for file in sorted((ROOT / "core").rglob("*.py")):
        spoken.update(dict.fromkeys(_tasks(ast.parse(file.read_text(encoding="utf-8")))))
    spoken.update(dict.fromkeys(WORDS))
    for noun in NOUNS:
        spoken.update({f"1 {noun}": None, f"{{}} {noun}s": None})
    return list(own), list(spoken)


def _marked(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        constants = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        texts = [text for text in constants if isinstance(text, str)]
        if node.func.id in ("_", "mark") and texts:
            yield texts[0]
        elif node.func.id == "ngettext" and len(texts) >= 2:
            yield f"{texts[0]}\0{texts[1]}"


def _values(tree: ast.AST, classes: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            for line in node.body:
                if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
                    yield str(line.value.value)


def _sentences(tree: ast.Module) -> Iterator[str]:
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in documentation or id(node) in inside:
            continue
        text = _template(node)
        if text is not None and re.search(r"[a-z]{3}", text) and text.rstrip().endswith("."):
            yield text


def _template(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _tasks(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ProgressMeter":
            text = _template(node.args[1]) if len(node.args) > 1 else None
            if text:
                yield text


def read_po(file: Path) -> Entries:
    """Return the entries of a .po file (the part of the format that `write_po` writes)."""
    entries: Entries = {}
    fields: dict[str, str] = {}
    current = ""
    for line in [*file.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if "msgid" in fields:
                key = fields["msgid"] + ("\0" + fields["msgid_plural"] if "msgid_plural" in fields else "")
                entries[key] = fields.get("msgstr", fields.get("msgstr[0]", ""))
            fields, current = {}, ""
            continue
        found = re.match(r'(msgid|msgid_plural|msgstr|msgstr\[0\])\s+(".*")$', line)
        if found:
            current = found[1]
            fields[current] = ast.literal_eval(found[2])
        else:
            fields[current] += ast.literal_eval(line)
    return entries


def write_po(file: Path, language: str, keys: list[str], known: Entries) -> list[str]:
    """Write the entries of `keys` with the translations of `known`; return the keys without one."""
    lines = [
        f"# fishtune, {language}. Made by benchmarks/catalogue.py; only the translations are by hand.",
        'msgid ""',
    ]
    lines += [
        'msgstr ""',
        *(f'"{part}"' for part in re.findall(r".*?\\n", HEADER.format(language=language))),
        "",
    ]
    missing = []
    for key in keys:
        translation = known.get(key, "")
        if not translation:
            missing.append(key)
        one, _zero, many = key.partition("\0")
        lines += _field("msgid", one)
        if many:
            lines += [*_field("msgid_plural", many), *_field("msgstr[0]", translation), ""]
        else:
            lines += [*_field("msgstr", translation), ""]
    file.write_text("\n".join(lines), encoding="utf-8")
    return missing


def _field(name: str, text: str) -> list[str]:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    if len(escaped) <= 90 and "\\n" not in escaped:
        return [f'{name} "{escaped}"']
    words = re.findall(r"\S*(?:\s+|$)", escaped)
    rows, row = [], ""
    for word in words:
        if row and len(row) + len(word) > 90:
            rows.append(row)
            row = ""
        row += word
    return [f'{name} ""', *(f'"{part}"' for part in [*rows, row] if part)]


def compile_mo(entries: Entries) -> bytes:
    """Return the entries that have a translation in gettext's binary format (GNU gettext manual, 10.3)."""
    header = HEADER.format(language="").replace("\\n", "\n")
    table = {"": header, **{key: text for key, text in entries.items() if key and text}}
    pairs = sorted((key.encode(), text.encode()) for key, text in table.items())
    start = 7 * 4 + 16 * len(pairs)
    ids = b"".join(key + b"\0" for key, _text in pairs)
    texts = b"".join(text + b"\0" for _key, text in pairs)
    offsets, position = [], start
    for column, blob_start in ((0, start), (1, start + len(ids))):
        position = blob_start
        for pair in pairs:
            offsets += [len(pair[column]), position]
            position += len(pair[column]) + 1
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + struct.pack(f"<{len(offsets)}I", *offsets) + ids + texts


def main() -> int:
    """Update everything; return 1 if translations are missing."""
    own, spoken = collect()
    ENGINE_KEYS.write_text("\n".join(key for key in spoken if "\n" not in key) + "\n", encoding="utf-8")
    complete = True
    for file in sorted(HERE.glob("*/LC_MESSAGES/fishtune.po")):
        language = file.parent.parent.name
        known = read_po(file)
        missing = write_po(file, language, list(dict.fromkeys([*own, *spoken])), known)
        file.with_suffix(".mo").write_bytes(compile_mo(read_po(file)))
        print(f"{language}: {len(own) + len(spoken)} keys, {len(missing)} without translation")
        for key in missing:
            print(f"  {key!r}")
        complete = complete and not missing
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
