"""The help of every command at 80 columns."""

from __future__ import annotations

from typing import Any

import pytest
from fishtune.core.cli import app
from typer.main import get_command

COMMANDS: dict[str, Any] = get_command(app.app).commands  # type: ignore[attr-defined]


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
