"""The start page: the six steps, recent projects once each with what they are at, what this machine has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fishtune.core.config import recent
from fishtune.core.config.project import Project
from fishtune.core.hardware import main_memory
from fishtune.core.stages.registry import StageName
from fishtune.tui import wording
from fishtune.tui.app import Wizard
from fishtune.tui.screens.start import StartScreen
from fishtune.tui.wizard_settings import WizardSettings
from textual.widgets import Input
from wizard_helpers import GIB, FakeEngine, shown, until, until_shown

Make = Callable[..., Wizard]
HOUR = 3600.0


def used(project: Project, ago: float, name: str = "") -> None:
    """Note that a project was used `ago` seconds before now."""
    recent.remember_project(project.results, name or project.name)
    newest = max(recent._folder().iterdir(), key=lambda file: file.stat().st_mtime_ns)
    then = newest.stat().st_mtime - ago
    os.utime(newest, (then, then))


async def test_recent_projects_stand_once_each_with_state_and_age_a_running_one_first(
    wizard: Make, engine: FakeEngine, project: Project, tmp_path: Path
) -> None:
    other = Project.create(tmp_path / "mira", "mira", dataset={"path": "data"})
    other.save()
    engine.new_job(project, StageName.TRAIN)
    (project.results / "before").mkdir()
    used(project, 50 * HOUR, "before")
    used(project, 3 * HOUR)
    used(other, 2 * HOUR)
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(app, "● Train: running", "Dataset: ready", "3 h ago", "2 h ago")
        rows = [row for row in shown(app).splitlines() if " ago" in row]
        assert [("yoona" in row, "mira" in row) for row in rows] == [(True, False), (False, True)]
        assert "⏎ Open " in shown(app)
        await pilot.press("enter")
        await until_shown(app, "fishtune · yoona")


async def test_the_page_names_the_steps_and_what_is_here_at_both_sizes(
    wizard: Make, project: Project
) -> None:
    used(project, 0)
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)) as pilot:
        titles = ("1 Dataset", "2 Model", "3 Extract", "4 Pack", "5 Train", "6 Merge")
        here = ("67.6 GiB free", "Memory: ", "Disk of ", "Base models found: base")
        for size in ((80, 24), (120, 40)):
            await pilot.resize_terminal(*size)
            await until_shown(app, *titles, *here, "Try the demo")


async def test_memory_is_what_a_container_may_have(wizard: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_memory, "main_memory", lambda: (4 * GIB, GIB))
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)):
        await until_shown(app, "Memory: 1.0 GiB free of 4.0 GiB")


async def test_without_projects_enter_begins_one(wizard: Make) -> None:
    app = wizard(open_it=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(app, "None yet", "⏎ Open or create…")
        await pilot.press("enter")
        await until(lambda: not isinstance(app.screen, StartScreen), app)


@pytest.mark.parametrize(
    ("ago", "words"),
    [(3, "just now"), (61, "1 min ago"), (2 * HOUR, "2 h ago"), (50 * HOUR, "2 days ago"), (-9, "just now")],
)
def test_an_age_is_said_in_the_unit_that_fits(ago: float, words: str) -> None:
    assert wording.age(1e9 - ago, 1e9) == words
    assert wording.age(1e9 - 90 * 24 * HOUR, 1e9) == "2001-06-11"


@pytest.mark.parametrize("there", [True, False])
async def test_a_folder_without_a_project_is_asked_about_and_becomes_one(
    engine: FakeEngine, tmp_path: Path, there: bool
) -> None:
    folder = tmp_path / "mira"
    if there:
        folder.mkdir()
    app = Wizard(WizardSettings(), project=folder, engine=engine)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(app, "Folder of the project (an existing one, or a new one")
        assert app.screen.query_one(Input).value == f"{folder}{os.sep}"
        assert not (folder / "fishtune.toml").exists()
        await pilot.press("enter")
        await until_shown(app, "fishtune · mira")
