"""A project that the version before has made is opened, judged, packed, resumed, merged and auditioned."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.cli.app import run as run_command
from fishtune.core.config.presets import user_presets_folder
from fishtune.core.config.project import Project, merge_record_path
from fishtune.core.config.run_files import list_checkpoints
from fishtune.core.config.settings import AuditionSettings, MergeSettings, PackSettings, TrainSettings
from fishtune.core.dataset.journal import copied
from fishtune.core.errors import TrainingError, UsageError
from fishtune.core.events import Step, Warned
from fishtune.core.jobs.again import settings_again
from fishtune.core.jobs.record import JobState, Place, list_jobs
from fishtune.core.judge.record import read_audition
from fishtune.core.pipeline.choice import choose
from fishtune.core.pipeline.status import step_statuses
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.shards.index import ShardIndex
from fishtune.core.shards.manifest import MANIFEST_FILE, is_current, read_manifest
from fishtune.core.shards.wire import ShardWriter, encode_sentence
from fishtune.core.stages.audition import run as audition
from fishtune.core.stages.merge import run as merge
from fishtune.core.stages.pack import run as pack
from fishtune.core.stages.train import run as training
from fishtune.core.stages.train.checkpoints import read_run_state

from .recorder import Recorder
from .training_kit import small_base  # noqa: F401 - a fixture

SAMPLE = Path(__file__).parent / "older_project"
RECORDED, EXTRACTED = 1_790_000_000, 1_790_000_100
SAVED = "step_000000008.ckpt"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The project, in a folder of its own, as if it had been made there; without its base."""
    folder = tmp_path / "voice"
    shutil.copytree(SAMPLE, folder)
    for file in folder.rglob("*"):
        if file.suffix in (".json", ".jsonl", ".txt"):
            file.write_text(file.read_text(encoding="utf-8").replace("@PROJECT@", str(folder)), "utf-8")
    for file in (folder / "data").rglob("*.*"):
        moment = EXTRACTED if file.suffix == ".npy" else RECORDED
        os.utime(file, (moment, moment))
    checkpoint = folder / "results/voice/checkpoints" / SAVED
    record = folder / "results/voice/audition/step_000000008/audition.json"
    moment = json.loads(record.read_text())["checkpoint_modified"]
    os.utime(checkpoint, (moment, moment))
    record.with_name("1.wav").touch()
    preset = user_presets_folder() / "lora/tiny.toml"
    preset.parent.mkdir(parents=True)
    shutil.move(folder / "preset.toml", preset)
    return folder


def checkpoint_of(folder: Path) -> Path:
    return folder / "results/voice/checkpoints" / SAVED


def pack_settings(folder: Path) -> PackSettings:
    return PackSettings(input=folder / "data", output=folder / "data/protos")


# ---- what is only looked at


def test_jobs_are_listed_with_how_they_ended_and_can_be_watched(
    older: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = list_jobs(Place(results=older / "results", project="voice"))
    assert [job.record.stage for job in jobs] == [
        *("loudness-norm", "validate", "extract", "pack", "train", "merge", "audition")
    ]
    states = [job.state() for job in jobs]
    assert states == [JobState.STOPPED if job.record.stage == "train" else JobState.FINISHED for job in jobs]
    settings, repeated = settings_again(next(job for job in jobs if job.record.stage == "train"))
    assert isinstance(settings, TrainSettings)
    assert (settings.project, settings.resume, repeated) == ("voice", "auto", [])
    monkeypatch.chdir(older)
    assert run_command(["attach", "train", "--results", "results"]) in (0, 1)
    assert "held-out at step 8: loss 10.442" in capsys.readouterr().err


def test_its_steps_are_judged_as_they_were(older: Path, small_base: Path) -> None:  # noqa: F811
    shutil.copytree(small_base, older / "checkpoints/base")
    shutil.copytree(small_base, older / "checkpoints/voice-merged")
    project = Project.load(older / "fishtune.toml")
    states = {status.step: status.state for status in step_statuses(project)}
    assert states == {
        StepName.DATASET: StepState.DONE,
        StepName.MODEL: StepState.DONE,
        StepName.EXTRACT: StepState.DONE,
        StepName.PACK: StepState.DONE,
        StepName.TRAIN: StepState.READY,
        StepName.MERGE: StepState.DONE,
    }
    os.utime(older / "data/ann/0.flac", (EXTRACTED + 1, EXTRACTED + 1))
    states = {status.step: status.state for status in step_statuses(project)}
    assert states[StepName.EXTRACT] is StepState.STALE


def test_normalisation_checkpoints_and_audition_are_known(older: Path) -> None:
    found = copied(older / "data")
    assert found is not None
    assert (found.recordings, found.total, found.is_whole) == (10, 10, True)
    (candidate,) = choose(Place(results=older / "results", project="voice")).candidates
    assert candidate.step == 8
    assert candidate.validation_loss == pytest.approx(10.4424, abs=1e-4)
    assert candidate.healthy is False
    result = read_audition(checkpoint_of(older))
    assert result is not None
    assert result.cells[0].audio == "1.wav"


# ---- packed data


def test_packed_data_keeps_its_names_and_is_up_to_date(older: Path) -> None:
    index = ShardIndex.open(older / "data/protos")
    assert [index.name(clip) for clip in (0, 9)] == ["ann/0", "bob/3"]
    assert is_current(pack_settings(older))
    os.utime(older / "data/ann/0.lab", (1, 1))
    assert not is_current(pack_settings(older))


def test_packed_data_is_replaced(older: Path) -> None:
    assert pack.run(pack_settings(older), Recorder()).sentences == 10
    manifest = read_manifest(older / "data/protos")
    assert manifest is not None
    assert manifest.format == 2


def test_what_its_record_does_not_name_is_not_replaced(older: Path) -> None:
    notes = older / "data/protos/fishtune-notes.txt"
    notes.write_text("mine")
    with pytest.raises(UsageError, match=re.escape(notes.name)):
        pack.run(pack_settings(older), Recorder())
    assert notes.read_text() == "mine"


@pytest.mark.parametrize(
    ("part", "damaged"),
    [
        ('"ann/0",', ""),
        ('"00000000.protos":', '"../notes.txt":'),
        ('"00000000.protos":2', '"00000000.protos":3'),
        ('"format":1', '"format":3'),
        ('"source"', '"sauce"'),
    ],
)
def test_a_damaged_record_makes_nothing_ours(older: Path, part: str, damaged: str) -> None:
    record = older / "data/protos" / MANIFEST_FILE
    assert part in record.read_text()
    record.write_text(record.read_text().replace(part, damaged, 1))
    assert read_manifest(record.parent) is None
    with pytest.raises(UsageError, match="damaged or of another version"):
        pack.run(pack_settings(older), Recorder())


# ---- training


@pytest.fixture
def train(older: Path, small_base: Path, monkeypatch: pytest.MonkeyPatch) -> TrainSettings:  # noqa: F811
    """Settings to resume its training with, on a base that counts as its own."""
    identity = read_run_state(checkpoint_of(older)).identity
    monkeypatch.setattr(training, "base_hash", lambda *_: identity.base_sha256)
    job = next(
        job for job in list_jobs(Place(results=older / "results", project="voice")) if "train" in job.id
    )
    settings, _ = settings_again(job)
    return settings.model_copy(update={"base": small_base, "epochs": 3.0, "keep_last": None})


@pytest.mark.parametrize("batch_tokens", [128, 256])
def test_training_resumes_with_the_clips_that_its_epoch_had_not_come_to(
    older: Path, train: TrainSettings, batch_tokens: int
) -> None:
    train = train.model_copy(update={"batch_tokens": batch_tokens})
    stored = read_run_state(checkpoint_of(older))
    assert (stored.epoch, stored.step) == (1, 8)
    assert set(stored.coverage.tolist()) == {1, 2}, "the sample is of the midst of an epoch"
    recorder = Recorder()
    result = training.run(train, recorder)
    (warned,) = [event for event in recorder.of(Warned) if "earlier version" in event.message]
    left = int((stored.coverage == 1).sum())
    assert f"the {left} clips that epoch 2 had not come to" in warned.message
    assert "once per epoch" in warned.hint
    assert recorder.of(Step)[0].step == 9
    # Every clip exactly once in each of three epochs, whatever its number was.
    final = read_run_state(result.checkpoint)
    assert set(final.coverage.tolist()) == {3}
    assert final.clip_passes == 3
    # The next start needs no translation any more.
    again = Recorder()
    training.run(train.model_copy(update={"epochs": 4.0}), again)
    assert not [event for event in again.of(Warned) if "earlier version" in event.message]


def test_passes_are_those_of_the_same_clips_under_todays_numbers(older: Path, train: TrainSettings) -> None:
    stored = read_run_state(checkpoint_of(older))
    started = training._Run(train, training.find_ranks(train), Recorder())
    index = started.data.source.index
    hashes = index.content_hashes
    places = started.data.source.places[started.data.split.training]
    assert not np.array_equal(places, np.sort(places)), "numbers by content and by place differ"
    # Then, training clips were in the order of their places.
    then = dict(zip(hashes[np.sort(places)].tolist(), stored.coverage.tolist(), strict=True))
    assert started.state is not None
    now = dict(zip(hashes[places].tolist(), started.state.coverage.tolist(), strict=True))
    assert now == then
    assert started.standing.recut is not None
    assert started.standing.recut.left.sum() == (stored.coverage == 1).sum()


def test_where_the_shards_have_another_order_the_epoch_begins_again_and_says_so(
    older: Path, train: TrainSettings
) -> None:
    index = ShardIndex.open(train.protos)
    sentences = [
        (index.speakers[index.speaker_ids[clip]], index.read(clip)) for clip in reversed(range(len(index)))
    ]
    shutil.rmtree(train.protos)
    train.protos.mkdir()
    with ShardWriter(train.protos) as writer:
        for speaker, sentence in sentences:
            writer.add(speaker, encode_sentence(sentence))
    recorder = Recorder()
    result = training.run(train.model_copy(update={"epochs": 2.0}), recorder)
    (warned,) = [event for event in recorder.of(Warned) if "earlier version" in event.message]
    assert "that epoch begins again" in warned.message
    assert set(read_run_state(result.checkpoint).coverage.tolist()) == {2}


def test_other_clips_are_still_refused(older: Path, train: TrainSettings) -> None:
    (older / "data/ann/0.npy").unlink()
    settings = pack_settings(older)
    pack.run(settings, Recorder())
    with pytest.raises(TrainingError, match="differs in the data set"):
        training.run(train, Recorder())
    assert [path.name for path in list_checkpoints(older / "results/voice")] == [SAVED]


def test_a_held_out_loss_of_another_step_is_not_the_checkpoints_own(older: Path) -> None:
    state = read_run_state(checkpoint_of(older))
    assert state.own_validation_loss == state.validation_loss
    # Stopped two steps later, it noted the same one.
    assert state.model_copy(update={"step": 10}).own_validation_loss is None
    events = next((older / "results/voice/jobs").glob("*train")) / "events.jsonl"
    text = events.read_text()
    validation = next(line for line in text.splitlines() if '"validation","step":8' in line)
    events.write_text(text.replace(validation, validation.replace('"step":8', '"step":6')))
    (candidate,) = choose(Place(results=older / "results", project="voice")).candidates
    assert candidate.validation_loss is None


# ---- merging and listening


def test_its_merged_model_is_replaced_also_after_the_project_was_moved(
    older: Path,
    small_base: Path,  # noqa: F811
) -> None:
    base, output = older / "checkpoints/base", older / "checkpoints/voice-merged"
    shutil.copytree(small_base, base)
    settings = MergeSettings(base_weight=base, lora_weight=checkpoint_of(older), output=output)
    record = merge_record_path(output)
    older_record = json.loads(record.read_text())
    record.unlink()
    merge.run(settings, Recorder())
    older_record["merged"]["sha256"] = json.loads(record.read_text())["merged"]["sha256"]
    assert not Path(older_record["base"]["path"]).is_dir(), "relative to a folder of then"
    record.write_text(json.dumps(older_record))
    again = settings.model_copy(update={"overwrite": True})
    (output / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        merge.run(again, Recorder())
    (output / "notes.txt").unlink()
    merge.run(again, Recorder())
    assert "files" in json.loads(record.read_text())


def test_its_checkpoint_is_auditioned_again(older: Path, small_base: Path) -> None:  # noqa: F811
    settings = AuditionSettings(
        checkpoint=checkpoint_of(older), base_weight=small_base, texts=["One more."], device="cpu"
    )
    audition.run(settings, Recorder())
    result = read_audition(checkpoint_of(older))
    assert result is not None
    assert result.files
