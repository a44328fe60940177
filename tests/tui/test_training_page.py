"""The page of a training: its plan, what is seen while it runs, how more of it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.config.project import Project
from fishtune.core.config.settings import TrainSettings
from fishtune.core.events import Event, Finished, Phase, Started, Step, Warned
from fishtune.core.jobs.record import Job
from fishtune.core.judge.results import (
    AuditionCandidate,
    AuditionResult,
    CandidateKind,
    Cell,
    Measure,
    Measures,
)
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.stages.registry import StageName
from fishtune.core.stages.train.planned import PlannedRun
from fishtune.tui import heard
from fishtune.tui.app import Wizard
from fishtune.tui.chart import Axis, robust
from fishtune.tui.compared import compared_run
from fishtune.tui.dialogs.more_training import MoreTrainingScreen
from fishtune.tui.project_state import ProjectState, ShownStep
from fishtune.tui.run_view import RunView
from fishtune.tui.series import Series
from fishtune.tui.widgets.choice import Choice
from fishtune.tui.widgets.curve import Curve
from fishtune.tui.widgets.gpu_gauge import GpuGauge
from fishtune.tui.widgets.memory_bar import memory_bar
from fishtune.tui.widgets.run_lines import ChartOptions, chart_lines
from staged_project import held_out, saved, training_step
from textual.widgets import Input
from wizard_helpers import GIB, READING, FakeEngine, shown, until, until_shown

Make = Callable[..., Wizard]
PLANNED = PlannedRun(
    clips=90, held_out=5, left_out=2, epochs=250.0, steps=1240, steps_per_epoch=4.96, tokens_per_step=8000.0
)


class PlanningEngine(FakeEngine):
    """Plans without a process, and sees the training step as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.planned: list[TrainSettings] = []
        self.state = StepState.READY

    async def plan_training(self, settings: TrainSettings) -> PlannedRun | None:
        self.planned.append(settings)
        return PLANNED

    def inspect_project(self, project: Project) -> ProjectState:
        found = super().inspect_project(project)
        step = ShownStep(StepName.TRAIN, self.state, str(self.state), "Trained.")
        steps = tuple(step if each.name is StepName.TRAIN else each for each in found.steps)
        running = found.running - ({StepName.TRAIN} if self.state is not StepState.RUNNING else set())
        return ProjectState(steps, found.jobs, running, found.checkpoints)


@pytest.fixture
def engine() -> PlanningEngine:
    return PlanningEngine()


def say(engine: FakeEngine, project: Project, *events: Event) -> Job:
    job = engine.new_job(project, StageName.TRAIN)
    engine.say(job, [Started(stage="train"), *events])
    return job


def run_of(steps: int, every: int = 20) -> Iterable[Event]:
    yield held_out(0, 9.5)
    for number in range(1, steps + 1):
        yield training_step(number, 200)
        if number % every == 0:
            yield held_out(number, 8 - number / 100)
            yield saved(number, 8 - number / 100, f"{number}")


async def at_training(app: Wizard, pilot: Any) -> None:
    await until(lambda: bool(app.screen.query("StepList")), app)
    await pilot.press("5")


# before


async def test_the_plan_says_what_the_training_comes_to_and_follows_the_settings(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "250 epochs ≈ 1,240 steps, 13", "90 clips to train on, 5 held out, 2 too long")
        await until_shown(app, "How long it takes is not known", "67.6 GiB free", "▒ 12.4 GiB held: python")
        field = app.screen.query_one("#field-train-checkpoint-every", Input)
        field.focus()
        await pilot.press(*"10", "enter")
        await until_shown(app, "124 checkpoints")
        assert engine.planned[-1].checkpoint_every == 10


async def test_the_recommended_preset_is_first_and_few_fields_are_shown_until_they_are_unfolded(
    wizard: Make, project: Project
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "Recommended to start with", "Epochs", "Checkpoint every")
        rows = [line for line in shown(app).splitlines() if "alpha_" in line]
        assert "r_16_alpha_16" in rows[0] and "Recommended" in rows[0]
        assert "Learning rate" not in shown(app)
        await pilot.click("#fold Button")
        await until_shown(app, "Learning rate")
        # For a fifth of a second a button looks pressed, and cannot be pressed again.
        await until(lambda: app.focused is not None and not app.focused.has_class("-active"), app)
        await pilot.click("#fold Button")
        await until(lambda: "Learning rate" not in shown(app), app)


async def test_nothing_packed_is_said_where_the_plan_would_be(wizard: Make, engine: PlanningEngine) -> None:
    engine.plan_training = FakeEngine().plan_training  # type: ignore[method-assign]
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "Steps and time can be told")


def test_a_memory_bar_shows_what_others_hold_and_what_does_not_fit() -> None:
    from fishtune.core.hardware.memory.suggest import Available
    from fishtune.tui.glyphs import ASCII, LINES

    gpu = READING.gpus[0]
    assert gpu.memory is not None and gpu.processes is not None
    available = Available.of(gpu.name, gpu.memory, gpu.processes)
    bar, others = memory_bar(LINES, 20 * GIB, available, 60).plain.split("\n")
    assert bar.count("▒") == 4 and bar.count("█") == 6 and "needs 20.0 GiB of 67.6 GiB free" in bar
    assert others == "▒ 12.4 GiB held: python train.py 4711 12.0 GiB"
    assert "needs 70.0 GiB, only 67.6 GiB free" in memory_bar(LINES, 70 * GIB, available, 60).plain
    assert memory_bar(ASCII, 70 * GIB, available, 60).plain.isascii()
    assert "On a GPU" in memory_bar(LINES, GIB, None, 60).plain


# during


async def test_what_the_job_does_is_named_from_its_first_second(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    engine.state = StepState.RUNNING
    job = engine.new_job(project, StageName.TRAIN)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "starting the process")
        engine.say(job, [Started(stage="train"), Phase(name="loading torch")])  # type: ignore[arg-type]
        await until_shown(app, "● loading torch …", " s")
        engine.say(job, [Phase(name="measuring two steps")])  # type: ignore[arg-type]
        await until_shown(app, "measuring two steps")
        engine.say(job, [training_step(50, 200)])
        await until_shown(app, "25 %", "step 50 / 200", "5 min 00 s to go", "so far")
        assert "measuring" not in shown(app).split("│ 1")[0].splitlines()[3]


async def test_the_best_held_out_loss_and_the_gpu_stand_beside_the_curve(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    engine.state = StepState.RUNNING
    say(engine, project, *run_of(100))
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        await until_shown(
            app, "7.000 at 100", "base held-out", "9.500", "GPU memory", "12.4/80.0 GiB", "37 %"
        )
        gauge = app.screen.query_one(GpuGauge)
        assert "▃" in str(gauge.content) or "▄" in str(gauge.content)


async def test_the_numbers_stand_where_they_did_once_the_terminal_has_its_size_again(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    say(engine, project, *run_of(20), Finished())
    app, narrow = wizard(), "best held-out   7.800 at 20    learning rate"
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        for size, said in (((80, 24), narrow), ((120, 40), "base held-out"), ((80, 24), narrow)):
            await pilot.resize_terminal(*size)
            await until_shown(app, said)


async def test_what_a_guard_found_stays_until_the_held_out_loss_improves(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    engine.state = StepState.RUNNING
    over = Warned(message="The model is starting to overfit.", guard=True)  # type: ignore[arg-type]
    job = say(engine, project, *run_of(60), over, Warned(message="Something else."))  # type: ignore[arg-type]
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "starting to overfit")
        engine.say(job, [training_step(61, 200), held_out(61, 1.0)])
        await until_shown(app, "1.000 at 61", "Something else.")
        assert "starting to overfit" not in shown(app)


def test_the_lowest_held_out_loss_is_of_the_course_that_the_run_took() -> None:
    view = RunView()
    view.apply([*run_of(60), held_out(61, 1.0)])
    assert view.best == (61, 1.0) and view.base_loss == 9.5
    view.next_job()
    view.apply([training_step(41, 200)])
    assert view.best == (40, 7.6)


def test_the_time_of_a_run_is_that_of_its_jobs_without_what_lies_between() -> None:
    view = RunView()
    view.apply([Started(stage="train", time=100), *(step_at(110), step_at(130))])
    view.next_job()
    view.apply([Started(stage="train", time=1000), step_at(1010)])
    assert view.elapsed() == 40 and view.elapsed(1020) == 50
    view.apply([Finished(time=1030)])
    assert view.elapsed() == 60


def step_at(moment: float) -> Step:
    return training_step(int(moment), 5000).model_copy(update={"time": moment})


def test_both_losses_lag_alike_when_they_are_smoothed() -> None:
    dense, sparse = Series(), Series()
    for x in range(1001):
        dense.add(x, float(x))
        if x % 10 == 0:
            sparse.add(x, float(x))
    smooth = [series.decimated(5000, 50.0)[1][-1] for series in (dense, sparse)]
    assert smooth[0] == pytest.approx(950, abs=1) and smooth[1] == pytest.approx(950, abs=6)


def test_what_is_zoomed_to_has_all_columns_and_remembers_what_was_before() -> None:
    series = Series()
    for x in range(1000):
        series.add(x, 0.0 if x < 900 else 1.0)
    xs, values = series.decimated(50, start=900.0)
    assert xs[0] >= 900 and len(xs) == 50 and set(values) == {1.0}
    assert series.decimated(50, 100.0, 900.0)[1][0] < 0.1


def test_single_peaks_do_not_flatten_the_curve() -> None:
    values = [5 - number / 100 for number in range(100)] + [80.0]
    low, high = min(robust(values)), max(robust(values))
    assert low == pytest.approx(4.01) and high < 7
    assert robust([1.0, 50.0]) == [1.0, 50.0]


def test_a_logarithmic_axis_has_equal_factors_at_equal_distances() -> None:
    axis = Axis([1.0, 100.0], 5, log=True)
    assert axis.share(10.0) == pytest.approx(0.5)
    assert [label for _share, label in axis.ticks] == ["1", "10", "100"]
    assert Axis([2.0, 4.0], 5, log=True).ticks[0] == (0.0, "2.0")
    assert not Axis([-1.0, 4.0], 5, log=True).log
    assert Axis([1e-3, 5.0], 3, log=True).share(0.0) == 0.0


async def test_the_curve_has_a_cursor_that_finds_checkpoints_and_what_was_heard_of_them(
    wizard: Make, engine: PlanningEngine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(engine, project, *run_of(100), Finished())
    folder = project.run_folder / "auditions" / "40"
    cell = Cell(text=0, seed=1, audio="a.wav", expected_seconds=2, ended=True, seconds=2.0, findings=[])
    measures = Measures(similarity=Measure(mean=0.71, low=0.6, high=0.8, texts=1))
    column = AuditionCandidate(
        kind=CandidateKind.CHECKPOINT,
        path=Path("step_000000040.ckpt"),
        modified=None,
        step=40,
        folder=folder,
        cells=[cell],
        measures=measures,
    )
    table = AuditionResult.model_construct(candidates=[column])
    monkeypatch.setattr(heard, "read_run", lambda _folder: table)
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "step 100 / 200")
        assert not app.screen.query_one("#readout").display
        app.screen.query_one(Curve).focus()
        await until_shown(app, "step 100: train", "held-out 7.000 at 100", "not listened to yet")
        await pilot.press("pageup", "pageup", "pageup")
        await until_shown(app, "step 40: train", "heard:", "sound · likeness 0.71")
        assert "results/yoona/auditions/40/a.wav" in shown(app)
        await pilot.press("left")
        await until(lambda: "step 40:" not in shown(app), app)
        assert "held-out 7.800 at 20" in shown(app)
        await pilot.press("escape")
        await until(lambda: not app.screen.query_one("#readout").display, app)


async def test_zoom_and_scale_change_the_axes(wizard: Make, engine: PlanningEngine, project: Project) -> None:
    say(engine, project, *run_of(100), Finished())
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "step 100 / 200")
        curve = app.screen.query_one(Curve)
        app.screen.query_one("#zoom").focus()
        await pilot.press("right", "right")
        await until(lambda: min(curve._shown.lines[0].xs) >= 90, app)
        app.screen.query_one("#scale").focus()
        await pilot.press("right")
        await until(lambda: curve._shown.log, app)


async def test_another_run_is_drawn_beside_this_one_and_still_is_the_next_time(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    other = project.model_copy(deep=True)
    other.name = "gentle"
    say(engine, other, *run_of(60), Finished())
    say(engine, project, *run_of(100), Finished())
    for _time in range(2):
        app = wizard()
        async with app.run_test(size=(120, 40)) as pilot:
            await at_training(app, pilot)
            choice = app.screen.query_one("#other", Choice)
            await until(lambda: len(choice.options) == 2, app)  # noqa: B023
            if not compared_run(project.run_folder):
                assert "its held-out" not in shown(app)
                choice.focus()
                await pilot.press("right")
            await until_shown(app, "+ gentle", "+ other run", "× its held-out 7.400")
            assert compared_run(project.run_folder) == "gentle"


def test_another_run_is_told_apart_by_its_signs_alone() -> None:
    view, other = RunView(), RunView()
    view.apply(run_of(60))
    other.apply(run_of(30))
    lines = chart_lines(view, ChartOptions(), 200, other)
    assert len({line.drawn for line in lines}) == len(lines) == 4


# more


async def test_a_finished_run_asks_how_much_more_writes_the_new_total_and_starts(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    engine.state = StepState.DONE
    folder = project.run_folder / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step_000000100.ckpt").write_bytes(b"")
    say(engine, project, *run_of(100), Finished(summary={"ended_by": "early_stopping"}))
    project.train.max_steps, project.train.early_stopping = 100, 3
    project.save()
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "Continue training", "step 100 / 200")
        pane = app.screen.pane  # type: ignore[attr-defined]
        pane.press("run")
        await until(lambda: isinstance(app.screen, MoreTrainingScreen), app)
        await until_shown(app, "100 steps are done, 5 epochs.", "6 epochs in all.")
        await pilot.press("backspace", "x", "enter")
        await until_shown(app, "A number above 0 is needed")
        assert not engine.started
        await pilot.press("backspace", "2", "0", "enter")
        await until(lambda: bool(engine.started), app)
    settings = engine.started[0][1]
    assert isinstance(settings, TrainSettings)
    assert (settings.epochs, settings.max_steps, settings.early_stopping) == (25, None, None)
    written = Project.load(project.folder).train
    assert (written.epochs, written.max_steps) == (25, None)


async def test_going_back_from_the_question_changes_nothing(
    wizard: Make, engine: PlanningEngine, project: Project
) -> None:
    engine.state = StepState.DONE
    folder = project.run_folder / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step_000000100.ckpt").write_bytes(b"")
    before = project.file.read_bytes()
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        await until_shown(app, "Continue training")
        app.screen.pane.press("run")  # type: ignore[attr-defined]
        await until_shown(app, "100 steps are done.", "125 steps in all.")
        await pilot.press("escape")
        await pilot.pause()
    assert not engine.started and project.file.read_bytes() == before
