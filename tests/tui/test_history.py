"""One history over all jobs of a run: what was there before a resume is still on the screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fishtune.core.config.project import Project
from fishtune.core.events import Event, Failed, Finished, Progress, Started, Stopped
from fishtune.core.jobs.record import Job
from fishtune.core.pipeline.steps import StepName
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.messages import JobChanged
from fishtune.tui.run_view import RunView
from fishtune.tui.watch import JobWatch
from fishtune.tui.widgets.run_lines import ChartOptions, chart_lines
from staged_project import held_out, saved, training_step
from textual.message import Message
from wizard_helpers import FakeEngine, shown, until, until_shown

Make = Callable[..., Wizard]


def trained(first: int, last: int, every: int = 20) -> list[Event]:
    events: list[Event] = []
    for number in range(first, last + 1):
        events.append(training_step(number, 200))
        if number % every == 0:
            events += [held_out(number, 8 - number / 100), saved(number, 7.0, f"{number}")]
    return events


def job_that_said(engine: FakeEngine, project: Project, *events: Event) -> Job:
    job = engine.new_job(project, StageName.TRAIN)
    engine.say(job, [Started(stage="train"), *events])
    return job


def watched(job: Job) -> tuple[RunView, list[RunView]]:
    told: list[RunView] = []

    def take(message: Message) -> None:
        if isinstance(message, JobChanged):
            told.append(message.view)

    watch = JobWatch(StepName.TRAIN, job, take)
    watch.run()
    return watch.view, told


def test_a_resumed_run_has_the_curve_held_out_values_and_checkpoints_of_all_its_jobs(
    engine: FakeEngine, project: Project
) -> None:
    job_that_said(engine, project, *trained(1, 60), Stopped(saved="step 60"))
    job_that_said(engine, project, *trained(61, 90), Failed(error="X", message="The driver is gone."))
    newest = job_that_said(engine, project, *trained(81, 120), Finished(summary={}))
    view, _told = watched(newest)
    xs, _values = view.train["loss"].decimated(1000)
    assert xs == [float(number) for number in range(1, 121)]
    assert view.held_out["loss"].decimated(100)[0] == [20, 40, 60, 80, 100, 120]
    assert sorted(view.checkpoints) == [20, 40, 60, 80, 100, 120]
    assert view.resumed_at == [61, 81]
    assert view.end is not None and view.end.kind == "finished"
    names = [line.name for line in chart_lines(view, ChartOptions(), 100)]
    assert names == ["train", "resumed", "held-out"]
    passes = ChartOptions(smoothing="raw", by_passes=True)
    assert [line.xs for line in chart_lines(view, passes, 1000)][1] == [61 / 20, 81 / 20]


def test_a_resume_from_an_earlier_checkpoint_takes_away_what_is_done_again(
    engine: FakeEngine, project: Project
) -> None:
    job_that_said(engine, project, *trained(1, 100), Stopped())
    newest = job_that_said(engine, project, *trained(41, 50), Finished(summary={}))
    view, _told = watched(newest)
    assert view.train["loss"].points == 50 and view.held_out["loss"].decimated(9)[0] == [20, 40]
    assert sorted(view.checkpoints) == [20, 40] and view.resumed_at == [41]


def test_a_run_that_begins_anew_has_nothing_of_the_one_before(engine: FakeEngine, project: Project) -> None:
    job_that_said(engine, project, *trained(1, 100), Stopped())
    newest = job_that_said(engine, project, *trained(1, 10), Finished(summary={}))
    view, _told = watched(newest)
    assert view.train["loss"].points == 10 and not view.checkpoints and not view.resumed_at
    assert view.validation is None


def test_what_only_concerned_an_earlier_job_is_not_shown_as_this_ones(
    engine: FakeEngine, project: Project
) -> None:
    loading = Progress(task="loading", done=4, total=4, unit="files")
    job_that_said(engine, project, loading, *trained(1, 40), Failed(error="X", message="No."))
    newest = job_that_said(engine, project, Finished(summary={}))
    view, _told = watched(newest)
    assert not view.progress and not view.has_begun and view.share is None
    assert view.step is not None and view.step.step == 40


def test_other_stages_have_no_earlier_jobs(engine: FakeEngine, project: Project) -> None:
    first = engine.new_job(project, StageName.EXTRACT)
    engine.say(first, [Progress(task="audio", done=1, total=2, unit="s"), Stopped()])
    second = engine.new_job(project, StageName.EXTRACT)
    engine.say(second, [Finished(summary={})])
    assert not watched(second)[0].progress


def test_nothing_is_shown_before_something_of_the_history_is_read(
    engine: FakeEngine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_that_said(engine, project, *trained(1, 60), Stopped())
    newest = job_that_said(engine, project, Finished(summary={}))
    points: list[int] = []

    def take(message: Message) -> None:
        if isinstance(message, JobChanged):
            points.append(message.view.train["loss"].points)

    JobWatch(StepName.TRAIN, newest, take).run()
    assert points and min(points) > 0


def test_lines_that_are_no_events_do_not_hide_what_comes_after_them(
    engine: FakeEngine, project: Project
) -> None:
    job_that_said(engine, project, *trained(1, 5), Stopped())
    newest = engine.new_job(project, StageName.TRAIN)
    for job in (newest,):
        with job.events_path.open("ab") as file:
            file.write(b'{"kind": "damaged' + b"x" * 100 + b"\n" * 1)
            file.write((b"y" * 1000 + b"\n") * 100)
    engine.say(newest, [*trained(6, 10), Finished(summary={"much": "z" * 200_000})])
    view, _told = watched(newest)
    assert view.train["loss"].points == 10 and view.end is not None


async def test_training_again_keeps_the_curve_on_the_screen(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    job_that_said(engine, project, *trained(1, 120), Finished(summary={}))
    (project.folder / "protos").mkdir(exist_ok=True)
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await until(lambda: bool(app.screen.query("#steps")), app)
        await pilot.press("5")
        await until_shown(app, "120 / 200")
        newest = job_that_said(engine, project)
        await pilot.press("ctrl+r")
        # The last are the checkpoints of before.
        await until_shown(app, newest.id, "120 / 200", "held-out 6.800", "  100 ")
        assert "The curve begins" not in shown(app)
        engine.say(newest, trained(121, 130))
        await until_shown(app, "130 / 200", "resumed")
