"""The documentation: what it names is there, and every room of the engine is in it."""

from __future__ import annotations

import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli.app import command as whole_command

from .test_layout import ENGINE

ROOT = Path(__file__).parent.parent
TOP = ("core", "tui", "presets", "tests", "benchmarks", "docs")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
COMMANDS: dict[str, Any] = whole_command().commands
MADE_BY_SCRIPTS = {ROOT / "docs" / "settings.md"}
"""Their own tests compare them with what the scripts make."""

NOT_THERE = re.compile(r"\bcount\b|_count\b|families")
"""The stage that docs/extending.md makes as an example, and the room that is to come."""


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(f"/{name}" for name in listed.splitlines() if (ROOT / name).is_file())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    targets = {(page.parent / link).resolve() for link in links} - MADE_BY_SCRIPTS
    assert [str(target) for target in targets if not target.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_that_a_page_names_exist(page: Path) -> None:
    assert _unknown(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_shows_exist_with_their_options(page: Path) -> None:
    text = re.sub(r"\\\n\s+", "", page.read_text(encoding="utf-8"))
    shown = re.findall(r"^ {4}(fishtune .*)$", text, re.MULTILINE) + re.findall(
        r"`(fishtune [a-z][^`]*)`", text
    )
    unknown = []
    for line in (part.strip() for command in shown for part in command.split("#")[0].split("&&")):
        words = line.split()[1:]
        group = COMMANDS["start"].commands if words[0] == "start" and len(words) > 1 else COMMANDS
        name = words[1] if group is not COMMANDS else words[0]
        if name in group:
            known = {flag for part in group[name].params for flag in (*part.opts, *part.secondary_opts)}
            wrong = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", line)) - known - {"--help"}
            unknown += [f"{line}: {flag}" for flag in sorted(wrong)]
        elif re.fullmatch(r"[a-z-]+", name):
            unknown.append(line)
    assert [line for line in unknown if not NOT_THERE.search(line)] == []


def test_source_files_that_the_code_names_exist() -> None:
    sources = [path for part in ("core", "tui") for path in sorted((ROOT / part).rglob("*.py"))]
    assert {str(path): unknown for path in sources if (unknown := _unknown(path))} == {}


def _unknown(page: Path) -> list[str]:
    """Return what a page names as a module or a folder and that the repository does not have."""
    text = page.read_text(encoding="utf-8")
    modules = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|tcss|proto))`", text))
    folders = set(re.findall(rf"`((?:{'|'.join(TOP)})(?:/\w+)*/?)`", text))
    unknown = {name for name in modules if not any(file.endswith(f"/{name}") for file in _files())}
    unknown |= {name for name in folders if not (ROOT / name).is_dir()}
    return sorted(name for name in unknown if not NOT_THERE.search(name))


def test_every_room_of_the_engine_is_in_the_picture_and_in_the_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture, table = page.split("## What flows")[0].split("| room |")
    built = [room for room in ENGINE if (ROOT / "core" / room).is_dir()]
    assert re.findall(rf"│  ({'|'.join(ENGINE)}) ", picture) == built[::-1], "from the top floor down"
    assert [room for room in built if f"`core/{room}/`" not in table] == []
