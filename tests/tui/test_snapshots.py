"""Pictures of a few screens.

After a wanted change: FISHTUNE_UPDATE_SNAPSHOTS=1 pytest tests/tui/test_snapshots.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from fishtune.core.events import CheckpointSaved, Started, Step, Validation
from fishtune.core.jobs import record
from fishtune.core.project import Project
from fishtune.core.stages import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.screens.project import ProjectScreen
from wizard_helpers import FakeEngine, shown, until

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = [(80, 24), (120, 40)]
NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC


class FrozenClock:
    """It is always noon."""

    @staticmethod
    def now(zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(NOON, zone)


def compare(app: Wizard, name: str) -> None:
    """Compare the screen with the stored picture; the names that Textual draws at random are left out."""
    picture = re.sub(r"terminal-\d+", "terminal", app.export_screenshot(title="fishtune-tui"))
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    file = SNAPSHOTS / f"{name}.svg"
    if os.environ.get("FISHTUNE_UPDATE_SNAPSHOTS"):
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(picture, encoding="utf-8")
    assert picture == file.read_text(encoding="utf-8"), f"{file.name} differs from:\n{shown(app)}"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_running_training_looks_as_it_did(
    wizard: Callable[..., Wizard],
    engine: FakeEngine,
    project: Project,
    size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "datetime", FrozenClock)
    job = engine.new_job(project, StageName.TRAIN)
    job.log_path.write_text("12:00:01 step 1/200, loss 8.000\n12:03:20 step 120/200, loss 5.600\n")
    steps = [
        Step(
            time=NOON + number,
            step=number,
            total_steps=200,
            epoch=number / 20,
            clip_passes=number / 20,
            loss=8 - number / 50,
            base_loss=3 - number / 100,
            semantic_loss=5 - number / 100,
            learning_rate=1e-4,
            tokens_per_second=21_500,
            eta=(200 - number) * 2.0,
        )
        for number in range(1, 121)
    ]
    held = [
        Validation(
            time=NOON + number,
            step=number,
            clip_passes=number / 20,
            loss=8.1 - number / 60,
            base_loss=3,
            semantic_loss=5,
            top_5_accuracy=0.3,
        )
        for number in (40, 80, 120)
    ]
    saved = [
        CheckpointSaved(time=NOON + n, step=n, path=f"{n}", bytes=19_000_000, validation_loss=7.0)
        for n in (40, 80)
    ]
    engine.say(
        job, [Started(stage="train"), *steps[:40], held[0], saved[0], *steps[40:80], held[1], saved[1]]
    )
    engine.say(job, [*steps[80:], held[2]])
    app = wizard()
    async with app.run_test(size=size) as pilot:
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
        await until(lambda: "120 / 200" in shown(app) and "running 60 %" in shown(app), app)
        await until(lambda: "step 120/200" in shown(app), app)
        await pilot.pause(0.3)
        compare(app, f"training-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_gpus_look_as_they_did(wizard: Callable[..., Wizard], size: tuple[int, int]) -> None:
    app = wizard()
    async with app.run_test(size=size) as pilot:
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.gpus is not None, app)
        await until(lambda: "4 Pack" in shown(app) and "Check" in shown(app), app)
        await pilot.press("g")
        await until(lambda: "python train.py" in shown(app), app)
        card = app.screen.query_one("#cards")
        await pilot.pause(0.2)
        assert "67.6 GiB" in shown(app) and card.display
