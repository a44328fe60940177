"""The layout: what installs, who may import whom, and what `--help` must not load."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from .import_graph import Arrow, arrows, circles, modules, room_of, upward

ROOT = Path(__file__).parent.parent
ENGINE = [
    "config",
    "hub",
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
    "data_model",
    "errors",
    "events",
    "file_names",
    "files",
    "messages",
    "owned",
    "ownership",
    "particles",
    "randomness",
    "reading",
    "redact",
    "tables",
    "terminal",
    "units",
    "user_folders",
    "workers",
}
"""Modules at the root of core/: everything may use them, they use only one another."""
WIZARD = ["widgets", "dialogs", "steps", "screens", "app", "start_up"]
"""Rooms of tui/ over the modules at its root, bottom first; what is at the root uses only one another."""


def _wizard_root(known: Mapping[str, Path]) -> set[str]:
    """Return the modules at the root of tui/ that are no floors of their own."""
    found = {name for name, path in known.items() if name.startswith("tui.") and path.parent.name == "tui"}
    return found - {f"tui.{room}" for room in WIZARD}


def _floors(known: Mapping[str, Path]) -> dict[str, int]:
    """Return every room and its floor; the package `tui` itself only starts the wizard, from the roof."""
    floors = {"presets": 0}
    floors |= {f"core.{name}": 1 for name in VOCABULARY}
    floors |= {f"core.{name}": number for number, name in enumerate(ENGINE, 2)}
    floors |= dict.fromkeys(_wizard_root(known), 100)
    floors |= {f"tui.{name}": number for number, name in enumerate(WIZARD, 101)}
    return {**floors, "tui": 200}


def _faults(known: Mapping[str, Path], found: Iterable[Arrow]) -> list[Arrow]:
    """Return the arrows that do not lead downward, less those among modules at one root."""
    floors = _floors(known)
    roots = ({f"core.{name}" for name in VOCABULARY}, _wizard_root(known))

    def at_one_root(arrow: Arrow) -> bool:
        both = {room_of(arrow.importer, floors), room_of(arrow.imported, floors)}
        return any(both <= root for root in roots)

    return [arrow for arrow in upward(found, floors) if not at_one_root(arrow)]


def test_every_module_has_a_room_and_imports_only_downward() -> None:
    known = modules(ROOT)
    rooms = _floors(known).keys() - {"tui"}
    homeless = [name for name in known if name not in ("core", "tui") and room_of(name, rooms) is None]
    assert not homeless, "name it in ENGINE, VOCABULARY or WIZARD, and in docs/architecture.md"
    assert {"tui.access", "tui.project_state"} <= _wizard_root(known)
    assert not _faults(known, arrows(ROOT))


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
        *("judge", "prepare", "synth", "verify"),
    }


def test_the_engine_never_imports_the_wizard() -> None:
    found = [arrow for arrow in arrows(ROOT) if arrow.importer.startswith("core")]
    assert found
    assert not [arrow for arrow in found if arrow.imported.startswith("tui")]


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert not circles(arrows(ROOT))


@pytest.mark.parametrize(
    ("place", "line", "what"),
    [
        (
            "core/files.py",
            "from ..tui.project_state import inspect_project",
            "core.files imports tui.project_state",
        ),
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
        (
            "tui/project_state.py",
            "from .widgets.plain import Plain",
            "tui.project_state imports tui.widgets.plain",
        ),
        ("tui/access.py", "if TYPE_CHECKING:\n    from .app import Wizard", "tui.access imports tui.app"),
        (
            "tui/widgets/plain.py",
            "def lazy():\n    from ..dialogs.prompt import PromptScreen",
            "tui.widgets.plain imports tui.dialogs.prompt",
        ),
        ("tui/dialogs/clip.py", "from .. import steps", "tui.dialogs.clip imports tui.steps"),
        (
            "tui/steps/base.py",
            "if TYPE_CHECKING:\n    from ..screens.project import ProjectScreen",
            "tui.steps.base imports tui.screens.project",
        ),
        ("tui/screens/start.py", "import fishtune.tui.app", "tui.screens.start imports tui.app"),
        ("tui/app.py", "def lazy():\n    from . import start_up", "tui.app imports tui.start_up"),
        ("tui/messages.py", "from fishtune.tui import main", "tui.messages imports tui"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, place: str, line: str, what: str) -> None:
    for path in modules(ROOT).values():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    planted = (ROOT / place).read_text(encoding="utf-8") + f"\n{line}\n"
    (tmp_path / place).write_text(planted, encoding="utf-8")
    assert [str(arrow) for arrow in _faults(modules(tmp_path), arrows(tmp_path))] == [what]


def test_a_planted_room_without_a_floor_is_found(tmp_path: Path) -> None:
    (tmp_path / "tui" / "cellar").mkdir(parents=True)
    for name in ("cellar/__init__.py", "cellar/box.py", "look.py", "__init__.py"):
        (tmp_path / "tui" / name).touch()
    known = modules(tmp_path)
    rooms = _floors(known).keys() - {"tui"}
    assert [name for name in known if room_of(name, rooms) is None] == ["tui", "tui.cellar", "tui.cellar.box"]


@pytest.mark.parametrize("part", ["core", "tui"])
def test_a_planted_circle_is_found(tmp_path: Path, part: str) -> None:
    for name, text in {
        "a": "from . import b",
        "b": "def lazy():\n    from .c import x",
        "c": f"import fishtune.{part}.a",
        "d": "from . import a",
    }.items():
        path = tmp_path / part / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert circles(arrows(tmp_path)) == [[f"{part}.{name}" for name in "abc"]]


HEAVY = ["torch", "torchaudio", "lightning", "peft", "transformers", "numpy", "scipy"]
HEAVY += ["huggingface_hub", "soundfile", "tensorboard"]
HEAVY += ["faster_whisper", "ctranslate2", "onnxruntime", "swift_f0", "num2words"]


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
        and Path(name).suffix
        in {".py", ".toml", ".mp3", ".flac", ".wav", ".lab", ".tcss", ".mo", ".proto", ".html", ".css", ".js"}
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


LONGEST_MODULE = 400
"""Lines: a module is read in one sitting; past that, ask what it mixes."""
GENERATED = {"core/shards/text_data_pb2.py"}


def _too_long(root: Path) -> list[str]:
    """Return the modules of the engine and of the wizard that are too long to be read in one sitting."""
    lengths = {
        path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for name, path in modules(root).items()
        if name.split(".")[0] in ("core", "tui")
    }
    return [name for name, length in lengths.items() if length > LONGEST_MODULE and name not in GENERATED]


def test_a_module_is_read_in_one_sitting() -> None:
    assert not _too_long(ROOT), "split it by what it mixes"


def test_a_module_of_a_line_too_many_is_found(tmp_path: Path) -> None:
    for name, length in {"core/long.py": 401, "core/fits.py": 400, "presets/long.py": 401}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n" * length, encoding="utf-8")
    assert _too_long(tmp_path) == ["core/long.py"]
