"""Going on: from an earlier checkpoint, with another batch, after an early stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.config.run_files import adapter_folder, checkpoint_step, list_checkpoints
from fishtune.core.config.settings import TrainSettings
from fishtune.core.errors import StopRequested, TrainingError
from fishtune.core.events import CheckpointSaved, Step, Validation, Warned, encode_event
from fishtune.core.jobs.record import Place, list_jobs
from fishtune.core.pipeline.choice import choose
from fishtune.core.stages.train import module
from fishtune.core.stages.train.checkpoints import read_run_state
from fishtune.core.stages.train.resume import Horizon, Standing
from fishtune.core.stages.train.run import TrainResult, run
from fishtune.core.stages.train.sampler import Coverage, Position, Recut, Sampler
from fishtune.core.stages.train.schedule import learning_rate

from .recorder import Recorder
from .training_kit import (
    make_table,
    shards,  # noqa: F401 - a fixture
    short_preflight,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
)

pytestmark = pytest.mark.usefixtures("short_preflight")

Start = Callable[..., tuple[TrainResult, Recorder]]


@pytest.fixture
def start(small_base: Path, shards: Path, tmp_path: Path) -> Start:  # noqa: F811
    """Run a training in the test's folder."""

    def begin(recorder: Recorder | None = None, **changes: Any) -> tuple[TrainResult, Recorder]:
        recorder = recorder or Recorder()
        return run(train_settings(tmp_path, small_base, shards, **changes), recorder), recorder

    return begin


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "run"


def steps_of(folder: Path) -> list[int]:
    return [checkpoint_step(path) for path in list_checkpoints(folder)]


def stop_after(step: int) -> Recorder:
    recorder = Recorder()
    recorder._at = lambda event: isinstance(event, Step) and event.step == step and recorder.request_stop()
    return recorder


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return content


# ---- from an earlier checkpoint


def test_going_on_from_an_earlier_checkpoint_abandons_the_later_ones_and_says_so(
    start: Start, run_folder: Path
) -> None:
    start(max_steps=8, checkpoint_every=2)
    old = {path.name: path.read_bytes() for path in list_checkpoints(run_folder)}
    audition = run_folder / "audition" / "step_000000008"
    audition.mkdir(parents=True)
    audition.with_name("step_000000008@0.5").mkdir()
    earlier = list_checkpoints(run_folder)[1]
    with pytest.raises(StopRequested):
        start(recorder := stop_after(5), max_steps=8, checkpoint_every=2, resume=earlier, learning_rate=1e-2)
    assert steps_of(run_folder) == [2, 4, 5]
    aside = run_folder / "abandoned" / "step_000000004"
    assert steps_of(aside) == [6, 8]
    for path in list_checkpoints(aside):
        assert path.read_bytes() == old[path.name]
        assert adapter_folder(path).is_dir()
    assert (aside / "audition" / "step_000000008").is_dir() and not audition.exists()
    assert (aside / "audition" / "step_000000008@0.5").is_dir()
    (said,) = [event for event in recorder.of(Warned) if "abandoned" in event.message]
    assert "continues from step 4" in said.message and "steps 6, 8" in said.message
    assert str(aside) in said.message and "step_000000008.ckpt" in said.hint
    # `auto` stays on the new course.
    _, after = start(max_steps=8, checkpoint_every=2, learning_rate=1e-2)
    assert after.of(Step)[0].step == 6
    assert steps_of(run_folder) == [2, 4, 5, 6, 8]


def test_an_abandoned_course_can_be_returned_to_and_a_second_one_is_kept_too(
    start: Start, run_folder: Path
) -> None:
    start(max_steps=8)
    first = weights(list_checkpoints(run_folder)[1])
    start(max_steps=8, resume=list_checkpoints(run_folder)[0], learning_rate=1e-2)
    abandoned = list_checkpoints(run_folder / "abandoned" / "step_000000004")[0]
    start(max_steps=9, resume=abandoned)
    assert steps_of(run_folder) == [8, 9]
    taken = weights(list_checkpoints(run_folder)[0])
    assert all(torch.equal(first[name], taken[name]) for name in first)
    assert adapter_folder(list_checkpoints(run_folder)[0]).is_dir()
    start(max_steps=9, resume=list_checkpoints(run_folder)[0])
    assert steps_of(run_folder / "abandoned" / "step_000000008") == [4, 8]
    assert steps_of(run_folder / "abandoned" / "step_000000008-2") == [9]


def test_a_checkpoint_of_another_run_becomes_the_first_of_this_one(start: Start, tmp_path: Path) -> None:
    other, _ = start(project="other", max_steps=4)
    with pytest.raises(StopRequested):
        start(stop_after(5), project="run", resume=other.checkpoint)
    assert steps_of(tmp_path / "results" / "run") == [4, 5]
    assert other.checkpoint.exists()
    list_checkpoints(tmp_path / "results" / "run")[-1].unlink()  # as if it had been killed before saving
    _, recorder = start(project="run")
    assert recorder.of(Step)[0].step == 5


def test_a_resumption_that_trains_nothing_abandons_nothing(start: Start, run_folder: Path) -> None:
    start(max_steps=8)
    start(max_steps=4, resume=list_checkpoints(run_folder)[0])
    assert steps_of(run_folder) == [4, 8]


def test_keep_last_spares_what_was_just_written_and_what_is_recommended(
    start: Start, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, factor = module.TrainingModule.evaluate, 1.0

    def rising(self: Any, plans: Any, source: Any) -> torch.Tensor:
        nonlocal factor
        factor *= 1.1
        sums = plain(self, plans, source)
        sums[:2] *= factor
        return sums

    monkeypatch.setattr(module.TrainingModule, "evaluate", rising)
    start(max_steps=10, checkpoint_every=2, validate_every=2, keep_last=2)
    assert steps_of(run_folder) == [2, 8, 10], "step 2 has the lowest held-out loss"
    values: dict[str, Any] = {"checkpoint_every": 2, "validate_every": 2, "keep_last": 1}
    start(max_steps=6, resume=list_checkpoints(run_folder)[0], **values)
    assert steps_of(run_folder) == [2, 6], "what lay on another course counts no more"
    assert steps_of(run_folder / "abandoned" / "step_000000002") == [8, 10]


def test_a_damaged_checkpoint_does_not_end_a_run_that_keeps_the_last(start: Start, run_folder: Path) -> None:
    start(max_steps=4, checkpoint_every=2)
    list_checkpoints(run_folder)[0].write_bytes(b"damaged")
    start(max_steps=8, checkpoint_every=2, keep_last=2)
    assert set(steps_of(run_folder)) >= {6, 8}


def test_a_checkpoint_has_only_the_held_out_loss_of_its_own_step(start: Start, run_folder: Path) -> None:
    with pytest.raises(StopRequested):
        start(recorder := stop_after(6), max_steps=8)
    saved = {event.step: event.validation_loss for event in recorder.of(CheckpointSaved)}
    measured = {event.step: event.loss for event in recorder.of(Validation)}
    assert saved == {4: measured[4], 6: None}
    states = [read_run_state(path).validation_loss for path in list_checkpoints(run_folder)]
    assert states == [measured[4], None]


def test_the_history_of_a_run_forgets_what_was_abandoned(tmp_path: Path) -> None:
    from fishtune.core.jobs.start import new_job
    from fishtune.core.stages.registry import StageName

    def step(number: int) -> Step:
        return Step(step=number, loss=1, base_loss=1, semantic_loss=0, learning_rate=1)

    def validation(number: int, loss: float) -> Validation:
        return Validation(step=number, loss=loss, base_loss=loss, semantic_loss=0, top_5_accuracy=0)

    place = Place(results=tmp_path, project="run")
    settings = TrainSettings(project="run", results=tmp_path, base=tmp_path, protos=tmp_path)
    told = (
        [step(1), validation(4, 3.0), validation(8, 1.0)],
        [step(5), step(6), CheckpointSaved(step=8, path="", validation_loss=None)],
    )
    for events in told:
        with new_job(StageName.TRAIN, settings, place) as (job, locks):
            job.events_path.write_bytes(b"".join(encode_event(event) for event in events))
            for lock in locks:
                lock.release()
    assert len(list_jobs(place)) == 2
    folder = place.folder / "checkpoints"
    folder.mkdir()
    for number in (4, 8):
        (folder / f"step_{number:09d}.ckpt").touch()
    found = {each.step: each.validation_loss for each in choose(place).candidates}
    assert found == {4: 3.0, 8: None}


# ---- after an early stop


def test_a_run_that_stopped_early_trains_no_more_until_it_is_asked_to(
    start: Start, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.TrainingModule, "evaluate", lambda *_: torch.ones(6, dtype=torch.float64))
    values: dict[str, Any] = {"max_steps": 100, "validate_every": 2, "checkpoint_every": 2}
    first, _ = start(early_stopping=2, **values)
    assert (first.ended_by, first.step) == ("early_stopping", 6)
    again, recorder = start(early_stopping=2, **values)
    assert not recorder.of(Step)
    assert (again.ended_by, again.step, again.checkpoint) == ("early_stopping", 6, first.checkpoint)
    assert any("stopped early at step 6" in event.message for event in recorder.of(Warned))
    asked, recorder = start(early_stopping=3, **values)
    assert [event.step for event in recorder.of(Step)] == [7, 8]
    assert asked.step == 8


# ---- with another batch


def assert_epoch_is_whole(run_state: Any, passes: int) -> None:
    assert run_state.coverage.tolist() == [passes] * len(run_state.coverage)


@pytest.mark.parametrize("changes", [{"batch_tokens": 100}, {"batch_tokens": 256}, {"accumulation": 2}])
def test_a_batch_changed_in_the_midst_of_an_epoch_still_sees_every_clip_once(
    start: Start, changes: dict[str, Any]
) -> None:
    with pytest.raises(StopRequested):
        start(stop_after(1), max_steps=None, epochs=2, max_length=100)
    with pytest.raises(StopRequested):
        start(recorder := stop_after(2), max_steps=None, epochs=2, max_length=100, **changes)
    assert any("an optimizer step takes up to" in event.message for event in recorder.of(Warned))
    result, recorder = start(max_steps=None, epochs=2, max_length=100, **changes)
    assert not any("an optimizer step takes up to" in event.message for event in recorder.of(Warned))
    assert_epoch_is_whole(read_run_state(result.checkpoint), 2)
    assert recorder.of(Step)[-1].step == recorder.of(Step)[0].total_steps == result.step


def test_a_run_with_a_changed_batch_resumes_bit_for_bit(start: Start, tmp_path: Path) -> None:
    values: dict[str, Any] = {"max_steps": None, "epochs": 3, "schedule": "cosine", "max_length": 100}
    for project in ("whole", "stopped"):
        with pytest.raises(StopRequested):
            start(stop_after(2), project=project, **values)
    values |= {"batch_tokens": 100, "accumulation": 2}
    whole, undisturbed = start(project="whole", **values)
    with pytest.raises(StopRequested):
        start(stop_after(3), project="stopped", **values)
    resumed, recorder = start(project="stopped", **values)
    assert [event.loss for event in recorder.of(Step)] == [event.loss for event in undisturbed.of(Step)][1:]
    a, b = weights(whole.checkpoint), weights(resumed.checkpoint)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_batch_that_other_clips_fit_into_is_refused_with_the_reason(start: Start) -> None:
    start(max_steps=2)
    with pytest.raises(TrainingError, match="differs in the data set") as caught:
        start(max_steps=4, batch_tokens=50)
    assert "--batch-tokens: other clips fit into 50 than into the former 128" in caught.value.hint


def test_a_checkpoint_from_before_batches_could_change_is_gone_on_from(start: Start) -> None:
    first, _ = start(max_steps=2)
    content = torch.load(first.checkpoint, weights_only=True)
    content["fishtune"]["identity"]["batch_tokens"] = 128
    for name in ("per_step", "left"):
        del content["fishtune"][name]
    torch.save(content, first.checkpoint)
    _, recorder = start(max_steps=4)
    assert [event.step for event in recorder.of(Step)] == [3, 4]
    assert not any("an optimizer step takes" in event.message for event in recorder.of(Warned))


def make(clips: int, per_step: int, tokens: int = 1024, recut: Recut | None = None) -> Sampler:
    from fishtune.core.stages.train.sampler import References

    table, training = make_table(clips), np.arange(clips)
    return Sampler(table, training, References(table, training, 0.8, 512, 1), tokens, per_step, 1, recut)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("before", "now"), [(1, 2), (4, 1), (2, 16)])
def test_a_falling_learning_rate_goes_on_falling_to_the_end_whatever_a_step_is(
    tmp_path: Path, schedule: str, before: int, now: int
) -> None:
    settings = TrainSettings(
        project="run", results=tmp_path, base=tmp_path, protos=tmp_path, schedule=schedule, warmup_steps=1
    )
    old = make(200, before)
    plan = list(old.steps(Position(), old.end(10)))
    done = len(plan) // 2
    total = len(plan)
    standing = Standing(done, plan[done - 1].end)
    horizon = Horizon.of(10, None, standing, make(200, now), make(200, now))
    assert horizon.total_steps is not None
    left = sum(1 for _ in make(200, now).steps(standing.position, horizon.end))
    assert horizon.total_steps == done + left
    rates = [
        learning_rate(settings, step, horizon.total_steps, horizon.schedule_shift)
        for step in range(done, horizon.total_steps + 1)
    ]
    assert rates[0] == pytest.approx(learning_rate(settings, done, total), rel=0.1)
    assert rates == sorted(rates, reverse=True) and rates[-2] > 0 and rates[-1] == pytest.approx(0)


def test_an_unchanged_run_has_the_very_schedule_it_would_have_had(tmp_path: Path) -> None:
    sampler = make(100, 3)
    plan = list(sampler.steps(Position(), sampler.end(4.5)))
    for done in (1, 7, len(plan) - 1):
        horizon = Horizon.of(4.5, None, Standing(done, plan[done - 1].end), sampler, sampler)
        assert (horizon.total_steps, horizon.schedule_shift) == (len(plan), 0)


@pytest.mark.parametrize("epochs", [2, 2.5, 2.9])
def test_an_epoch_that_was_cut_anew_ends_where_its_share_of_clips_is_done(epochs: float) -> None:
    clips = 120
    old = make(clips, 1)
    coverage = Coverage(np.arange(clips))
    for plan in old.steps(Position(), Position(2, len(old.epoch(2)) // 3)):
        coverage.add(plan.clips)
    left = coverage.counts <= 2
    new = make(clips, 2, tokens=600, recut=Recut(2, left))
    end = new.end(epochs)
    for plan in new.steps(Position(2), end):
        coverage.add(plan.clips)
    done = float((coverage.counts - 2).mean())
    assert done == pytest.approx(max(epochs - 2, 1 - left.mean()), abs=0.05)
    for plan in new.steps(end, Position(3)):
        coverage.add(plan.clips)
    assert coverage.counts.tolist() == [3] * clips
