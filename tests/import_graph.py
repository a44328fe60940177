"""Who imports whom, read from the sources: relative, absolute, lazy and type-checking imports alike."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "fishtune"
PARTS = ("core", "tui", "presets")
"""Top-level folders that install as `fishtune.…`."""


@dataclass(frozen=True, order=True)
class Arrow:
    """One module imports another; both are dotted names below `fishtune`, such as `core.jobs.locks`."""

    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


def modules(root: Path) -> dict[str, Path]:
    """Return every module below the top-level folders of `root` by dotted name; a package by its own name."""
    found = {}
    for part in PARTS:
        for path in sorted((root / part).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def arrows(root: Path) -> list[Arrow]:
    """Return every import between modules of the project, at any depth of the code, sorted."""
    known = modules(root)
    return sorted(
        {
            Arrow(name, target)
            for name, path in known.items()
            for target in imports_of(name, path, known)
            if target != name
        }
    )


def imports_of(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules that a file imports, `name` being its own."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                named = [alias.name.split(".") for alias in node.names]
                yield from _known((parts[1:] for parts in named if parts[0] == PACKAGE), known)
            case ast.ImportFrom(level=0) if node.module and node.module.split(".")[0] == PACKAGE:
                base = node.module.split(".")[1:]
                yield from _known(([*base, alias.name] for alias in node.names), known)
            case ast.ImportFrom() if node.level > 0:
                base = package[: len(package) - (node.level - 1)]
                base += node.module.split(".") if node.module else []
                yield from _known(([*base, alias.name] for alias in node.names), known)


def _known(names: Iterable[list[str]], known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the module that each name is in: the name itself, or what it was taken from."""
    for parts in names:
        for length in range(len(parts), 0, -1):
            if (name := ".".join(parts[:length])) in known:
                yield name
                break


def room_of(name: str, rooms: Iterable[str]) -> str | None:
    """Return the longest of `rooms` that `name` lies in (`core.jobs.locks` lies in `core.jobs`)."""
    holding = [room for room in rooms if name == room or name.startswith(f"{room}.")]
    return max(holding, key=len, default=None)


def upward(found: Iterable[Arrow], floors: Mapping[str, int]) -> list[Arrow]:
    """Return the arrows that lead from a room to one on the same floor or above, other than within a room."""
    wrong = []
    for arrow in found:
        source, target = room_of(arrow.importer, floors), room_of(arrow.imported, floors)
        if source is None or target is None or source == target:
            continue
        if floors[target] >= floors[source]:
            wrong.append(arrow)
    return wrong


def circles(found: Iterable[Arrow]) -> list[list[str]]:
    """Return the groups of modules that import one another in a circle (Tarjan's components)."""
    after: dict[str, list[str]] = {}
    for arrow in found:
        after.setdefault(arrow.importer, []).append(arrow.imported)
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in after.get(name, ()):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in sorted(after):
        if name not in number:
            visit(name)
    return sorted(groups)
