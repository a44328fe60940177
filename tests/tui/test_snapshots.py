"""Pictures of the start page and of all six steps.

After a wanted change: FISHTUNE_UPDATE_SNAPSHOTS=1 pytest tests/tui/test_snapshots.py
"""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from fishtune.core.config import recent
from fishtune.core.config.project import PROJECT_FILE, Project
from fishtune.core.events import Started
from fishtune.core.hardware import main_memory
from fishtune.core.jobs import record
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.catalogue import use_language
from fishtune.tui.screens import start
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.widgets import training
from fishtune.tui.wizard_settings import WizardSettings
from staged_project import (
    HOME,
    NOON,
    FrozenClock,
    StagedEngine,
    held_out,
    saved,
    staged_project,
    training_step,
)
from wizard_helpers import GIB, FakeEngine, shown, until, until_open, until_shown

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = [(80, 24), (120, 40)]
SIZE_NAMES = [f"{width}x{height}" for width, height in SIZES]
STEPS = {
    "1-dataset": "has no words.",
    "2-model": "2.9 MiB",
    "3-extract": "CUDA context",
    "4-pack": "into a.lab",
    "5-train": "1,240 steps",
    "6-merge": "Recommended: step 80",
}
"""What is on the screen once a step has read all it shows."""


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "datetime", FrozenClock)
    monkeypatch.setattr(training, "time", SimpleNamespace(time=lambda: NOON + 260))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def staged(tmp_path: Path, golden: Path) -> Callable[..., Wizard]:
    """Make the application on the staged project."""

    def make(**settings: object) -> Wizard:
        engine = StagedEngine()
        project = staged_project(tmp_path / "yoona", golden, engine)
        return Wizard(WizardSettings(**settings), project=project.folder, engine=engine)

    return make


async def compare(app: Wizard, name: str) -> None:
    """Wait until the screen is the stored picture; the names that Textual draws at random are left out."""
    file = SNAPSHOTS / f"{name}.svg"
    if os.environ.get("FISHTUNE_UPDATE_SNAPSHOTS"):
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(await settled(app), encoding="utf-8")
    stored = file.read_text(encoding="utf-8")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 30
    while (seen := picture(app)) != stored:
        changes = difflib.unified_diff(stored.splitlines(), seen.splitlines(), lineterm="", n=0)
        assert loop.time() < deadline, "\n".join([f"{file.name} is not what is shown:", *changes, shown(app)])
        await asyncio.sleep(0.05)


def picture(app: Wizard) -> str:
    """Return what is on the screen as SVG."""
    drawn = re.sub(r"terminal-\d+", "terminal", app.export_screenshot(title="fishtune-tui"))
    return re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)


async def settled(app: Wizard) -> str:
    """Return the picture once no worker is at work and nothing has changed for two seconds."""
    same, before = 0, ""
    while same < 40:
        await asyncio.sleep(0.05)
        now = picture(app)
        idle = all(worker.is_finished for worker in app.workers)
        same, before = (same + 1 if idle and now == before else 0), now
    return before


async def opened(app: Wizard) -> ProjectScreen:
    """Wait for the project and for a reading of the GPUs."""
    screen = await until_open(app)
    await until(lambda: app.gpus is not None, app)
    return screen


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_the_six_steps_look_as_they_did(staged: Callable[..., Wizard], size: tuple[int, int]) -> None:
    app = staged()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app)
        for name, words in STEPS.items():
            await pilot.press(name[0])
            await until(lambda: screen.pane is not None and screen.pane.step.value in name, app)  # noqa: B023
            assert screen.pane is not None
            await until(lambda: screen.pane is not None and screen.pane.status is not None, app)
            screen.pane.show_monitor(False)
            await until(lambda: re.search(words, shown(app)), app)  # noqa: B023
            await compare(app, f"{name}-{size[0]}x{size[1]}")


async def test_korean_looks_as_it_did(staged: Callable[..., Wizard]) -> None:
    use_language("ko")
    app = staged()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await pilot.press("1")
        await until_shown(app, "→")
        await compare(app, "1-dataset-korean-80x24")


async def test_ascii_looks_as_it_did(staged: Callable[..., Wizard]) -> None:
    app = staged(ascii=True)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app)
        await pilot.press("5")
        await until_shown(app, "120 / 120")
        assert screen.pane is not None
        await compare(app, "5-train-ascii-80x24")


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_the_start_page_looks_as_it_did(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    project = recent.RecentProject(results=Path(HOME) / "results", project="yoona", used=NOON)
    monkeypatch.setattr(
        recent.RecentProject, "file", property(lambda entry: entry.results.parent / PROJECT_FILE)
    )
    monkeypatch.setattr(recent, "recent_projects", lambda: [project])
    monkeypatch.setattr(start, "time", lambda: NOON + 7200)
    monkeypatch.setattr(Path, "cwd", classmethod(lambda cls: cls(HOME).parent))
    disk = SimpleNamespace(total=1000 * GIB, used=600 * GIB, free=400 * GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: disk)
    monkeypatch.setattr(main_memory, "main_memory", lambda: (128 * GIB, 96 * GIB))
    app = Wizard(WizardSettings(), engine=FakeEngine())
    async with app.run_test(size=size):
        await until(lambda: app.gpus is not None and HOME in shown(app), app)
        await compare(app, f"0-start-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
async def test_a_running_training_looks_as_it_did(
    wizard: Callable[..., Wizard], engine: FakeEngine, project: Project, size: tuple[int, int]
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    job.log_path.write_text("12:00:01 step 1/200, loss 8.000\n12:03:20 step 120/200, loss 5.600\n")
    engine.say(job, [Started(time=NOON, stage="train")])
    for number in range(1, 121):
        engine.say(job, [training_step(number, 200)])
        if number % 40 == 0:
            engine.say(job, [held_out(number, 8.1 - number / 60), saved(number, 7.0, f"{number}")])
    app = wizard()
    async with app.run_test(size=size):
        await opened(app)
        await until_shown(app, "120 / 200", "running 60 %")
        await until_shown(app, "step 120/200")
        await compare(app, f"training-{size[0]}x{size[1]}")


async def test_the_gpus_look_as_they_did(wizard: Callable[..., Wizard]) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app)
        await pilot.press("g")
        await until_shown(app, "python train.py")
        assert "67.6 GiB" in shown(app)
