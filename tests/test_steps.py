"""The six steps of a project: what is up to date, what a chain does, which checkpoint it merges."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fishtune.core.cli import app
from fishtune.core.cli.running import default_place, places_here
from fishtune.core.codec.config import codec_config, codec_identity
from fishtune.core.config.project import Project
from fishtune.core.config.recent import recent_projects, remember_project
from fishtune.core.config.settings import LoudnessNormSettings, MergeSettings, ValidateSettings
from fishtune.core.config.strict import Table
from fishtune.core.dataset import layout
from fishtune.core.dataset.codes import codes_digest, read_codes
from fishtune.core.dataset.headers import whole_codes_shape
from fishtune.core.dataset.journal import JOURNAL_FILE, copied
from fishtune.core.dataset.layout import scan
from fishtune.core.dataset.origins import FileState, Origin, append_origins, content_digest
from fishtune.core.errors import (
    DataError,
    DeviceError,
    DeviceMemoryError,
    FishtuneError,
    JobError,
    StorageError,
    UsageError,
)
from fishtune.core.events import (
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Reporter,
    Started,
    Stopped,
    Validation,
    Warned,
)
from fishtune.core.jobs import follow
from fishtune.core.jobs.failures import explain
from fishtune.core.jobs.record import Job, Place, list_jobs
from fishtune.core.jobs.start import new_job
from fishtune.core.jobs.writer import EventWriter, JobReporter
from fishtune.core.judge.selection import Candidate, recommend
from fishtune.core.pipeline import chain, seen
from fishtune.core.pipeline.chain import RunSettings, place_of, run, step_settings
from fishtune.core.pipeline.choice import choose
from fishtune.core.pipeline.status import step_status, step_statuses
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.shards.index import ShardIndex
from fishtune.core.stages.pack.run import run as pack
from fishtune.core.stages.registry import STAGES, StageName, load_attribute
from fishtune.core.stages.validate.run import run as validate

COMMAND = [sys.executable, "-P", "-m", "fishtune.core.cli"]


@pytest.fixture
def project(tmp_path: Path, golden: Path) -> Project:
    """A project with two speakers' recordings (in name only), transcripts and codes."""
    shutil.copytree(golden / "data", tmp_path / "data")
    for codes in (tmp_path / "data").glob("*/*.npy"):
        audio = codes.with_suffix(".wav")
        audio.write_bytes(b"RIFF")
        os.utime(audio, ns=(1, 1))
    (tmp_path / "fishtune.toml").write_text('name = "yoona"\n[model]\nname = "tiny"\npath = "base"\n')
    return Project.load(tmp_path)


def _states(project: Project) -> dict[str, str]:
    return {status.step.value: status.state.value for status in step_statuses(project)}


def _end_job(project: Project, settings: Table, stage: StageName, event: Event) -> None:
    """Leave a job behind that ended with `event`."""
    with new_job(stage, settings, place_of(project)) as (job, _):
        writer = EventWriter(job.events_path)
        writer.write(Started(stage=stage))
        writer.write(event)
        writer.close()


def test_an_empty_project_waits_for_recordings_and_a_model(tmp_path: Path) -> None:
    project = Project.create(tmp_path, "yoona")
    assert _states(project) == {
        "dataset": "ready",
        "model": "ready",
        "extract": "locked",
        "pack": "locked",
        "train": "locked",
        "merge": "locked",
    }
    assert step_status(project, StepName.EXTRACT).why == "It waits for recordings (Dataset)."


def test_a_base_model_that_is_not_there_is_told_from_one_that_lacks_files(tmp_path: Path) -> None:
    project = Project.create(tmp_path, "yoona")
    assert step_status(project, StepName.MODEL).why == f"There is no base model yet in {project.base}."
    project.base.mkdir(parents=True)
    assert str(step_status(project, StepName.MODEL).why).startswith(f"{project.base} lacks config.json, ")


def test_codes_count_when_they_are_whole_and_newer_than_their_recording(project: Project) -> None:
    assert step_status(project, StepName.EXTRACT).state is StepState.DONE
    codes = sorted(project.data.glob("*/*.npy"))
    whole = codes[0].read_bytes()
    codes[0].write_bytes(whole[:-8])
    (project.base).mkdir()
    (project.base / "codec.pth").touch()
    status = step_status(project, StepName.EXTRACT)
    assert (status.state, status.why) == (StepState.READY, "2 of 3 recordings have codes.")
    codes[0].write_bytes(whole)
    later = codes[0].stat().st_mtime_ns + 10**9
    os.utime(codes[0].with_suffix(".wav"), ns=(later, later))
    status = step_status(project, StepName.EXTRACT)
    assert (status.state, status.why) == (StepState.STALE, "1 of 3 recordings changed after extraction.")


def test_recordings_count_as_checked_by_a_validation_of_this_folder_as_it_is(
    project: Project,
) -> None:
    assert step_status(project, StepName.DATASET).why == "3 clips of 2 speakers, not checked yet."
    _end_job(project, ValidateSettings(data=project.folder / "raw"), StageName.VALIDATE, Finished())
    assert step_status(project, StepName.DATASET).state is StepState.READY
    _end_job(project, ValidateSettings(data=project.data), StageName.VALIDATE, Finished())
    assert step_status(project, StepName.DATASET).state is StepState.DONE
    later = time.time() + 5
    os.utime(next(project.data.glob("*/*.lab")), (later, later))
    assert step_status(project, StepName.DATASET).state is StepState.STALE


def test_steps_are_judged_again_without_reading_a_long_result_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = validate(ValidateSettings(data=project.data), Reporter())
    _end_job(
        project,
        ValidateSettings(data=project.data),
        StageName.VALIDATE,
        Finished(summary=report.model_dump(mode="json")),
    )
    first = [(status.step, status.state, status.why) for status in step_statuses(project)]
    assert (first[0][1], first[0][2]) == ("done", "All 3 clips will be used.")
    monkeypatch.setattr(follow, "decode_event", None)
    assert [(status.step, status.state, status.why) for status in step_statuses(project)] == first


def test_a_look_at_a_project_lists_its_data_and_compares_its_files_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = project.data
    pack(project.pack_settings(), Reporter())
    project.dataset.exclude = [scan(data).clips[0].key]
    report = validate(ValidateSettings(data=data, exclude=project.dataset.exclude), Reporter())
    summary = report.model_dump(mode="json")
    _end_job(project, ValidateSettings(data=data), StageName.VALIDATE, Finished(summary=summary))
    asked: list[object] = []

    def count(module: ModuleType, name: str) -> None:
        known = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: asked.append(name) or known(*given))

    count(layout, "list_root")
    count(seen, "inputs_digest")
    states = {status.step: status.state for status in step_statuses(project)}
    assert (states["dataset"], states["pack"]) == ("done", "stale")  # what is left out changed after packing
    assert sorted(map(str, asked)) == ["inputs_digest", "list_root"]


def test_recordings_of_the_future_are_checked_once(project: Project) -> None:
    future = time.time() + 10**8
    for path in [*project.data.glob("*/*.wav"), *project.data.glob("*/*.lab")]:
        os.utime(path, (future, future))
    settings = ValidateSettings(data=project.data)
    summary = validate(settings, Reporter()).model_dump(mode="json")
    _end_job(project, settings, StageName.VALIDATE, Finished(summary=summary))
    assert step_status(project, StepName.DATASET).state is StepState.DONE
    project.dataset.exclude = ["SPK2/38.79-40.85"]
    assert step_status(project, StepName.DATASET).state is StepState.DONE
    next(project.data.glob("SPK1/*.lab")).write_text("Another.", encoding="utf-8")
    assert step_status(project, StepName.DATASET).state is StepState.STALE


def _remember(project: Project) -> None:
    """Write what extraction remembers of the project's codes."""
    for codes in project.data.glob("*/*.npy"):
        audio = codes.with_suffix(".wav")
        origin = Origin(FileState.of(audio), content_digest(audio), codes_digest(read_codes(codes)))
        append_origins(codes.parent, [(codes.name, origin)])


def test_codes_of_a_copied_or_wrongly_dated_project_are_up_to_date(project: Project, tmp_path: Path) -> None:
    _remember(project)
    for moment in (2000, time.time() + 10**8):
        for path in project.data.glob("*/*"):
            os.utime(path, (1000, 1000) if path.suffix == ".npy" else (moment, moment))
        assert step_status(project, StepName.EXTRACT).state is StepState.DONE
    audio = next(project.data.glob("SPK1/*.wav"))
    audio.write_bytes(b"FFIR")
    os.utime(audio, (1, 1))
    (project.base).mkdir()
    (project.base / "codec.pth").touch()
    status = step_status(project, StepName.EXTRACT)
    assert (status.state, status.why) == (StepState.STALE, "1 of 3 recordings changed after extraction.")


def test_the_chain_stops_where_much_fewer_clips_would_be_packed(project: Project) -> None:
    pack(project.pack_settings(), Reporter())
    for audio in project.data.glob("SPK1/*"):
        audio.unlink()
    with pytest.raises(UsageError, match="hold 3 clips, but .* now has 1, so the old ones were kept"):
        run(RunSettings(project=project.file, start=StepName.PACK), Reporter())
    assert len(ShardIndex.open(project.protos)) == 3
    pack(project.pack_settings().model_copy(update={"allow_fewer": True}), Reporter())
    assert step_status(project, StepName.PACK).state is StepState.DONE


def test_packed_data_are_stale_when_a_transcript_or_a_choice_changes(project: Project) -> None:
    assert step_status(project, StepName.PACK).state is StepState.READY
    pack(project.pack_settings(), Reporter())
    assert step_status(project, StepName.PACK).state is StepState.DONE
    project.dataset.exclude = ["SPK2/38.79-40.85"]
    assert step_status(project, StepName.PACK).state is StepState.STALE
    project.dataset.exclude = []
    assert step_status(project, StepName.PACK).state is StepState.DONE
    next(project.data.glob("SPK1/*.lab")).write_text("Something else.", encoding="utf-8")
    assert step_status(project, StepName.PACK).state is StepState.STALE


def _checkpoint(project: Project, step: int) -> Path:
    path = project.run_folder / "checkpoints" / f"step_{step:09}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * step)
    return path


def _model(project: Project) -> None:
    project.base.mkdir()
    for name in ("config.json", "model.pth", "codec.pth", "tokenizer.tiktoken"):
        (project.base / name).touch()


def test_training_is_done_at_its_limit_and_stale_when_the_data_changed(project: Project) -> None:
    pack(project.pack_settings(), Reporter())
    assert step_status(project, StepName.TRAIN).why == "It waits for the base model (Model)."
    _model(project)
    assert step_status(project, StepName.TRAIN).state is StepState.READY
    project.train.max_steps = 20
    _checkpoint(project, 10)
    status = step_status(project, StepName.TRAIN)
    assert (status.state, status.why) == (StepState.READY, "Trained 10 of 20 steps; it continues from there.")
    _checkpoint(project, 20)
    assert step_status(project, StepName.TRAIN).state is StepState.DONE
    later = _checkpoint(project, 20).stat().st_mtime + 5
    for shard in project.protos.glob("*.protos"):
        os.utime(shard, (later, later))
    assert step_status(project, StepName.TRAIN).state is StepState.STALE


def test_a_failed_job_marks_its_step_until_it_is_done(project: Project) -> None:
    failed = Failed(error="DataError", message="None can be packed.")
    elsewhere = project.pack_settings().model_copy(update={"output": project.folder / "other"})
    _end_job(project, elsewhere, StageName.PACK, failed)
    assert step_status(project, StepName.PACK).state is StepState.READY
    _end_job(project, project.pack_settings(), StageName.PACK, failed)
    status = step_status(project, StepName.PACK)
    assert (status.state, status.why) == (StepState.FAILED, "None can be packed.")
    pack(project.pack_settings(), Reporter())
    assert step_status(project, StepName.PACK).state is StepState.DONE


def test_checkpoints_carry_what_training_said_of_them_and_the_chain_merges_the_recommended_one(
    project: Project,
) -> None:
    for step in (10, 20, 30):
        _checkpoint(project, step)
    with new_job(StageName.TRAIN, _train_settings(project), place_of(project)) as (job, _):
        writer = EventWriter(job.events_path)
        for step, loss in ((10, 4.5), (20, 4.01), (30, 4.0), (40, 3.0)):
            writer.write(
                Validation(
                    step=step,
                    clip_passes=step / 5,
                    loss=loss,
                    base_loss=2,
                    semantic_loss=2,
                    top_5_accuracy=0.5,
                )
            )
            writer.write(
                CheckpointSaved(step=step, path="x", bytes=7, clip_passes=step / 5, validation_loss=loss)
            )
        writer.write(Finished())
        writer.close()
    candidates = choose(place_of(project)).candidates
    assert [(entry.step, entry.validation_loss, entry.clip_passes) for entry in candidates] == [
        (10, 4.5, 2.0),
        (20, 4.01, 4.0),
        (30, 4.0, 6.0),
    ]
    settings = step_settings(project, StepName.MERGE)
    assert isinstance(settings, MergeSettings)
    assert settings.lora_weight == candidates[1].path
    project.merge.checkpoint = "results/yoona/checkpoints/step_000000010.ckpt"
    settings = step_settings(project, StepName.MERGE)
    assert isinstance(settings, MergeSettings)
    assert settings.lora_weight == candidates[0].path


def _train_settings(project: Project) -> Any:
    return project.train_settings()


def test_merging_is_stale_when_another_checkpoint_is_chosen_or_newer(project: Project) -> None:
    merged = _checkpoint(project, 10)
    assert step_status(project, StepName.MERGE).state is StepState.READY
    project.merged.mkdir(parents=True)
    record = project.merged.with_name("yoona-merged.fishtune.json")
    record.write_text(json.dumps({"adapter": {"path": str(merged)}}), encoding="utf-8")
    assert step_status(project, StepName.MERGE).state is StepState.DONE
    project.merge.checkpoint = "results/yoona/checkpoints/step_000000020.ckpt"
    assert step_status(project, StepName.MERGE).state is StepState.STALE
    project.merge.checkpoint = None
    later = record.stat().st_mtime + 5
    os.utime(_checkpoint(project, 20), (later, later))
    assert step_status(project, StepName.MERGE).state is StepState.STALE


def test_merging_is_stale_at_another_strength_than_the_project_names(project: Project) -> None:
    merged = _checkpoint(project, 10)
    project.merged.mkdir(parents=True)
    record = project.merged.with_name("yoona-merged.fishtune.json")
    content = {"adapter": {"path": str(merged)}, "settings": {"strength": 0.8}}
    record.write_text(json.dumps(content), encoding="utf-8")
    assert step_status(project, StepName.MERGE).state is StepState.DONE, "the project names none"
    project.merge.strength = 1.0
    status = step_status(project, StepName.MERGE)
    assert status.state is StepState.STALE
    assert status.why.endswith("was merged at strength 0.8, not at 1.")
    assert step_settings(project, StepName.MERGE).model_dump()["strength"] == 1
    project.merge.strength = 0.8
    assert step_status(project, StepName.MERGE).state is StepState.DONE


def _candidate(step: int, loss: float | None, healthy: bool | None = None) -> Candidate:
    return Candidate(step=step, path=Path(f"step_{step}"), validation_loss=loss, healthy=healthy)


@pytest.mark.parametrize(
    ("candidates", "step", "reason"),
    [
        ([(1, 5.0), (2, 4.0), (3, 4.5)], 2, "lowest held-out loss, 4.000"),
        (
            [(3, 4.0), (1, 5.0), (2, 4.03)],
            2,
            "earliest whose held-out loss, 4.030, is within 1%",
        ),
        ([(1, None), (2, None)], 2, "the last one; no held-out loss"),
        ([(1, 4.0, False), (2, 4.5, True), (3, 4.49, None)], 2, "earliest whose held-out loss"),
        ([(1, 4.0, False), (2, 4.5, False)], 1, "None of the checkpoints generates sound speech"),
    ],
)
def test_the_recommended_checkpoint_is_the_earliest_within_reach_that_is_healthy(
    candidates: list[tuple[Any, ...]], step: int, reason: str
) -> None:
    recommendation = recommend([_candidate(*values) for values in candidates])
    assert recommendation is not None
    assert recommendation.candidate.step == step
    assert reason in recommendation.reason


def test_without_checkpoints_nothing_is_recommended() -> None:
    assert recommend([]) is None


@pytest.mark.parametrize("dtype", ["<i8", "<i4", "|u1", ">i2"])
def test_a_header_tells_shape_and_wholeness_as_numpy_wrote_it(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((10, 37), dtype=dtype))
    assert whole_codes_shape(path) == (10, 37)
    whole = path.read_bytes()
    for broken in (
        whole[:-1],
        whole + b"x",
        whole[:60],
        b"",
        b"\x93NUMPY",
        whole.replace(b"shape", b"shope"),
    ):
        path.write_bytes(broken)
        assert whole_codes_shape(path) is None
    for other in (
        np.zeros((10, 3), "f4"),
        np.zeros(7, "i8"),
        np.zeros((10, 0), "i8"),
        np.zeros((2, 3, 4), "i8"),
    ):
        np.save(path, other)
        assert whole_codes_shape(path) is None


def test_the_chain_does_what_is_not_up_to_date_and_ends_at_the_first_failure(project: Project) -> None:
    """Real jobs: validate and pack; the base model is missing and no hub knows it."""
    command = [*COMMAND, "run", str(project.file)]
    first = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.folder)
    assert first.returncode == 2 or first.returncode == 1
    assert "dataset: 3 clips of 2 speakers, not checked yet. Started job" in first.stderr
    assert "error: There is no model preset 'tiny'" in first.stderr
    jobs = {job.record.stage: str(job.state()) for job in list_jobs(place_of(project))}
    assert jobs == {"run": "failed", "validate": "finished", "download": "failed"}
    plan = subprocess.run(
        [*command, "--from", "pack", "--dry-run", "--json"], capture_output=True, check=True
    )
    assert [entry["runs"] for entry in json.loads(plan.stdout)] == [False, False, False, True, True, True]
    events: list[Event] = []
    with pytest.raises(JobError, match=r"Train cannot begin\. It waits for the base model"):
        run(RunSettings(project=project.file, start=StepName.PACK), JobReporter(None, [events.append]))
    assert step_status(project, StepName.PACK).state is StepState.DONE
    assert {job.record.stage for job in list_jobs(place_of(project))} == {*jobs, "pack"}


def test_the_chain_says_what_the_check_found_each_time_and_carries_the_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = project.data / "SPK1" / "day" / "take" / "x.wav"
    deep.parent.mkdir(parents=True)
    deep.write_bytes(b"")
    next(project.data.glob("*/*.lab")).unlink()
    monkeypatch.setattr(chain, "steps_from", lambda _: [StepName.DATASET, StepName.PACK])
    for _ in range(2):
        events: list[Event] = []
        result = run(RunSettings(project=project.file), JobReporter(None, [events.append]))
        said = next(event for event in events if isinstance(event, Warned))
        assert said.message.startswith(
            f"{project.data}: 2 of 3 clips will be used: 1 without text. Errors: 4, warnings: 2."
        )
        assert said.hint == f"All of them: fishtune validate {shlex.quote(str(project.data))}"
        assert [(step.step, step.errors, step.warnings) for step in result.steps] == [
            (StepName.DATASET, 4, 2),
            (StepName.PACK, 2, 0),  # the clip without a transcript, and what lies too deep
        ]
    assert [step.job for step in result.steps] == [None, None]


def test_the_chain_stops_where_no_clip_can_be_used(project: Project) -> None:
    for text in project.data.glob("*/*.lab"):
        text.rename(text.with_suffix(".txt"))
    for _ in range(2):  # also where the check is up to date
        with pytest.raises(DataError, match=r"No clip in .* can be used \(errors: 6\)\.") as caught:
            run(RunSettings(project=project.file), Reporter())
        assert "--text-extension .txt (text_extension in [pack] of fishtune.toml)" in caught.value.hint
    assert {job.record.stage for job in list_jobs(place_of(project))} == {"validate"}


def test_init_writes_only_what_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.run(["init", "yoona", "--data", "yoona/speech", "--model", "elsewhere/base"]) == 0
    project = Project.load(tmp_path / "yoona")
    assert (project.name, project.data) == ("yoona", tmp_path / "yoona" / "speech")
    assert project.base == tmp_path / "elsewhere" / "base"
    assert project.dataset.path == Path("speech")
    assert app.run(["init", "yoona"]) == 2
    assert "fishtune.toml exists already." in capsys.readouterr().err
    assert app.run(["init", "mina", "--lora-config", "r_99"]) == 2
    assert not (tmp_path / "mina").exists()


def test_jobs_belong_to_the_project_around_the_folder_or_to_the_folder_itself(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project.data)
    assert default_place() == place_of(project) == Place(results=project.results, project="yoona")
    assert default_place(project.train_settings()) == place_of(project)
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    monkeypatch.chdir(outside)
    place = default_place()
    assert place.project.startswith("outside-")
    assert not place.folder.is_relative_to(outside)
    (outside / "results" / "mina" / "jobs").mkdir(parents=True)
    assert places_here() == [Place(results=outside / "results", project="mina"), place]


def test_used_projects_are_remembered_last_used_first(tmp_path: Path) -> None:
    for name in ("a", "b", "gone"):
        (tmp_path / "results" / name).mkdir(parents=True)
        remember_project(tmp_path / "results", name)
    (tmp_path / "results" / "gone").rmdir()
    remember_project(tmp_path / "results", "a")
    assert [entry.project for entry in recent_projects()] == ["a", "b"]


def test_every_exception_becomes_a_message_and_a_hint() -> None:
    import torch

    kept = DataError("x.wav is silent.", "Record it again.")
    assert explain(kept) is kept
    cases: list[tuple[BaseException, type[FishtuneError], str]] = [
        (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB\nmore"), DeviceMemoryError, "Tried 2 GiB"),
        (MemoryError(), DeviceMemoryError, "The machine ran out of memory."),
        (
            OSError(errno.ENOSPC, "No space left on device", "/d/x.npy"),
            StorageError,
            "The disk is full: /d/x.npy",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "/d/data"), StorageError, "is gone: /d/data"),
        (RuntimeError("Found no NVIDIA driver on your system."), DeviceError, "The GPU cannot be used"),
        (AssertionError("Torch not compiled with CUDA enabled"), DeviceError, "The GPU cannot be used"),
        (KeyError("codes"), FishtuneError, "unexpected KeyError: 'codes'"),
    ]
    for error, kind, part in cases:
        explained = explain(error)
        assert type(explained) is kind
        assert part in explained.message
        assert explained.hint


def test_every_stage_names_a_settings_model_an_engine_and_a_field_that_exist() -> None:
    for stage in STAGES.values():
        model = stage.settings_model()
        assert issubclass(model, Table)
        assert callable(load_attribute(stage.engine))
        assert not stage.writes or stage.writes in model.model_fields


def _benchmark() -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / "kill_anywhere.py"
    spec = importlib.util.spec_from_file_location("kill_anywhere", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill_anywhere"] = module
    spec.loader.exec_module(module)
    return module


def test_killed_three_times_extraction_and_packing_make_the_files_of_a_whole_run(
    tmp_path: Path,
) -> None:
    kills = _benchmark()
    inputs = tmp_path / "inputs"
    kills.write_inputs(inputs, speakers=2, clips=3)
    for stage, times in zip(kills.STAGES, (1, 2), strict=False):
        test = kills.KillTest(stage, inputs, tmp_path, seed=3)
        made = test.undisturbed()
        assert test.kill_and_resume(kills=times) == []
        inputs = made


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("numpy failed.\n\nOriginal error was: libopenblas.so: failed to map segment"),
        OSError("/lib/libtorch_global_deps.so: cannot allocate memory"),
    ],
)
def test_a_library_that_cannot_be_mapped_is_want_of_memory(error: Exception) -> None:
    explained = explain(error, "train")
    assert type(explained) is DeviceMemoryError
    assert "not enough memory to load a library" in explained.message and ".so" in explained.message
    assert "ulimit -v" in explained.hint


def test_a_library_that_does_not_fit_the_system_is_no_bug_but_our_own_imports_are() -> None:
    explained = explain(ImportError("libcudart.so.12: cannot open shared object file: No such file"))
    assert type(explained) is DeviceError and "fishtune doctor" in explained.hint
    assert "bug in fishtune" in explain(ImportError("cannot import name 'x' from 'fishtune.core'")).hint


def test_torch_is_mapped_in_vain_by_a_stage_and_the_job_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "dual_ar"}')
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from fishtune.core.jobs.start import new_job; from fishtune.core.jobs.execute import run_job\n"
        "from fishtune.core.jobs.record import Place\n"
        "from fishtune.core.config.settings import MergeSettings\n"
        "from fishtune.core.errors import FishtuneError\n"
        f"here = Path({str(tmp_path)!r})\n"
        "settings = MergeSettings(base_weight=here, lora_weight=here, output=here / 'out')\n"
        "with new_job('merge', settings, Place(results=here, project='x')) as (job, locks):\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "    try: run_job(job, locks, redirect=True)\n"
        "    except FishtuneError as error: print(type(error).__name__, error.message)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("DeviceMemoryError There is not enough memory to load a library: lib"), done


def test_advice_on_memory_names_only_settings_that_the_stage_has() -> None:
    import torch

    for error in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), OSError(errno.ENOMEM, "x")):
        for name, stage in STAGES.items():
            explained = explain(error, name)
            assert type(explained) is DeviceMemoryError
            named = re.findall(r"--([a-z-]+)", explained.hint)
            fields = {field.replace("_", "-") for field in stage.settings_model().model_fields}
            assert set(named) <= fields, name


# done is what is whole and can be used


def _copy(project: Project, done: int, total: int, **last: Any) -> None:
    """Leave the journal of a normalisation into the data set that has made `done` of `total` recordings."""
    lines = [{"file": f"SPK1/{number}.wav"} for number in range(total)]
    lines += [{"file": f"SPK1/{number}.wav", "written": [1, 1]} for number in range(done)]
    lines += [{"file": f"SPK1/{number}.wav", **last} for number in range(done, total) if last]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (project.data / JOURNAL_FILE).write_text(text + '{"file": "SPK1/torn', encoding="utf-8")


def test_a_data_set_whose_normalisation_was_stopped_is_unfinished_until_it_is_whole(project: Project) -> None:
    _copy(project, 10, 24)
    _end_job(project, ValidateSettings(data=project.data), StageName.VALIDATE, Finished())
    status = step_status(project, StepName.DATASET)
    assert status.state is StepState.UNFINISHED
    assert status.why.endswith(": 10 of 24 recordings are there.")
    settings = LoudnessNormSettings(source=project.folder / "raw", target=project.data)
    _end_job(project, settings, StageName.LOUDNESS_NORM, Stopped())
    assert step_status(project, StepName.DATASET).state is StepState.UNFINISHED
    with pytest.raises(JobError, match="10 of 24 recordings are there") as caught:
        run(RunSettings(project=project.file), Reporter())
    assert "fishtune loudness-norm" in caught.value.hint
    _end_job(project, settings, StageName.LOUDNESS_NORM, Finished())
    assert step_status(project, StepName.DATASET).state is StepState.DONE


def test_recordings_that_no_normalisation_can_read_leave_nothing_unfinished(project: Project) -> None:
    _copy(project, 22, 24, failed=True)
    _end_job(project, ValidateSettings(data=project.data), StageName.VALIDATE, Finished())
    assert step_status(project, StepName.DATASET).state is StepState.DONE


@pytest.mark.parametrize("content", ["", "[" * 100_000, "null\n3\n{}\n", "\0\xff"])
def test_a_damaged_journal_is_none(project: Project, content: str) -> None:
    (project.data / JOURNAL_FILE).write_bytes(content.encode("latin-1"))
    found = copied(project.data)
    assert found is None or found.total == 0


def test_recordings_of_which_none_can_be_used_are_not_done(project: Project) -> None:
    audio = sorted(project.data.glob("*/*.wav"))

    def check(bad: list[Path]) -> None:
        for path in audio:
            path.with_suffix(".lab").write_text("" if path in bad else "Words.", encoding="utf-8")
        summary = validate(ValidateSettings(data=project.data), Reporter()).model_dump(mode="json")
        settings = ValidateSettings(data=project.data)
        _end_job(project, settings, StageName.VALIDATE, Finished(summary=summary))

    check(audio[1:])
    assert step_status(project, StepName.DATASET).state is StepState.DONE
    check(audio)
    status = step_status(project, StepName.DATASET)
    assert status.state is StepState.FAILED and status.why.startswith(
        "None of 3 clips can be used: 3 with an empty text."
    )


def test_an_extraction_is_not_done_when_its_codes_were_removed(project: Project) -> None:
    project.base.mkdir()
    (project.base / "codec.pth").touch()
    codes = sorted(project.data.glob("*/*.npy"))
    failed = [{"clip": "SPK1/x", "message": "No.", "hint": ""}]
    _end_job(project, project.extract_settings(), StageName.EXTRACT, Finished(summary={"failed": failed}))
    codes[0].unlink()
    assert step_status(project, StepName.EXTRACT).state is StepState.DONE
    codes[1].unlink()
    status = step_status(project, StepName.EXTRACT)
    assert (status.state, status.why) == (StepState.READY, "1 of 3 recordings have codes.")
    codes[2].unlink()
    assert step_status(project, StepName.EXTRACT).state is StepState.READY


def test_codes_of_another_codec_are_made_anew_and_do_not_count_as_there(
    project: Project, golden: Path, tmp_path: Path
) -> None:
    shutil.copytree(golden / "base", project.base)
    settings = project.extract_settings()
    identity = codec_identity(settings.checkpoint_path, codec_config(settings.checkpoint_path, ""))
    every = sorted(project.data.glob("*/*.npy"))
    for codes, codec in zip(every, (identity, "another", ""), strict=True):
        audio = codes.with_suffix(".wav")
        origin = Origin(FileState.of(audio), content_digest(audio), codes_digest(read_codes(codes)), codec)
        append_origins(codes.parent, [(codes.name, origin)])
    status = step_status(project, StepName.EXTRACT)
    said = "The codes of 1 of 3 recordings are of another codec."
    assert (status.state, status.why) == (StepState.STALE, said)
    every[1].unlink()
    assert step_status(project, StepName.EXTRACT).why == "2 of 3 recordings have codes."
    (project.base / "codec.pth").unlink()
    assert "codec.pth" in str(step_status(project, StepName.EXTRACT).why)


def test_codes_with_another_number_of_codebooks_do_not_count(project: Project, golden: Path) -> None:
    shutil.copytree(golden / "base", project.base)
    assert step_status(project, StepName.EXTRACT).state is StepState.DONE
    np.save(sorted(project.data.glob("*/*.npy"))[0], np.zeros((9, 20), np.int64))
    assert step_status(project, StepName.EXTRACT).why == "2 of 3 recordings have codes."


def test_settings_that_fit_nothing_are_said_by_their_step_and_the_others_are_judged(project: Project) -> None:
    pack(project.pack_settings(), Reporter())
    _model(project)
    _checkpoint(project, 10)
    project.train.lora_config = "nobodys"
    states = _states(project)
    assert states["train"] == "failed" and states["pack"] == "done"
    assert "nobodys" in step_status(project, StepName.TRAIN).why


def _chain_of_the_merge(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[Event]]:
    """Run the last step of the chain on stubs; return the stages that were started, and what was said."""
    started: list[str] = []
    events: list[Event] = []

    def start(stage: StageName, settings: Table, place: Place) -> Job:
        started.append(f"{stage} {getattr(settings, 'checkpoint', None) or settings.lora_weight.name}")
        with new_job(stage, settings, place) as (job, _):
            writer = EventWriter(job.events_path)
            writer.write(Finished())
            writer.close()
            return job

    def see_through(job: Job, reporter: Reporter) -> None:
        if job.record.stage == StageName.AUDITION and "broken" in job.record.project:
            raise DataError("No shards.", "Pack again.")

    monkeypatch.setattr(chain, "can_listen", lambda: True)
    monkeypatch.setattr(chain, "start_job", start)
    monkeypatch.setattr(chain, "_see_through", see_through)
    run(RunSettings(project=project.file, start=StepName.MERGE), JobReporter(None, [events.append]))
    return started, events


def test_the_chain_listens_to_the_checkpoints_before_it_merges_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    _checkpoint(project, 10)
    started, _ = _chain_of_the_merge(project, monkeypatch)
    assert started == [f"audition {project.run_folder}", "merge step_000000010.ckpt"]
    project.merge.audition = False
    project.save()
    assert _chain_of_the_merge(project, monkeypatch)[0] == ["merge step_000000010.ckpt"]
    project.merge.audition, project.merge.checkpoint = True, "results/yoona/checkpoints/step_000000010.ckpt"
    project.save()
    assert _chain_of_the_merge(project, monkeypatch)[0] == ["merge step_000000010.ckpt"]


def test_an_audition_that_fails_does_not_keep_the_chain_from_merging(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = project.model_copy(update={"name": "broken"})
    broken.save()
    _checkpoint(broken, 10)
    started, events = _chain_of_the_merge(broken, monkeypatch)
    assert started[-1] == "merge step_000000010.ckpt"
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert warned.message == "The checkpoints could not be listened to: No shards."
