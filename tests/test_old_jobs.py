"""`fishtune jobs --clear`: which jobs go, which stay, and that it asks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fishtune.core.cli import app
from fishtune.core.config.project import Project
from fishtune.core.config.settings import ValidateSettings
from fishtune.core.config.strict import Table
from fishtune.core.events import Event, Finished, Started, Stopped
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import Job, list_jobs
from fishtune.core.jobs.start import new_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.pipeline.chain import place_of
from fishtune.core.stages.registry import StageName

from .job_kit import COMMAND, run_on_a_terminal, shown_on, wait_until


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project.create(tmp_path, "yoona")


def _job(project: Project, stage: StageName, settings: Table, end: Event | None) -> Job:
    """Leave a job behind that ended with `end`, or with None runs: it is this process."""
    with new_job(stage, settings, place_of(project)) as (job, _):
        writer = EventWriter(job.events_path)
        writer.write(Started(stage=stage))
        if end is not None:
            writer.write(end)
        writer.close()
        job.write(process=ProcessIdentity.of(os.getpid()))
    return job


def _ids(project: Project) -> list[str]:
    return [job.id for job in list_jobs(place_of(project))]


def test_what_judges_steps_continues_work_or_tells_a_run_stays_and_the_rest_goes(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check, elsewhere = ValidateSettings(data=project.data), ValidateSettings(data=tmp_path / "elsewhere")
    train = project.train_settings()
    running = _job(project, StageName.EXTRACT, project.extract_settings(), None)
    oldest = _job(project, StageName.VALIDATE, check, Finished())
    training = _job(project, StageName.TRAIN, train, Stopped())
    again = _job(project, StageName.TRAIN, train, Finished())
    finished = _job(project, StageName.VALIDATE, check, Finished())
    stopped = _job(project, StageName.VALIDATE, check, Stopped())
    newest = _job(project, StageName.VALIDATE, check, Stopped())
    other = _job(project, StageName.VALIDATE, elsewhere, Finished())
    extracted = _job(project, StageName.EXTRACT, project.extract_settings(), Finished())
    assert app.run(["jobs", "--clear", "--yes", "--json"]) == 0
    shown = capsys.readouterr()
    assert "Removed 2 old jobs (" in shown.err
    assert [entry["id"] for entry in json.loads(shown.out)] == [oldest.id, stopped.id]
    kept = [running, training, again, finished, newest, other, extracted]
    assert _ids(project) == [job.id for job in kept]
    assert not oldest.folder.exists()
    assert app.run(["jobs", "--clear"]) == 0
    assert capsys.readouterr().err == "No old jobs here: what is there is still needed.\n"


def test_a_job_of_a_stage_that_only_a_newer_version_knows_stays(project: Project) -> None:
    for _ in range(3):
        _job(project, StageName.VALIDATE, ValidateSettings(data=project.data), Finished())
    for job in list_jobs(place_of(project)):
        job.write(stage="sing")
    assert app.run(["jobs", "--clear", "--yes"]) == 0
    assert len(_ids(project)) == 3


def test_nothing_is_removed_before_somebody_agreed(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        _job(project, StageName.VALIDATE, ValidateSettings(data=project.data), Finished())
    old, new = _ids(project)
    assert app.run(["jobs", "--clear"]) == 2
    assert "nobody can be asked here.\n  → If that is wanted: fishtune jobs --clear --yes" in (
        capsys.readouterr().err
    )
    assert app.run(["jobs", "--yes"]) == 2
    for answer, code, left in ((b"n\r", 1, [old, new]), (b"y\r", 0, [new])):
        process, terminal = run_on_a_terminal([*COMMAND, "jobs", "--clear"], tmp_path)
        seen = b""

        def asks() -> bool:
            nonlocal seen
            seen += shown_on(terminal)  # noqa: B023 - called within this round
            return b"Remove 1 old job (" in seen

        wait_until(asks, "the question")
        os.write(terminal, answer)
        assert process.wait(60) == code
        os.close(terminal)
        assert old.encode() in seen
        assert _ids(project) == left
