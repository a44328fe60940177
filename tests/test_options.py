"""One home of every option: what the settings models say is what flags, help and documentation have."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from fishtune.core.cli.app import command as whole_command
from fishtune.core.cli.app import run as cli
from fishtune.core.cli.options import Given, Json, takes
from fishtune.core.config.options import FirstRunOnly, Kind, Option, describe, flag_of
from fishtune.core.config.project import Project
from fishtune.core.config.settings import Seed
from fishtune.core.config.strict import Table, parse_flags
from fishtune.core.errors import UsageError
from fishtune.core.stages.registry import STAGES, StageName
from pydantic import BaseModel, Field
from typer.main import get_command

ROOT = Path(__file__).parent.parent
COMMANDS: dict[str, Any] = whole_command().commands
STAGE_COMMANDS = [name for name in StageName if name is not StageName.RUN]


class Settings(Table):
    """Settings with every kind of field."""

    source: Annotated[Path, Option(argument=True)]
    """Where from."""
    clips: Annotated[int, Option("Clips at once", unit="clips")] = Field(default=16, ge=1)
    """Maximum clips
    per batch."""
    share: Annotated[float | None, Option(unset="all")] = Field(default=None, gt=0, le=1)
    """How much."""
    mode: Literal["fast", "good"] = "good"
    """How."""
    seed: Seed | None = None
    """For repetition."""
    again: Annotated[bool, FirstRunOnly(then=False)] = False
    """From the start."""
    checked: bool = True
    """Look first."""
    writers: Annotated[list[Literal["csv", "text"]], Option(flag="writer")] = ["csv"]
    """Who writes."""


def test_a_field_says_everything_about_itself() -> None:
    found = describe(Settings)
    assert [(field.kind, field.flag, field.range, field.holds) for field in found.values()] == [
        (Kind.PATH, "SOURCE", "", ""),
        (Kind.WHOLE, "--clips", "≥ 1", "16"),
        (Kind.NUMBER, "--share", "> 0, ≤ 1", "all"),
        (Kind.CHOICE, "--mode", "", "good"),
        (Kind.WHOLE, "--seed", "≥ 0, < 2^63", ""),
        (Kind.SWITCH, "--again", "", "no"),
        (Kind.SWITCH, "--checked", "", "yes"),
        (Kind.CHOICE, "--writer", "", "csv"),
    ]
    assert found["clips"].help == "Maximum clips per batch."
    assert (found["clips"].title, found["share"].title) == ("Clips at once", "Share")
    assert found["mode"].choices == ("fast", "good")
    assert [name for name, field in found.items() if field.repeated] == ["writers"]
    assert [name for name, field in found.items() if field.required] == ["source"]
    assert [name for name, field in found.items() if field.first_run_only] == ["again"]


def test_a_command_takes_the_fields_of_its_settings_and_is_given_what_was_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[Given, bool]] = []

    @takes(Settings, elsewhere={"source": Path("data")}, of_project=["source", "clips"])
    def command(given: Given, json: Json = False) -> None:
        """Do it."""
        seen.append((given, json))

    typed = typer_app(command)
    typed([])
    typed(["here", "--clips", "0", "--writer", "csv", "--writer", "x", "--no-checked", "--again", "--json"])
    assert seen == [
        ({}, False),
        (
            {
                **{"source": Path("here"), "clips": 0, "again": True, "checked": False},
                "writers": ["csv", "x"],
            },
            True,
        ),
    ]
    monkeypatch.setenv("COLUMNS", "200")
    typed(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Where from. [default: (the project's, or data)]" in shown
    assert "Maximum clips per batch. (≥ 1) [default: (the project's, or 16)]" in shown
    assert "How much. (> 0, ≤ 1) [default: (all)]" in shown
    assert "--checked --no-checked" in shown and "--no-again" not in shown


def typer_app(command: Any) -> Any:
    """Return a function that runs `command` with arguments."""
    import typer

    application = typer.Typer()
    application.command()(command)
    made = get_command(application)
    return lambda arguments: made.main(args=arguments, prog_name="test", standalone_mode=False)


def test_a_wrong_value_is_told_by_its_flag() -> None:
    with pytest.raises(UsageError, match=r"^--clips: input should be greater than or equal to 1"):
        parse_flags(Settings, source=Path("x"), clips=0)
    with pytest.raises(UsageError, match=r"^SOURCE is missing"):
        parse_flags(Settings)
    with pytest.raises(UsageError, match=r"^--writer: input should be 'csv' or 'text'"):
        parse_flags(Settings, source=Path("x"), writers=["x"])
    assert flag_of(Settings, "un_known") == "--un-known"


@pytest.mark.parametrize("stage", STAGE_COMMANDS)
def test_every_setting_of_a_stage_is_a_parameter_of_its_command_with_the_same_words(stage: StageName) -> None:
    fields = describe(STAGES[stage].settings_model())
    parameters = {parameter.name: parameter for parameter in COMMANDS[stage].params}
    assert set(parameters) == {*fields, "json"}
    for name, field in fields.items():
        parameter = parameters[name]
        assert parameter.help.startswith(field.help) and field.range in parameter.help
        if parameter.param_type_name == "option":
            assert parameter.opts == [field.flag]
        assert parameter.default is None, "no second default"


def models() -> dict[str, type[BaseModel]]:
    """Return the settings of every stage and the tables of the project file."""
    tables = {name: field.annotation for name, field in Project.model_fields.items()}
    found = {name: kind for name, kind in tables.items() if isinstance(kind, type)}
    return {name: kind for name, kind in found.items() if issubclass(kind, BaseModel)} | {
        stage.value: STAGES[stage].settings_model() for stage in StageName
    }


@pytest.mark.parametrize("name", sorted(models()))
def test_every_option_has_a_help_of_one_sentence_or_more(name: str) -> None:
    for field in describe(models()[name]).values():
        assert field.help, (name, field.name)
        assert "None" not in field.help, "what holds without a value is for `unset`"


def test_numbers_outside_of_their_bounds_are_refused_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(["validate", "data", "--num-workers", "-1"]) == 2
    assert "--num-workers: input should be greater than or equal to 0" in capsys.readouterr().err
    assert cli(["estimate", "--batch-tokens", "15"]) == 2
    assert "--batch-tokens: input should be greater than or equal to 16" in capsys.readouterr().err


def test_an_argument_is_told_as_the_help_calls_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["download", "not a name", "--local-dir", "x"]) == 2
    assert "NAME: it is neither a model preset nor a hub repository" in capsys.readouterr().err
    monkeypatch.setenv("COLUMNS", "200")
    for name in STAGE_COMMANDS:
        named = [
            field.flag for field in describe(STAGES[name].settings_model()).values() if field.option.argument
        ]
        assert cli([name, "--help"]) == 0
        usage = capsys.readouterr().out.strip().splitlines()[0]
        assert re.findall(r"[A-Z]{2,}", usage.partition("[OPTIONS]")[2]) == named


def test_the_committed_page_is_what_the_settings_say() -> None:
    page = runpy.run_path(str(ROOT / "benchmarks" / "settings.py"))["document"]()
    committed = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert committed == page, "run: python benchmarks/settings.py"
