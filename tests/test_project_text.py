"""The project file keeps what its user wrote in it, and begins with every option explained."""

from __future__ import annotations

import copy
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from fishtune.core.cli.app import run as cli
from fishtune.core.config.project import PROJECT_FILE, Project
from fishtune.core.config.project_text import edited, template

MINE = """\
# My voice, take two.
name = "v"  # as on the label

[dataset]  # where they are
path = "data"   # on the fast disk
exclude = [
    # coughs
    "A/b",  # at the end
    "A/c",
]

# --- training ---
[train]
seed = 3
# Rather low: the last run overfitted.
epochs = 3   # of 40 min

# --- and then ---
[merge]
link = true
"""


def saved(tmp_path: Path, text: str = MINE) -> tuple[Project, Path]:
    file = tmp_path / PROJECT_FILE
    file.write_bytes(text.encode())
    return Project.load(tmp_path), file


def test_a_changed_value_changes_its_line_and_nothing_else(tmp_path: Path) -> None:
    project, file = saved(tmp_path)
    project.train.epochs = 5
    project.name = "w"
    project.save()
    wanted = MINE.replace("epochs = 3 ", "epochs = 5.0 ").replace('name = "v"', 'name = "w"')
    assert file.read_text() == wanted


def test_a_new_value_stands_with_its_table_above_the_next_ones_comment(tmp_path: Path) -> None:
    project, file = saved(tmp_path)
    project.train.max_steps = 9
    project.extract.batch_size = 2
    project.save()
    assert file.read_text() == (
        MINE.replace("# of 40 min\n", "# of 40 min\nmax_steps = 9\n") + "\n[extract]\nbatch_size = 2\n"
    )


def test_a_value_taken_out_leaves_its_comments_and_an_empty_table_goes(tmp_path: Path) -> None:
    project, file = saved(tmp_path)
    project.train.model_fields_set.discard("epochs")
    project.merge.model_fields_set.discard("link")
    project.save()
    assert file.read_text() == (
        MINE.replace("epochs = 3   # of 40 min\n", "# of 40 min\n").replace("[merge]\nlink = true\n", "")
    )


def test_of_a_list_only_the_entries_that_came_and_went_change(tmp_path: Path) -> None:
    project, file = saved(tmp_path)
    project.dataset.exclude = ["A/b", "A/d"]
    project.save()
    assert file.read_text() == MINE.replace('    "A/c",\n', '    "A/d",\n')


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_of_windows_keeps_its_line_ends(tmp_path: Path, mark: str) -> None:
    project, file = saved(tmp_path, mark + MINE.replace("\n", "\r\n"))
    project.train.seed = 4
    project.train.max_steps = 9
    project.save()
    assert file.read_bytes().count(b"\r\n") == file.read_bytes().count(b"\n") == MINE.count("\n") + 1
    assert Project.load(tmp_path).train.seed == 4


def _value(rng: random.Random) -> Any:
    return rng.choice([1, 2.5, True, "a # b", "유나", ["x", "y"], ["x"], [], 1e-5, "C:\\x"])


def _literal(value: Any, rng: random.Random) -> str:
    if isinstance(value, list) and rng.random() < 0.6:
        lines = [f'  "{entry}",{rng.choice(["", "  # in"])}\n' for entry in value]
        return "[\n" + "".join(lines) + rng.choice(["", "  # end\n"]) + "]"
    return tomli_w.dumps({"k": value})[4:-1].replace("\n", "")


def _written(tables: dict[str, dict[str, Any]], rng: random.Random) -> str:
    """Return a file as somebody might write it: comments anywhere, tables, keys with dots, in one line."""

    def notes() -> str:
        return "".join(rng.choice(["\n", f"# note {rng.random()}\n"]) for _ in range(rng.randint(0, 2)))

    first, then = ['name = "v"  # kept\n'], []
    for table, values in tables.items():
        entries = [(key, _literal(value, rng)) for key, value in values.items()]
        match rng.choice("tttdi"):
            case "t":
                body = "".join(
                    f"{notes()}{key} = {text}{rng.choice(['', f'  # kept {rng.random()}'])}\n"
                    for key, text in entries
                )
                then.append(f"{notes()}[{table}]  # kept {rng.random()}\n{body}#c = 3\n{notes()}")
            case "d":
                first += [f"{notes()}{table}.{key} = {text}\n" for key, text in entries]
            case _ if not any("\n" in text for _, text in entries):
                inside = ", ".join(f"{key} = {text}" for key, text in entries)
                first.append(f"{notes()}{table} = {{{inside}}}\n")
    rng.shuffle(first)
    rng.shuffle(then)
    return "".join(first + then)


def _full(tables: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tables.items() if value != {}}


@pytest.mark.parametrize("seed", range(4))
def test_however_a_file_is_written_it_says_what_was_changed_and_keeps_its_comments(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        tables = {
            table: {key: _value(rng) for key in rng.sample("abcdef", rng.randint(0, 4))}
            for table in rng.sample(["dataset", "train", "merge", "notify"], rng.randint(0, 4))
        }
        text = _written(tables, rng)
        before = _full(tomllib.loads(text))
        after = copy.deepcopy(before)
        for _ in range(rng.randint(1, 4)):
            values = after.setdefault(rng.choice(["dataset", "train", "merge", "notify"]), {})
            if rng.random() < 0.3:
                values.pop(rng.choice("abcdef"), None)
            else:
                values[rng.choice("abcdef")] = _value(rng)
        after = _full(after)
        changed = edited(text, before, after)
        assert _full(tomllib.loads(changed)) == after, text
        assert all(note in changed for note in re.findall(r"# (?:note|kept) [\d.e-]+", text)), text


def test_a_new_file_explains_every_option_and_says_what_the_defaults_are(tmp_path: Path) -> None:
    assert cli(["init", str(tmp_path / "v"), "--data", str(tmp_path / "v/clips")]) == 0
    text = (tmp_path / "v" / PROJECT_FILE).read_text(encoding="utf-8")
    made = Project.load(tmp_path / "v")
    assert made.model_dump() == Project.create(tmp_path, "v", dataset={"path": "clips"}).model_dump()
    assert made.train.model_fields_set == set(), "a preset's values count"
    assert '\n#path = "data"\npath = "clips"\n' in text
    for table, field in Project.model_fields.items():
        for option in getattr(field.annotation, "model_fields", {}):
            assert re.search(rf"^# .*\n#{option} =", text.split(f"[{table}]")[1], re.MULTILINE), option
    without = re.sub(r"^#\w+ = +# not set.*$", "", text, flags=re.MULTILINE)
    uncommented = re.sub(r"^#(\w+ =)", r"\1", without, flags=re.MULTILINE).replace('path = "clips"\n', "")
    (tmp_path / PROJECT_FILE).write_text(uncommented, encoding="utf-8")
    everything = Project.load(tmp_path)
    assert everything.model_dump() == Project.create(tmp_path, "v").model_dump()
    assert {"learning_rate", "schedule", "seed"} <= everything.train.model_fields_set


def test_a_value_is_set_below_its_line_and_taking_it_back_restores_the_file(tmp_path: Path) -> None:
    project, file = saved(tmp_path, template(Project).replace('name = ""', 'name = "v"'))
    before = file.read_text()
    project.train.learning_rate = 2e-5
    project.save()
    assert "\n#learning_rate = 0.0001\nlearning_rate = 2e-05\n" in file.read_text()
    project.train.learning_rate = 1e-4
    project.train.model_fields_set.discard("learning_rate")
    project.save()
    assert file.read_text() == before


def test_who_only_reads_a_project_does_not_load_what_writes_it(tmp_path: Path) -> None:
    saved(tmp_path)
    program = (
        "import sys; from pathlib import Path; from fishtune.core.config.project import Project\n"
        f"Project.load(Path({str(tmp_path)!r})); print('tomlkit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
