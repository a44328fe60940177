"""The help of every command at 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from fishtune.core.cli import app

COMMANDS: dict[str, Any] = app.command().commands


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_fits_80_columns_with_every_flag_whole_and_an_example(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert app.run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    flags = [flag for part in COMMANDS[name].params for flag in part.opts if flag.startswith("--")]
    assert all(f"{flag} " in shown for flag in [*flags, "--help", "-h"])
    assert "<bool>" not in shown and "range" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "xample: " in " ".join(shown.split())


def test_defaults_are_shown_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    app.run(["extract", "--help"])
    assert "checkpoints/openaudio-s1-mini/codec.pth)]" in capsys.readouterr().out


def test_a_command_imports_its_own_module_and_no_other() -> None:
    program = (
        "import sys; from fishtune.core.cli.app import run; code = run(['jobs']); "
        "print(code, sorted(m.rpartition('.')[2] for m in sys.modules if m.startswith('fishtune.core.cli.')))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert loaded.startswith("0 ") and "'jobs'" in loaded
    assert not re.search("'(audition|demo|estimate|judge|pack|train|validate)'", loaded)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["start"], ["start", "-h"], ["no-such-command"]])
def test_what_names_no_command_has_all_of_them(arguments: list[str]) -> None:
    made = app.command(arguments)
    group = made.commands["start"] if arguments[:1] == ["start"] else made
    assert len(group.commands) == len(app.STAGES if group is not made else COMMANDS)


@pytest.mark.parametrize("arguments", [["pack", "x"], ["start", "pack", "x"]])
def test_a_command_alone_is_the_one_among_all(arguments: list[str]) -> None:
    made, whole = app.command(arguments), app.command()
    for name in arguments[:-1]:
        assert list(made.commands) == [name]
        made, whole = made.commands[name], whole.commands[name]
    assert [(part.name, part.opts, part.help) for part in made.params] == [
        (part.name, part.opts, part.help) for part in whole.params
    ]
    assert made.help == whole.help
