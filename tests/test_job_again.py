"""Going on with a job: what a first run was asked is not asked again, and secrets are not written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli import app
from fishtune.core.config.settings import (
    DownloadSettings,
    ExtractSettings,
    LoudnessNormSettings,
    MergeSettings,
    TrainSettings,
)
from fishtune.core.config.strict import Table
from fishtune.core.errors import JobError, MalformedFileError
from fishtune.core.events import CheckpointSaved, Event, Log, Progress, Stopped
from fishtune.core.jobs import start
from fishtune.core.jobs.again import settings_again
from fishtune.core.jobs.execute import run_job
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import Job, Place, list_jobs
from fishtune.core.jobs.start import new_job, start_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.pipeline.chain import RunSettings
from fishtune.core.stages.registry import STAGES, StageName
from pydantic import BaseModel

from . import job_stage

WORK = Progress(task="x", done=1, total=2)
SECRET = "https://me:s3cr3t@mirror.example/hub"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(results=tmp_path / "results", project="yoona")


def _stopped(place: Place, stage: StageName, settings: Table, *events: Event) -> Job:
    with new_job(stage, settings, place) as (job, _):
        job.write(process=ProcessIdentity.of(os.getpid()))
        writer = EventWriter(job.events_path)
        for event in (*events, Stopped()):
            writer.write(event)
        writer.close()
    return job


def _train(folder: Path, resume: Any) -> TrainSettings:
    return TrainSettings(
        project="yoona", results=folder, base=folder / "base", protos=folder / "protos", resume=resume
    )


@pytest.mark.parametrize(
    ("stage", "model", "folders", "field"),
    [
        (StageName.LOUDNESS_NORM, LoudnessNormSettings, ("source", "target"), "clean"),
        (StageName.EXTRACT, ExtractSettings, ("data", "checkpoint_path"), "overwrite"),
        (StageName.MERGE, MergeSettings, ("base_weight", "lora_weight", "output"), "overwrite"),
        (StageName.RUN, RunSettings, ("project",), "again"),
    ],
)
def test_what_would_undo_the_work_of_a_first_run_is_not_repeated(
    tmp_path: Path, place: Place, stage: StageName, model: type[Table], folders: tuple[str, ...], field: str
) -> None:
    settings = model.model_validate({name: tmp_path / name for name in folders} | {field: True})
    begun = _stopped(place, stage, settings, Log(message="x"), WORK)
    again, flags = settings_again(begun)
    assert not getattr(again, field)
    assert flags == [f"--{field}"]
    assert again.model_copy(update={field: True}) == settings
    # Nothing of its work was done: it is begun as it was asked.
    assert settings_again(_stopped(place, stage, settings, Log(message="x"))) == (settings, [])


def test_a_resumed_training_goes_on_from_its_own_checkpoint(tmp_path: Path, place: Place) -> None:
    early = tmp_path / "checkpoints" / "step_000000010.ckpt"
    saved = CheckpointSaved(step=20, path="step_000000020.ckpt")
    for asked in (early, "never"):
        settings = _train(tmp_path, asked)
        assert settings_again(_stopped(place, StageName.TRAIN, settings, WORK))[0] == settings
        again, flags = settings_again(_stopped(place, StageName.TRAIN, settings, WORK, saved))
        assert isinstance(again, TrainSettings) and again.resume == "auto"
        assert flags == ["--resume"]
    again, flags = settings_again(_stopped(place, StageName.TRAIN, _train(tmp_path, "auto"), WORK, saved))
    assert (again, flags) == (_train(tmp_path, "auto"), [])


def test_the_command_says_what_it_does_not_repeat(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Table] = []

    def started(stage: StageName, settings: Table, place: Place, resumed_from: str = "") -> Job:
        seen.append(settings)
        return job

    settings = LoudnessNormSettings(source=tmp_path / "a", target=tmp_path / "b", clean=True)
    job = _stopped(place, StageName.LOUDNESS_NORM, settings, WORK)
    monkeypatch.setattr("fishtune.core.cli.jobs.start_job", started)
    assert app.run(["resume", "--results", str(place.results)]) == 0
    assert seen == [settings.model_copy(update={"clean": False})]
    assert "Not repeated, since it was for the first run: --clean." in capsys.readouterr().err


def test_a_job_of_an_unknown_stage_is_refused_in_a_sentence(tmp_path: Path, place: Place) -> None:
    job = _stopped(place, StageName.RUN, RunSettings(project=tmp_path))
    job.write(stage="tomorrow")
    with pytest.raises(JobError, match="a stage that this version does not know"):
        settings_again(job)


class _Seen(BaseModel):
    endpoint: str


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def run(settings: DownloadSettings, reporter: Any) -> _Seen:
        seen.append(settings.endpoint or "")
        reporter.warn(f"{settings.endpoint} answered: hf_abcdefghijklmnopqrstuvwxyz is not valid")
        raise MalformedFileError(f"{settings.endpoint} is away")

    monkeypatch.setattr("fishtune.core.stages.download.run.run", run)
    return seen


def _files_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_password_reaches_the_stage_and_no_file(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _watched(monkeypatch)
    monkeypatch.setattr("sys.argv", ["fishtune", "download", "--endpoint", SECRET])
    monkeypatch.setenv("HF_TOKEN", "a-token-of-another-form")
    settings = DownloadSettings(name="openaudio-s1-mini", local_dir=tmp_path / "base", endpoint=SECRET)
    with new_job(StageName.DOWNLOAD, settings, place) as (job, locks), pytest.raises(MalformedFileError):
        run_job(job, locks, [], redirect=True)
    assert seen == [SECRET]
    written = _files_of(tmp_path)
    assert b"mirror.example" in written
    assert b"s3cr3t" not in written and b"hf_abc" not in written
    with pytest.raises(JobError, match="was given a password or a token, which is not kept"):
        settings_again(job.refresh())


def test_a_secret_reaches_a_detached_worker_and_not_its_record(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STAGES, job_stage.STAGE, STAGES[job_stage.STAGE])
    monkeypatch.setattr(start, "WORKER_COMMAND", list(start.WORKER_COMMAND))
    job_stage.register()
    settings = job_stage.CountSettings(folder=tmp_path / "hf_abcdefghijklmnop", items=1)
    job = start_job(job_stage.STAGE, settings, place)
    while not job.state().is_over:
        pass
    assert (tmp_path / "hf_abcdefghijklmnop" / "0000.txt").is_file()
    (found,) = list_jobs(place)
    assert "hf_abc" not in json.dumps(found.record.model_dump(mode="json"))
