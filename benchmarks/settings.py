"""Writes docs/settings.md: every option of every stage, as the settings models have it.

python benchmarks/settings.py            writes the page
python benchmarks/settings.py --check    exits with 1 if the committed page is another
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fishtune.core.cli.app import command
from fishtune.core.config.options import Description, Group, Kind, describe, shown
from fishtune.core.config.project import Project
from fishtune.core.stages.registry import STAGES, StageName
from pydantic import BaseModel

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
VALUES = {
    Kind.TEXT: "text",
    Kind.PATH: "path",
    Kind.WHOLE: "whole number",
    Kind.NUMBER: "number",
    Kind.SWITCH: "yes or no",
}
INTRODUCTION = """\
# Settings

Made by `benchmarks/settings.py` from `core/config/settings/`, where the command line's flags come from too;
a test compares. What no flag gives comes from the project file `fishtune.toml`, then, for training, from the
LoRA preset, then from the default.

**Basic** options are those that the wizard's forms show; **advanced** ones have to be unfolded there. An
option of the **first run** is not repeated when a run continues (`fishtune resume`): it would undo what that
run has done.
"""
HEADINGS = ("default", "values", "unit", "marks", "what it is")


def document() -> str:
    """Return the page."""
    commands = command().commands
    stages = [name for name in StageName if name in commands and name is not StageName.RUN]
    parts = [INTRODUCTION, *(_stage(name, commands[name].params) for name in stages)]
    return "\n".join((*parts, _project_file([STAGES[name].settings_model() for name in stages])))


def _tables() -> dict[str, type[BaseModel]]:
    """Return the tables of the project file."""
    kinds = {name: field.annotation for name, field in Project.model_fields.items()}
    return {
        name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


def _stage(name: StageName, parameters: Iterable[Any]) -> str:
    model = STAGES[name].settings_model()
    fields = describe(model)
    table, keys = next(
        ((table, set(kind.model_fields)) for table, kind in _tables().items() if issubclass(model, kind)),
        ("", set[str]()),
    )
    rows = _head("flag", *(["project file"] if table else []))
    for parameter in parameters:
        field = fields.get(parameter.name)
        if field is None:
            continue
        is_flag = parameter.param_type_name == "option"
        flag = "/".join((*parameter.opts, *parameter.secondary_opts)) if is_flag else field.name.upper()
        key = [f"`{table}.{field.name}`" if field.name in keys else ""] if table else []
        default = "required" if parameter.required else parameter.show_default or ""
        rows.append(_row([f"`{flag}`", *key], default, field))
    return "\n".join((f"## fishtune {name}\n", *rows, ""))


def _project_file(models: Iterable[type[BaseModel]]) -> str:
    """Return the tables of the project file that no stage takes over as they are."""
    lines = [
        "## The project file\n",
        "`name` names the run; paths are relative to the file's folder. The tables `[extract]`, `[pack]` and",
        "`[train]` hold what the stages above name; besides:",
    ]
    for name, table in _tables().items():
        if not any(issubclass(model, table) for model in models):
            rows = [_row([f"`{name}.{key}`"], field.holds, field) for key, field in describe(table).items()]
            lines += ["", *_head("project file"), *rows]
    return "\n".join((*lines, ""))


def _head(*names: str) -> list[str]:
    columns = (*names, *HEADINGS)
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


def _row(names: list[str], default: str, field: Description) -> str:
    if field.kind is Kind.SWITCH:
        default = shown(field.default)
    values = ", ".join(f"`{choice}`" for choice in field.choices) if field.kind is Kind.CHOICE else ""
    values = values or f"{VALUES[field.kind]} {field.range}".strip()
    values += "; a list" if field.repeated else ""
    marks = [] if field.option.group is Group.RARE else [str(field.option.group)]
    marks += ["first run"] if field.first_run_only else []
    cells = (*names, default, values, field.option.unit, ", ".join(marks), field.help)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def main() -> int:
    """Write the page, or with `--check` compare it."""
    page = document()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text(encoding="utf-8") == page else 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
