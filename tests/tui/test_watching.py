"""A training that is only watched, which is what the wizard does for hours: it costs little memory."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from fishtune.core.config.project import Project
from fishtune.core.events import CheckpointSaved, Finished, Step
from fishtune.core.pipeline.steps import StepName
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.messages import JobChanged
from fishtune.tui.watch import JobWatch
from fishtune.tui.widgets.curve import Curve
from fishtune.tui.widgets.form import Form
from rich.cells import cached_cell_len
from textual.message import Message
from wizard_helpers import FakeEngine, until, until_open, until_shown


def step(number: int) -> Step:
    return Step(
        step=number, total_steps=100, loss=8, base_loss=3, semantic_loss=5, learning_rate=1e-4, eta=60.0
    )


async def test_a_watched_run_has_no_form_until_its_settings_are_asked_for(
    wizard: Callable[..., Wizard], engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    engine.say(job, [step(40)])
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(app, "40 / 100")
        assert not app.screen.query(Form) and not app.screen.query("#presets")
        engine.say(job, [CheckpointSaved(step=40, path="x"), Finished(summary={})])
        await until_shown(app, "Settings")
        await pilot.click("#buttons Button")
        await until_shown(app, "gentle", "Checkpoint every")


async def test_what_left_the_screen_is_forgotten(
    wizard: Callable[..., Wizard], engine: FakeEngine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)  # it would hold for the tests after this one
    gc.disable()
    engine.say(engine.new_job(project, StageName.TRAIN), [step(40)])
    app = wizard()
    async with app.run_test(size=(120, 40)):
        await until_shown(app, "40 / 100")
        assert gc.isenabled(), "collection begins after the first paint"
        assert cached_cell_len.cache_info().currsize > 100
        app.tidy()
        assert cached_cell_len.cache_info().currsize == 0


@pytest.mark.parametrize(("seconds", "freezes"), [(0.0, 0), (0.1, 1)])
def test_what_stays_after_a_long_collection_is_not_looked_through_again(
    wizard: Callable[..., Wizard], monkeypatch: pytest.MonkeyPatch, seconds: float, freezes: int
) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 1)
    monkeypatch.setattr(time, "thread_time", itertools.count(0.0, seconds).__next__)
    wizard().tidy()
    assert len(frozen) == freezes


async def test_the_pieces_of_a_chart_have_no_styles_of_their_own(
    wizard: Callable[..., Wizard], engine: FakeEngine, project: Project
) -> None:
    engine.say(engine.new_job(project, StageName.TRAIN), [step(number) for number in range(1, 41)])
    app = wizard()
    async with app.run_test(size=(120, 40)):
        await until_shown(app, "40 / 100")
        curve = app.screen.query_one(Curve)
        pieces = [piece for y in range(curve.size.height) for piece in curve.render_line(y)]
        assert pieces and not any(piece.style.meta for piece in pieces if piece.style)


def test_what_only_forms_need_is_not_loaded_with_the_screens() -> None:
    program = (
        "import sys, fishtune.tui.screens.project, fishtune.tui.steps.train\n"
        "print([name for name in sys.modules if name.startswith('fishtune.core.') and name.rpartition('.')[2]"
        " in ('suggest', 'needs', 'profiles', 'accounting')])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_long_history_arrives_whole_though_it_is_read_in_small_parts(
    engine: FakeEngine, project: Project
) -> None:
    job = engine.new_job(project, StageName.TRAIN)
    engine.say(job, [step(number) for number in range(1, 5001)] + [Finished(summary={})])
    assert job.events_path.stat().st_size > 1 << 19
    told: list[Message] = []
    watch = JobWatch(StepName.TRAIN, job, told.append)
    watch.run()
    assert watch.view.train["loss"].points == 5000
    assert watch.view.end is not None and watch.view.end.kind == "finished"
    assert sum(isinstance(message, JobChanged) for message in told) < 20


@pytest.mark.parametrize(("seconds", "looks"), [(0.0, 1), (100.0, 0)])
async def test_a_look_at_the_disk_that_took_long_is_followed_by_rest_until_there_is_news(
    wizard: Callable[..., Wizard],
    engine: FakeEngine,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    looks: int,
) -> None:
    monkeypatch.setattr(time, "thread_time", itertools.count(0.0, seconds).__next__)
    app = wizard()
    async with app.run_test(size=(80, 24)):
        screen = await until_open(app)
        await until(lambda: screen.state.steps, app)
        asked: list[bool] = []
        monkeypatch.setattr(screen, "refresh_state", lambda: asked.append(True))
        screen.look_again()
        assert len(asked) == looks
        engine.new_job(project, StageName.VALIDATE)
        screen.look_again()
        assert len(asked) == looks + 1
