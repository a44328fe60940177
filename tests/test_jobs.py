"""Jobs as processes: they outlive their terminal and starter, say how they ended, and exclude each other."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.errors import DataError, JobError, JobRunningError, StopRequested, StorageError
from fishtune.core.events import Failed, Finished, Progress, Started, Stopped
from fishtune.core.files import write_json
from fishtune.core.jobs import execute, start
from fishtune.core.jobs.find import job_named, jobs_of, newest_job
from fishtune.core.jobs.follow import EventFollower
from fishtune.core.jobs.locks import Lock
from fishtune.core.jobs.post_mortem import describe_loss
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import Job, JobState, Place, list_jobs
from fishtune.core.jobs.start import new_job, start_job, stop_job
from fishtune.core.jobs.writer import EventWriter

from .job_kit import (
    COMMAND,
    SECONDS,
    count_settings,
    end_of,
    is_running,
    jobs_of_command,
    register_for_a_test,
    run_on_a_terminal,
    shown_on,
    wait_until,
    written_in,
)
from .job_stage import STAGE, CountSettings, Way


@pytest.fixture(autouse=True)
def _test_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    register_for_a_test(monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(results=tmp_path / "results", project="yoona")
    yield place
    for job in list_jobs(place):
        if job.record.process is not None and job.state() is JobState.RUNNING:
            os.kill(job.record.process.pid, signal.SIGKILL)


def test_a_started_stage_runs_in_its_own_session_and_finishes(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path), place)
    assert job.record.process is not None
    assert os.getsid(job.record.process.pid) == job.record.process.pid != os.getsid(0)
    assert end_of(job) is JobState.FINISHED
    events = EventFollower(job.events_path).poll()
    assert isinstance(events[0], Started)
    assert events[0].settings == count_settings(tmp_path).model_dump(mode="json")
    assert isinstance(events[-1], Finished)
    assert events[-1].summary == {"written": 20}
    assert sum(isinstance(event, Started | Finished | Failed | Stopped) for event in events) == 2
    log = job.log_path.read_text(encoding="utf-8")
    assert "a line that a library printed" in log
    assert "counting: 20/20 clips (100%)" in log
    assert {"fishtune", "python", "torch"} <= set(job.record.versions)


def test_a_job_outlives_its_closed_terminal_and_its_killed_parent_and_is_found(
    tmp_path: Path, place: Place
) -> None:
    parent, terminal = run_on_a_terminal(
        [*COMMAND, "start", "synth", str(tmp_path / "out"), "--items", "60", "--pause", "0.05"],
        tmp_path,
        stay=True,
    )
    wait_until(lambda: list_jobs(place) and written_in(tmp_path), "the job to begin")
    parent.kill()
    os.close(terminal)
    parent.wait()
    before = len(written_in(tmp_path))
    (found,) = jobs_of_command(tmp_path)
    assert found["state"] == "running"
    wait_until(lambda: len(written_in(tmp_path)) > before + 5, "the job to go on")
    (job,) = list_jobs(place)
    assert end_of(job) is JobState.FINISHED
    assert len(written_in(tmp_path)) == 60


def test_a_foreground_run_outlives_its_closed_terminal(tmp_path: Path) -> None:
    process, terminal = run_on_a_terminal(
        [*COMMAND, "synth", str(tmp_path / "out"), "--items", "40", "--pause", "0.02"], tmp_path
    )
    wait_until(lambda: len(written_in(tmp_path)) > 3, "the run to begin")
    os.close(terminal)
    process.wait(SECONDS)
    (found,) = jobs_of_command(tmp_path)
    assert found["state"] == "finished"
    assert len(written_in(tmp_path)) == 40


def test_a_terminal_that_takes_nothing_does_not_hold_up_a_foreground_run(
    tmp_path: Path, place: Place
) -> None:
    process, terminal = run_on_a_terminal(
        [*COMMAND, "synth", str(tmp_path / "out"), "--items", "400", "--way", "talk"], tmp_path
    )
    wait_until(lambda: list_jobs(place), "the run to begin")
    (job,) = list_jobs(place)
    assert end_of(job) is JobState.FINISHED  # 100 kB of lines, of which a pseudo-terminal holds 4
    os.close(terminal)
    process.wait(SECONDS)


def test_stopping_lets_the_stage_save_and_say_so(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, items=1000, pause=0.02), place)
    wait_until(lambda: len(written_in(tmp_path)) > 3, "some files")
    stop_job(job)
    assert end_of(job) is JobState.STOPPED
    outcome = job.outcome()
    assert isinstance(outcome, Stopped)
    assert outcome.saved == f"{len(written_in(tmp_path))} files are kept."
    with pytest.raises(JobError, match=r"does not run: it is stopped"):
        stop_job(job)


def test_a_job_that_has_just_begun_can_be_stopped(tmp_path: Path, place: Place) -> None:
    for _ in range(3):
        job = start_job(STAGE, count_settings(tmp_path, items=1000, pause=0.02), place)
        stop_job(job)
        assert end_of(job) is JobState.STOPPED


@pytest.mark.parametrize("way", ["deaf", "deaf-native"])
def test_now_ends_a_stage_that_does_not_listen(tmp_path: Path, place: Place, way: Way) -> None:
    job = start_job(STAGE, count_settings(tmp_path, way=way), place)
    child = tmp_path / "out" / "child"
    wait_until(child.exists, "the stage to become deaf")
    stop_job(job)
    assert job.state() is JobState.RUNNING
    stop_job(job, now=True)  # benchmarks/limits.py measures that this takes under two seconds
    assert job.refresh().state() is JobState.STOPPED
    assert not is_running(int(child.read_text(encoding="utf-8")))
    events = EventFollower(job.events_path).poll()
    assert sum(isinstance(event, Finished | Failed | Stopped) for event in events) == 1


def test_a_second_interrupt_ends_a_foreground_run_at_once(tmp_path: Path) -> None:
    process, terminal = run_on_a_terminal(
        [*COMMAND, "synth", str(tmp_path / "out"), "--way", "deaf"], tmp_path
    )
    child = tmp_path / "out" / "child"
    wait_until(child.exists, "the stage to become deaf")
    os.write(terminal, b"\x03")
    wait_until(
        lambda: b"Ask again to kill it at once." in shown_on(terminal), "the first interrupt to be heard"
    )
    assert process.poll() is None
    os.write(terminal, b"\x03")
    assert process.wait(SECONDS) == 1
    assert jobs_of_command(tmp_path)[0]["state"] == "stopped"
    os.close(terminal)


def test_a_hang_up_is_ignored(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, items=30, pause=0.02), place)
    assert job.record.process is not None
    wait_until(lambda: written_in(tmp_path), "the first file")
    os.kill(job.record.process.pid, signal.SIGHUP)
    assert end_of(job) is JobState.FINISHED


def test_a_failure_has_message_and_hint_and_the_log_has_the_traceback(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, way="fail"), place)
    assert end_of(job) is JobState.FAILED
    outcome = job.outcome()
    assert isinstance(outcome, Failed)
    assert (outcome.error, outcome.message, outcome.hint) == (
        "DataError",
        "The clip x.wav is silent.",
        "Record it again.",
    )
    assert "Traceback (most recent call last)" in job.log_path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("way", "error", "message", "hint"),
    [
        ("no-driver", "DeviceError", "The GPU cannot be used: Found no NVIDIA driver", "fishtune doctor"),
        (
            "no-space",
            "StorageError",
            "The disk is full: /data/x.npy could not be written.",
            "Free some space",
        ),
        ("no-folder", "StorageError", "A file or folder is gone: ", "still mounted"),
    ],
)
def test_trouble_with_the_machine_ends_in_one_typed_failure(
    tmp_path: Path, place: Place, way: Way, error: str, message: str, hint: str
) -> None:
    job = start_job(STAGE, count_settings(tmp_path, way=way), place)
    assert end_of(job) is JobState.FAILED
    *others, outcome = EventFollower(job.events_path).poll()
    assert isinstance(outcome, Failed)
    assert not any(isinstance(event, Failed | Finished | Stopped) for event in others)
    assert outcome.error == error
    assert outcome.message.startswith(message)
    assert hint in outcome.hint
    assert "Traceback (most recent call last)" in job.log_path.read_text(encoding="utf-8")


def test_an_unforeseen_exception_asks_for_a_report(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, way="bug"), place)
    assert end_of(job) is JobState.FAILED
    outcome = job.outcome()
    assert isinstance(outcome, Failed)
    assert outcome.error == "ZeroDivisionError"
    assert outcome.message == "The stage ended with an unexpected ZeroDivisionError: division by zero"
    assert "bug in fishtune" in outcome.hint


def test_a_killed_job_is_lost_and_resuming_makes_the_same_files(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, items=40, pause=0.02), place)
    assert job.record.process is not None
    wait_until(lambda: len(written_in(tmp_path)) > 5, "some files")
    os.kill(job.record.process.pid, signal.SIGKILL)
    assert end_of(job) is JobState.LOST
    what, hint = describe_loss(job)
    assert what.startswith("The process was ended by SIGKILL. Last heard of at ")
    assert "counting: " in what
    assert hint == f"Resume from what was saved with: fishtune resume {job.id}"
    resumed = subprocess.run(
        [*COMMAND, "resume", job.id, "--results", str(place.results)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"going on from {job.id}" in resumed.stdout
    again = newest_job(list_jobs(place))
    assert again.record.resumed_from == job.id
    assert end_of(again) is JobState.FINISHED
    assert len(written_in(tmp_path)) == 40


def test_a_crash_in_native_code_is_named(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, way="crash"), place)
    assert end_of(job) is JobState.LOST
    assert describe_loss(job)[0].startswith("The process crashed in native code (Segmentation fault)")


def _with_process(job: Job, **changes: str | int) -> Job:
    assert job.record.process is not None
    record = job.record.model_copy(update={"process": job.record.process.model_copy(update=changes)})
    write_json(job.folder / "job.json", record.model_dump(mode="json"))
    return job.refresh()


def test_a_pid_that_was_given_to_another_process_does_not_count(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, items=1000, pause=0.05), place)
    assert job.state() is JobState.RUNNING
    reused = _with_process(job, start="1")
    assert reused.state() is JobState.LOST
    with pytest.raises(JobError, match="does not run: it is lost"):
        stop_job(reused, now=True)
    _with_process(job, start=job.record.process.start if job.record.process else "")
    assert job.refresh().state() is JobState.RUNNING
    stop_job(job.refresh(), now=True)


def test_a_job_of_another_machine_or_boot_is_said_to_be_so(tmp_path: Path, place: Place) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        job.write(process=ProcessIdentity.of(os.getpid()))
        assert job.state() is JobState.RUNNING
        assert _with_process(job, host="elsewhere").state() is JobState.ELSEWHERE
        with pytest.raises(JobError, match="runs on elsewhere, not on this machine"):
            stop_job(_with_process(job, host="elsewhere"))
        assert _with_process(job, namespace="pid:[1]").state() is JobState.ELSEWHERE
        restarted = _with_process(job, boot="another")
        assert restarted.state() is JobState.LOST
        assert describe_loss(restarted)[0].startswith("The machine was restarted while it ran.")


def test_kills_for_want_of_memory_are_named(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        job.write(process=ProcessIdentity.of(os.getpid()), memory_kills=2)
    gone = _with_process(job, start="1")
    monkeypatch.setattr("fishtune.core.jobs.post_mortem.memory_kills", lambda: 2)
    assert "OOM killer" not in describe_loss(gone)[0]
    monkeypatch.setattr("fishtune.core.jobs.post_mortem.memory_kills", lambda: 3)
    what, hint = describe_loss(gone)
    assert "OOM killer struck in this control group" in what
    assert hint.startswith("End other programs"), "synth has no setting that needs less"


def test_a_second_start_is_refused_with_the_running_jobs_id(tmp_path: Path, place: Place) -> None:
    job = start_job(STAGE, count_settings(tmp_path, items=1000, pause=0.05), place)
    with pytest.raises(JobRunningError, match=f"Job {job.id} is already using that folder"):
        start_job(STAGE, CountSettings(folder=tmp_path / "other"), place)
    other_project = Place(results=place.results, project="mina")
    with pytest.raises(JobRunningError, match=f"Job {job.id} is already using that folder"):
        start_job(STAGE, count_settings(tmp_path), other_project)
    assert [entry.id for entry in list_jobs(place)] == [job.id]
    assert list_jobs(other_project) == []
    stop_job(job, now=True)
    free = start_job(STAGE, count_settings(tmp_path, items=1), other_project)
    assert end_of(free) is JobState.FINISHED


def test_of_two_starters_at_once_exactly_one_wins(tmp_path: Path) -> None:
    (tmp_path / "fishtune.toml").write_text('name = "yoona"\n', encoding="utf-8")
    command = [*COMMAND, "start", "synth", str(tmp_path / "out"), "--items", "1000", "--pause", "0.05"]
    starters = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    results = [(starter.communicate(timeout=SECONDS), starter.returncode) for starter in starters]
    place = Place(results=tmp_path / "results", project="yoona")
    (job,) = list_jobs(place)
    assert sorted(code for _, code in results) == [0, 1, 1]
    refusals = [stderr for (_, stderr), code in results if code == 1]
    assert all(f"Job {job.id} is already using that folder." in text for text in refusals)
    stop_job(job, now=True)


def test_a_lock_dies_with_its_process_and_is_not_kept_by_forked_workers(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time\nfrom pathlib import Path\nfrom fishtune.core.jobs.locks import Lock\n"
            "lock = Lock.acquire(Path(sys.argv[1])); lock.name_holder('me')\n"
            "reading, writing = os.pipe(); child = os.fork()\n"
            "if child == 0: os.write(writing, b'x'); time.sleep(600)\n"
            "os.read(reading, 1); print(child, flush=True); time.sleep(600)",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    worker = int(holder.stdout.readline())
    with pytest.raises(JobRunningError, match="Job me is already using that folder"):
        Lock.acquire(path)
    holder.kill()
    holder.wait()
    assert is_running(worker)
    Lock.acquire(path).release()
    os.kill(worker, signal.SIGKILL)
    assert not path.exists()


def test_a_worker_that_cannot_begin_says_why(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "WORKER_COMMAND", [sys.executable, "-c", "raise SystemExit('no such module')"])
    with pytest.raises(JobError, match=r"ended before it began \(exit code 1\): no such module"):
        start_job(STAGE, count_settings(tmp_path), place)
    monkeypatch.setattr(start, "WORKER_COMMAND", [str(tmp_path / "no-python")])
    with pytest.raises(JobError, match="could not be started"):
        start_job(STAGE, count_settings(tmp_path), place)


def test_running_in_this_process_raises_what_the_stage_raised(tmp_path: Path, place: Place) -> None:
    with (
        new_job(STAGE, count_settings(tmp_path, way="fail"), place) as (job, locks),
        pytest.raises(DataError),
    ):
        execute.run_job(job, locks, redirect=True)
    assert isinstance(job.outcome(), Failed)
    seen: list[Any] = []
    with new_job(STAGE, count_settings(tmp_path, items=5), place) as (job, locks):
        assert execute.run_job(job, locks, [seen.append], redirect=True) == {"written": 4}
    assert (type(seen[0]), type(seen[-1])) == (Started, Finished)
    assert {type(event) for event in seen[1:-1]} == {Progress}

    asked: list[Any] = []

    def stop_once(event: Any) -> None:
        if isinstance(event, Progress) and not asked:  # a second signal would end this very process
            asked.append(event)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    endless = count_settings(tmp_path, items=100_000, pause=0.01)
    with new_job(STAGE, endless, place) as (job, locks), pytest.raises(StopRequested):
        execute.run_job(job, locks, [stop_once], redirect=True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_jobs_are_named_by_enough_of_their_id(tmp_path: Path, place: Place) -> None:
    ids = []
    for _ in range(2):
        with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
            ids.append(job.id)
    jobs = list_jobs(place)
    assert [job.id for job in jobs] == ids == sorted(ids)
    assert job_named(ids[1], jobs).id == ids[1]
    with pytest.raises(JobError, match="may mean several jobs"):
        job_named("synth", jobs)
    with pytest.raises(JobError, match="There is no job pack"):
        job_named("pack", jobs)
    with pytest.raises(JobError, match="There is no job here"):
        newest_job([])


def test_a_job_that_never_began_is_starting_first_and_then_lost(place: Place, tmp_path: Path) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        assert job.state() is JobState.STARTING
        assert job.last_event() is None
        job.events_path.write_bytes(b"")
        assert job.outcome() is None
        for when in (-3600, 3600, 10 * 365 * 86400):  # its age says nothing: a clock may be wrong
            job.write(created=time.time() + when)
            assert job.state() is JobState.STARTING
            assert job.record.starter is not None
            job.write(starter=job.record.starter.model_copy(update={"start": "1"}))
            assert job.state() is JobState.LOST
            job.write(starter=ProcessIdentity.of(os.getpid()))
        job.write(starter=None)  # of an older version
        assert job.state() is JobState.LOST
        assert describe_loss(job)[0].startswith("It never started")


def test_a_worker_that_died_at_its_start_has_failed_at_once(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "WORKER_COMMAND", [sys.executable, "-c", "raise SystemExit('no such module')"])
    with pytest.raises(JobError, match="ended before it began"):
        start_job(STAGE, count_settings(tmp_path), place)
    (job,) = list_jobs(place)
    assert job.state() is JobState.FAILED
    assert "no such module" in str(job.outcome())


def test_a_worker_that_died_while_nobody_waited_is_lost_at_once(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "WORKER_COMMAND", [sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(start, "_START_SECONDS", 0.0)
    job = start_job(STAGE, count_settings(tmp_path), place)
    worker = job.worker()
    assert worker is not None
    assert job.state() is JobState.STARTING
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: job.state() is JobState.LOST, "the job to be lost")  # its starter, this process, lives


def test_a_job_that_is_still_starting_can_be_ended(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "WORKER_COMMAND", [sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(start, "_START_SECONDS", 0.0)
    job = start_job(STAGE, count_settings(tmp_path), place)
    worker = job.worker()
    assert worker is not None
    stop_job(job, now=True)
    assert job.state() is JobState.STOPPED
    assert not is_running(worker.pid)


def test_jobs_keep_their_order_when_the_clock_was_wrong(tmp_path: Path, place: Place) -> None:
    ids = []
    for ahead in (0.0, 1e9, -1e9, 0.0):
        with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
            job.write(created=time.time() + ahead)
            ids.append(job.id)
    assert [job.id for job in list_jobs(place)] == ids
    assert [job.id for job in jobs_of([place])] == ids


def test_a_job_of_a_machine_that_is_gone_can_be_declared_lost(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_GROWTH_SECONDS", 0.0)
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        job.write(process=ProcessIdentity.of(os.getpid()))
        with pytest.raises(JobError, match="is running: that is known without being told"):
            start.declare_lost(job)
        gone = _with_process(job, namespace="pid:[1]", host="c0ffee")
        with pytest.raises(JobError, match="the lock of its stage is held"):
            start.declare_lost(gone)
    start.declare_lost(gone)
    assert gone.state() is JobState.FAILED
    assert "c0ffee, which is gone" in str(gone.outcome())
    start.stop_job(start_job(STAGE, count_settings(tmp_path, items=1000, pause=0.02), place), now=True)


def test_a_job_that_still_writes_is_not_declared_lost(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_job(STAGE, count_settings(tmp_path), place) as (job, _):
        job.write(process=ProcessIdentity.of(os.getpid()))
    gone = _with_process(job, host="elsewhere")
    writer = EventWriter(gone.events_path)
    monkeypatch.setattr(start.time, "sleep", lambda _: writer.write(Progress(task="x", done=1)))
    with pytest.raises(JobError, match="it has just written to"):
        start.declare_lost(gone)
    writer.close()


def test_without_a_descriptor_left_a_process_is_not_told_as_gone_nor_as_a_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identity = ProcessIdentity.of(os.getpid())

    def refuse(*_: object) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=r"/proc/\d+ cannot be read: too many files are open"):
        identity.liveness()
