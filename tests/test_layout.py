"""The layout: what installs, who may import whom, and what `--help` must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    {
        "errors",
        "files",
        "owned",
        "ownership",
        "file_names",
        "tables",
        "events",
        "validation",
        "settings",
        "presets",
        "project",
        "recent",
        "redact",
        "terminal",
        "units",
    },
    {"nn", "archives", "unpickling", "weights", "audio", "levels", "mixing", "streams", "mpeg"}
    | {"workers", "devices", "ranks", "hub"},
    {"text", "packing", "dataset", "hardware", "codec", "model"},
    {
        "validate",
        "recording_checks",
        "loudness",
        "normalise",
        "download",
        "clip_encoder",
        "extract",
        "pack",
        "merge",
        "synth",
        "verify",
        "doctor",
        "training",
        "audition",
    },
    {"stages"},
    {"jobs"},
    {"demo"},
    {"cli"},
]
"""Folders and modules of core/, bottom first; each imports from its own floor and those below."""
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def _imported_parts(path: Path) -> set[str]:
    """Return the parts of core/ that a module of core/ imports, at any depth of its code."""
    package = ["core", *path.relative_to(ROOT / "core").parent.parts]
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        base = package[: len(package) - (node.level - 1)] + (node.module or "").split(".")
        names = [base] if node.module else [[*base[:-1], alias.name] for alias in node.names]
        parts |= {name[1] for name in names if len(name) > 1 and name[0] == "core"}
    return parts


def test_every_module_of_the_engine_has_a_floor_and_imports_only_downward() -> None:
    wrong = []
    for path in sorted((ROOT / "core").rglob("*.py")):
        part = path.relative_to(ROOT / "core").parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        assert part in FLOOR_OF, f"{path} is on no floor: name it in FLOORS and docs/architecture.md"
        wrong += [
            f"{path.relative_to(ROOT)} imports {other}"
            for other in _imported_parts(path)
            if FLOOR_OF.get(other, 99) > FLOOR_OF[part]
        ]
    assert not wrong


def test_the_engine_never_imports_the_wizard() -> None:
    for path in (ROOT / "core").rglob("*.py"):
        assert "fishtune.tui import" not in path.read_text(encoding="utf-8"), path


HEAVY = ["torch", "torchaudio", "lightning", "peft", "transformers", "numpy", "scipy"]
HEAVY += ["huggingface_hub", "soundfile", "tensorboard"]


@pytest.mark.parametrize("module", ["fishtune.core.cli.app", "fishtune.core.jobs", "fishtune.core.stages"])
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
