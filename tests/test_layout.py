"""The layout: what installs, who may import whom, and what `--help` must not load."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from .import_graph import Arrow, arrows, circles, modules, room_of, upward

ROOT = Path(__file__).parent.parent
ENGINE = [
    "config",
    "audio",
    "dataset",
    "text",
    "shards",
    "compute",
    "codec",
    "model",
    "lora",
    "judge",
    "hardware",
    "stages",
    "jobs",
    "pipeline",
    "report",
    "demo",
    "cli",
]
"""Rooms of core/, bottom first; each imports from itself and from those before it."""
VOCABULARY = {
    "errors",
    "events",
    "file_names",
    "files",
    "owned",
    "ownership",
    "randomness",
    "redact",
    "tables",
    "terminal",
    "units",
    "workers",
}
"""Modules at the root of core/: everything may use them, they use only one another."""


def _floors() -> dict[str, int]:
    floors = {"presets": 0}
    floors |= {f"core.{name}": 1 for name in VOCABULARY}
    floors |= {f"core.{name}": number for number, name in enumerate(ENGINE, 2)}
    return floors


def _engine_faults(found: list[Arrow]) -> list[Arrow]:
    vocabulary = {f"core.{name}" for name in VOCABULARY}
    return [
        arrow
        for arrow in upward(found, _floors())
        if not {room_of(arrow.importer, vocabulary), room_of(arrow.imported, vocabulary)} <= vocabulary
    ]


def test_every_module_of_the_engine_has_a_room_and_imports_only_downward() -> None:
    floors = _floors()
    homeless = [name for name in modules(ROOT) if name.startswith("core.") and room_of(name, floors) is None]
    assert not homeless, "name it in ENGINE or VOCABULARY, and in docs/architecture.md"
    assert not _engine_faults(arrows(ROOT))


def test_stages_do_not_lean_on_one_another() -> None:
    stages = {f"core.stages.{path.name}": 0 for path in (ROOT / "core" / "stages").iterdir() if path.is_dir()}
    assert not upward(arrows(ROOT), stages)


def test_a_stage_is_a_folder_named_as_its_command_with_a_run() -> None:
    folders = {
        path.name for path in (ROOT / "core" / "stages").iterdir() if path.is_dir() and path.name[0] != "_"
    }
    assert all((ROOT / "core" / "stages" / name / "run.py").is_file() for name in folders)
    assert folders == {
        *("validate", "loudness_norm", "download", "extract", "pack", "train", "audition", "merge"),
        *("synth", "verify"),
    }


def test_the_engine_never_imports_the_wizard() -> None:
    found = [arrow for arrow in arrows(ROOT) if arrow.importer.startswith("core")]
    assert found
    assert not [arrow for arrow in found if arrow.imported.startswith("tui")]


def test_no_modules_of_the_engine_import_one_another_in_a_circle() -> None:
    assert not circles(arrow for arrow in arrows(ROOT) if arrow.importer.startswith("core"))


@pytest.mark.parametrize(
    ("place", "line", "what"),
    [
        ("core/files.py", "from ..tui.look import look", "core.files imports tui.look"),
        ("core/files.py", "from .jobs import locks", "core.files imports core.jobs.locks"),
        ("core/codec/codec.py", "from fishtune.core.cli import app", "core.codec.codec imports core.cli.app"),
        ("core/codec/codec.py", "import fishtune.core.jobs.find", "core.codec.codec imports core.jobs.find"),
        (
            "core/codec/codec.py",
            "def lazy():\n    from ..stages.pack import run",
            "core.codec.codec imports core.stages.pack.run",
        ),
        (
            "core/codec/codec.py",
            "if TYPE_CHECKING:\n    from ..stages.pack.run import run",
            "core.codec.codec imports core.stages.pack.run",
        ),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, place: str, line: str, what: str) -> None:
    for path in modules(ROOT).values():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        planted = f"\n{line}\n" if path == ROOT / place else ""
        target.write_text(path.read_text(encoding="utf-8") + planted, encoding="utf-8")
    assert what in {str(arrow) for arrow in upward(arrows(tmp_path), {**_floors(), "tui": 99})}


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    for name, text in {
        "a": "from . import b",
        "b": "def lazy():\n    from .c import x",
        "c": "import fishtune.core.a",
        "d": "from . import a",
    }.items():
        path = tmp_path / "core" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert circles(arrows(tmp_path)) == [["core.a", "core.b", "core.c"]]


HEAVY = ["torch", "torchaudio", "lightning", "peft", "transformers", "numpy", "scipy"]
HEAVY += ["huggingface_hub", "soundfile", "tensorboard"]


@pytest.mark.parametrize(
    "module", ["fishtune.core.cli.app", "fishtune.core.jobs", "fishtune.core.stages.registry"]
)
def test_the_command_line_loads_nothing_heavy_before_it_must(module: str) -> None:
    program = (
        f"import importlib, sys; importlib.import_module({module!r}); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, cwd="/"
    )
    assert result.stdout.strip() == "[]"


def test_the_wheel_has_every_module_and_nothing_generic(tmp_path: Path) -> None:
    # Built from a copy: setuptools writes build/ and egg-info beside the sources.
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if name.split("/")[0] in {"core", "tui", "presets", "pyproject.toml", "README.md", "LICENSE"}:
            target = tmp_path / "source" / name
            if (ROOT / name).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((ROOT / name).read_bytes())
    program = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=tmp_path / "source",
        capture_output=True,
        text=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {name.split("/")[0] for name in packed if ".dist-info" not in name} == {"fishtune"}
    assert "fishtune/__init__.py" not in packed
    wanted = {
        f"fishtune/{name}"
        for name in listed
        if name.split("/")[0] in {"core", "tui", "presets"}
        and Path(name).suffix in {".py", ".toml", ".mp3", ".flac", ".wav", ".lab", ".tcss", ".mo", ".proto"}
        and (ROOT / name).is_file()
    }
    assert wanted - packed == set()


def test_the_package_list_names_every_folder_with_code() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        "fishtune." + ".".join(path.parent.relative_to(ROOT).parts)
        for part in ("core", "tui", "presets")
        for path in (ROOT / part).rglob("*.py")
    }
    assert sorted(found) == sorted(listed)
