"""The folder of a job: records that are damaged or hostile, links and pipes in the place of its files."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fishtune.core import events
from fishtune.core.errors import JobError, StorageError
from fishtune.core.events import Event, Failed, Finished, Progress, Stopped
from fishtune.core.files import write_json
from fishtune.core.jobs import execute, follow, worker
from fishtune.core.jobs.record import Job, JobState, Place, create_job, list_jobs
from fishtune.core.jobs.start import new_job, start_job
from fishtune.core.jobs.writer import EventWriter

from .job_kit import count_settings, end_of, register_for_a_test, written_in
from .job_stage import STAGE


@pytest.fixture(autouse=True)
def _test_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    register_for_a_test(monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(results=tmp_path / "results", project="yoona")


@pytest.mark.parametrize(
    "changes",
    [
        {"project": "../../../x"},
        {"project": "a/b"},
        {"id": "../x"},
        {"created": 1e300},
        {"created": -5},
        {"number": 10**30},
        {"process": {"pid": -1, "start": "1", "host": "h"}},
        {"process": {"pid": 0, "start": "1", "host": "h"}},
        {"settings": []},
    ],
)
def test_a_record_with_names_or_numbers_that_lead_elsewhere_is_refused(
    tmp_path: Path, place: Place, changes: dict[str, Any]
) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        content = job.record.model_dump(mode="json")
    write_json(job.folder / "job.json", content | changes)
    with pytest.raises(JobError, match=r"job\.json (cannot be read|is not valid JSON)"):
        Job.open(job.folder)
    assert list_jobs(place) == []


def test_a_job_lies_where_its_folder_does_whatever_its_record_says(tmp_path: Path, place: Place) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        job.write(project="another")
    assert job.refresh().place == place


@pytest.mark.parametrize("name", ["job.json", "events.jsonl", "worker.json"])
def test_a_pipe_in_a_jobs_folder_holds_nobody_up(tmp_path: Path, place: Place, name: str) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        (job.folder / name).unlink(missing_ok=True)
        os.mkfifo(job.folder / name)
        assert [found.state() for found in list_jobs(place)] == ([] if name == "job.json" else ["starting"])


def test_locks_and_job_files_are_not_written_through_links(tmp_path: Path, place: Place) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock = place.jobs / "locks" / "synth.lock"
    lock.parent.mkdir(parents=True)
    lock.symlink_to(victim)
    with pytest.raises(StorageError, match=r"synth\.lock is a link"):
        new_job(STAGE, count_settings(tmp_path), place).__enter__()
    lock.unlink()
    with new_job(STAGE, count_settings(tmp_path), place) as (job, locks):
        job.log_path.symlink_to(victim)
        (job.folder / ".reserve").symlink_to(victim)
        with pytest.raises(StorageError, match=r"log\.txt is a link"):
            execute.run_job(job, locks, redirect=True)
        assert job.state() is JobState.FAILED
        job.log_path.unlink()
        job.events_path.unlink()
        job.events_path.symlink_to(victim)
        with pytest.raises(StorageError, match=r"events\.jsonl is a link"):
            execute.run_job(job, locks, redirect=True)
    assert victim.read_text() == "precious"


def test_only_its_owner_reads_a_log(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, items=1), place)
    end_of(job)
    assert job.log_path.stat().st_mode & 0o077 == 0


def test_a_rank_that_has_no_job_does_its_work_and_ends_well(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = count_settings(tmp_path, items=2)
    job = create_job(place, STAGE, settings.model_dump(mode="json"), [])
    monkeypatch.setenv("RANK", "1")
    assert worker.main([str(job.folder)]) == 0, "torchrun ends all ranks where one fails"
    assert len(written_in(tmp_path)) == 2
    assert not job.events_path.exists()


@pytest.mark.parametrize(
    "last", [Finished(summary={"a": {"b": ["c"]}}), Failed(error="DataError", message="x"), Stopped()]
)
def test_how_a_job_ended_is_known_without_reading_its_result(
    tmp_path: Path, place: Place, last: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        with closing(EventWriter(job.events_path)) as writer:
            writer.write(Progress(task="counting", done=1))
            assert job.ended() is None
            writer.write(last)
        for module in (events, follow):
            monkeypatch.setattr(module, "decode_event", None)
        ended = job.ended()
        assert ended is not None and (ended.state, ended.time) == (last.kind, last.time)
        assert job.state() == last.kind


@pytest.mark.parametrize(
    "line",
    [
        b'{"v":1,"time":1e300,"kind":"finished","summary":{}}',
        b'{"v":1,"time":999999999999,"kind":"finished","summary":{}}',
        b'{"v":1,"time":1.0,"kind":"finished","summary":{',
        b'{"v":1,"time":1.0,"kind":"failed"}',
        b'{"v":1,"time":1.0,"kind":"finis',
    ],
)
def test_a_damaged_last_word_is_none(tmp_path: Path, place: Place, line: bytes) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        job.events_path.write_bytes(line + b"\n")
        assert job.ended() is None


def test_a_last_word_as_another_writer_spells_it_counts(tmp_path: Path, place: Place) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        job.events_path.write_text('{"kind": "stopped", "time": 7, "saved": "all"}\n')
        assert job.ended() == (JobState.STOPPED, 7.0)
