"""Before the first screen: what is imported, refused and printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fishtune.tui import start_up, terminal
from fishtune.tui.catalogue import use_language

HEAVY = (
    "torch",
    "numpy",
    "huggingface_hub",
    "lightning",
    "peft",
    "soundfile",
    "scipy",
    "tiktoken",
)


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_module_of_the_wizard_pulls_in_a_heavy_library() -> None:
    folder = Path(start_up.__file__).parent
    files = [path for path in folder.rglob("*.py") if "locale" not in path.parts]
    names = [
        ".".join(("fishtune.tui", *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        for path in files
    ]
    assert len(names) > 30
    program = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = python(program)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_looking_at_a_project_pulls_in_no_heavy_library(golden: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from fishtune.core.config.project import Project\n"
        "from fishtune.tui.project_state import inspect_project\n"
        "from fishtune.tui.estimates import preset_needs\n"
        "data, base, folder = sys.argv[1:]\n"
        "p = Project.create(Path(folder), 'x', dataset={'path': data}, model={'path': base})\n"
        "assert len(inspect_project(p).steps) == 6\n"
        # From the tables: what they do not know is accounted by a process of its own, which takes seconds.
        "known = Project.create(Path(folder) / 'known', 'x', model={'name': 'openaudio-s1-mini'})\n"
        "assert preset_needs(known, 'r_16_alpha_16')\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = python(program, str(golden / "data"), str(golden / "base"), str(tmp_path))
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_come_without_textual(flag: str) -> None:
    program = (
        "import sys; sys.argv = ['fishtune-tui', sys.argv[1]]\nfrom fishtune.tui import main\n"
        "try: main()\nexcept SystemExit as end: code = end.code\n"
        "print(code, [name for name in ('textual', 'rich', 'pydantic') if name in sys.modules])"
    )
    done = python(program, flag)
    assert done.stdout.strip().splitlines()[-1] in ("0 []", "None []"), done.stdout + done.stderr
    assert "fishtune" in done.stdout


def test_the_first_screen_needs_no_pydantic() -> None:
    done = python(
        "import sys; from fishtune.tui import start_up; start_up._leave_out_openssl()\n"
        "import fishtune.tui.app, fishtune.tui.screens.start\n"
        "unwanted = ('pydantic', 'ssl', '_ssl', '_hashlib', 'psutil', 'tomllib', 'ctypes', 'email')\n"
        "print([name for name in unwanted if name in sys.modules])\n"
        "import ssl; print(bool(ssl.OPENSSL_VERSION))"
    )
    assert done.stdout.split("\n")[:2] == ["[]", "True"], done.stdout + done.stderr


WATCHING = """
import sys
from pathlib import Path
from fishtune.tui import start_up
start_up._leave_out_openssl()
from pydantic import BaseModel
from fishtune.core.config.project import Project
from fishtune.core.events import decode_event
from fishtune.core.hardware.nvml import Nvml
from fishtune.tui.engine import Engine
import fishtune.tui.app, fishtune.tui.screens.project, fishtune.tui.steps.train
import fishtune.core.config.options as options

Engine().inspect_project(Project.create(Path(sys.argv[1]), "x"))
Nvml().read()
assert decode_event(b'{"kind": "phase", "name": "loading"}') is not None
"""
"""What the wizard does and loads before somebody watches a training, but for what it shows."""


def test_watching_a_training_needs_neither_judge_nor_psutil_nor_the_help_of_settings(tmp_path: Path) -> None:
    done = python(
        WATCHING + "unwanted = ('psutil', 'tomlkit', '_ssl', '_hashlib', 'fishtune.core.judge')\n"
        "read = options._docstrings.cache_info().currsize\n"
        "print([name for name in unwanted if name in sys.modules], read)",
        str(tmp_path),
    )
    assert done.stdout.strip() == "[] 0", done.stdout + done.stderr


def test_few_of_the_models_that_are_loaded_with_a_training_page_are_built(tmp_path: Path) -> None:
    done = python(
        WATCHING + "def models(of):\n"
        "    for each in of.__subclasses__():\n"
        "        yield each\n"
        "        yield from models(each)\n"
        "loaded = [each for each in models(BaseModel) if each.__module__.startswith('fishtune')]\n"
        "built = [each.__name__ for each in loaded if each.__pydantic_complete__]\n"
        "print(len(built) <= len(loaded) // 3, len(loaded), built)",
        str(tmp_path),
    )
    assert done.stdout.startswith("True"), done.stdout + done.stderr


def test_no_terminal_is_refused_with_the_command_line_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert start_up.run([]) == 2  # pytest's standard input is no terminal
    assert capsys.readouterr().err.strip().endswith("The same without a screen: fishtune --help.")


@pytest.mark.parametrize(("size", "fits"), [((80, 24), True), ((79, 24), False), ((80, 23), False)])
def test_the_smallest_size_is_80_by_24(size: tuple[int, int], fits: bool) -> None:
    sentence = terminal.too_small(*size)
    assert (sentence == "") is fits
    if not fits:
        assert f"{size[0]}×{size[1]}" in sentence and "80×24" in sentence


def test_help_is_korean_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        start_up.run(["--lang", "ko", "--help"])
    use_language("en")
    assert "프로젝트" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "language"), [("ko_KR.UTF-8", "ko"), ("en_GB.UTF-8", "en"), ("C", "en"), ("fr_FR", "en")]
)
def test_the_environment_chooses_the_language(
    value: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", value)
    from fishtune.tui.catalogue import language_of_environment

    assert language_of_environment() == language


def test_a_wrong_settings_file_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "refusal", lambda: "")
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "fishtune"
    folder.mkdir(parents=True)
    (folder / "wizard.toml").write_text("colour = 1\n")
    assert start_up.run([]) == 2
    assert "colour is not known" in capsys.readouterr().err
