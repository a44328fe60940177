"""`fishtune jobs`, `attach`, `stop`, `logs` and what a terminal shows while a stage runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli import app, display
from fishtune.core.errors import StorageError
from fishtune.core.events import CheckpointSaved, Event, Finished, ItemFailed, Progress, Started, Step, Warned
from fishtune.core.jobs import start
from fishtune.core.jobs.execute import run_job
from fishtune.core.jobs.record import Job, JobState, Place, list_jobs
from fishtune.core.jobs.start import start_job, stop_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.messages import Message
from fishtune.core.pipeline.chain import RunSettings
from fishtune.core.stages.registry import StageName
from rich.console import Console

from .job_kit import COMMAND, end_of, register_for_a_test, run_on_a_terminal, shown_on, wait_until
from .job_stage import STAGE, CountSettings


@pytest.fixture(autouse=True)
def _test_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    register_for_a_test(monkeypatch)
    (tmp_path / "fishtune.toml").write_text('name = "yoona"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield
    for job in list_jobs(_place(tmp_path)):
        if job.state() is JobState.RUNNING:
            stop_job(job, now=True)


def _place(folder: Path) -> Place:
    return Place(results=folder / "results", project="yoona")


def _run(*arguments: str, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def _interrupted(process: subprocess.Popen[bytes], terminal: int, code: int) -> bytes:
    """Press Ctrl+C once progress is shown, wait for the exit code, and return all that was shown."""
    seen = b""

    def shows_progress() -> bool:
        nonlocal seen
        seen += shown_on(terminal)
        return b"counting" in seen and b"/2,000 clips" in seen

    wait_until(shows_progress, "the progress to be shown")
    os.write(terminal, b"\x03")
    assert process.wait(60) == code
    seen += shown_on(terminal)
    os.close(terminal)
    return seen


def test_attaching_shows_the_job_and_leaving_does_not_touch_it(tmp_path: Path) -> None:
    job = start_job(STAGE, CountSettings(folder=tmp_path / "out", items=2000, pause=0.02), _place(tmp_path))
    process, terminal = run_on_a_terminal([*COMMAND, "attach"], tmp_path)
    seen = _interrupted(process, terminal, code=0)
    assert f"keeps running. Come back with: fishtune attach {job.id}".encode() in seen
    assert job.state() is JobState.RUNNING


def test_attaching_returns_how_the_job_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = start_job(STAGE, CountSettings(folder=tmp_path / "out", items=5), _place(tmp_path))
    end_of(good)
    assert app.run(["attach"]) == 0
    bad = start_job(STAGE, CountSettings(folder=tmp_path / "out", way="fail"), _place(tmp_path))
    end_of(bad)
    assert app.run(["attach", bad.id]) == 1
    shown = capsys.readouterr().err
    assert "failed: The clip x.wav is silent. Record it again." in shown
    assert f"The whole log: fishtune logs {bad.id}" in shown


def test_the_list_tells_states_as_a_table_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["jobs"]) == 0
    assert "No jobs here." in capsys.readouterr().out
    end_of(start_job(STAGE, CountSettings(folder=tmp_path / "out", items=4), _place(tmp_path)))
    bad = start_job(STAGE, CountSettings(folder=tmp_path / "out", items=4, way="fail"), _place(tmp_path))
    end_of(bad)
    assert app.run(["jobs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(entry["state"], entry["progress"], entry["stage"]) for entry in listed] == [
        ("finished", 1.0, "synth"),
        ("failed", 0.25, "synth"),
    ]
    assert (listed[1]["error"], listed[1]["hint"]) == ("DataError", "Record it again.")
    assert app.run(["jobs"]) == 0
    table = capsys.readouterr().out
    assert bad.id in table
    assert "failed" in table
    elsewhere = subprocess.run(
        [*COMMAND, "jobs", "--all"], cwd="/", capture_output=True, text=True, check=True
    )
    assert bad.id in elsewhere.stdout
    assert app.run(["jobs", "--project", "nobody"]) == 0
    assert "No jobs here." in capsys.readouterr().out


def test_a_finished_job_is_done_whatever_it_counted_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = CountSettings(folder=tmp_path / "out")
    with (
        start.new_job(StageName.SYNTH, settings, _place(tmp_path)) as (job, _),
        contextlib.closing(EventWriter(job.events_path)) as writer,
    ):
        writer.write(Progress(task="generating", done=3, total=1024, unit="frames"))
        writer.write(Finished())
    assert app.run(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["progress"] == 1.0


def test_a_lost_job_is_explained_until_its_stage_went_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = CountSettings(folder=tmp_path / "out", items=2000, pause=0.02)
    lost = start_job(STAGE, settings, _place(tmp_path))
    assert lost.record.process is not None
    os.kill(lost.record.process.pid, signal.SIGKILL)
    wait_until(lambda: lost.state() is JobState.LOST, "the job to be lost")
    app.run(["jobs"])
    assert f"fishtune resume {lost.id}" in capsys.readouterr().out
    end_of(start_job(STAGE, CountSettings(folder=tmp_path / "out", items=2), _place(tmp_path)))
    app.run(["jobs"])
    shown = capsys.readouterr().out
    assert "lost" in shown and "resume" not in shown


def test_a_job_whose_disk_is_full_before_it_begins_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("The disk is full: job.json could not be written.")

    with start.new_job(STAGE, CountSettings(folder=tmp_path / "out"), _place(tmp_path)) as (job, locks):
        monkeypatch.setattr(Job, "write", full)
        with pytest.raises(StorageError):
            run_job(job, locks, redirect=False)
    assert job.state() is JobState.FAILED


def test_the_progress_of_one_step_is_not_the_chains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = RunSettings(project=tmp_path / "fishtune.toml")
    with start.new_job(StageName.RUN, chain, _place(tmp_path)) as (job, _):
        with contextlib.closing(EventWriter(job.events_path)) as writer:
            writer.write(Progress(task="packing", done=8, total=8, unit="clips"))
        assert app.run(["jobs", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["stage"], listed["progress"]) == ("run", None)


def test_a_broken_project_file_is_warned_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fishtune.toml").write_text('nome = "yoona"\n', encoding="utf-8")
    assert app.run(["stop"]) == 1
    assert capsys.readouterr().err.count("warning: ") == 1


def test_a_job_without_a_log_is_said_to_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with start.new_job(StageName.SYNTH, CountSettings(folder=tmp_path), _place(tmp_path)) as (job, _):
        assert app.run(["logs", job.id]) == 0
    assert capsys.readouterr() == (
        "",
        f"Job {job.id} has no log: it was never begun, or its log was removed.\n",
    )


def test_a_log_is_followed_until_its_job_is_over(tmp_path: Path) -> None:
    job = start_job(STAGE, CountSettings(folder=tmp_path / "out", items=30, pause=0.02), _place(tmp_path))
    followed = subprocess.run(
        [*COMMAND, "logs", "-f"], capture_output=True, text=True, timeout=60, check=True
    )
    assert followed.stdout == job.log_path.read_text(encoding="utf-8")
    assert followed.stdout.endswith("finished\n")
    assert "a line that a library printed" in followed.stdout


def test_a_finished_job_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = start_job(STAGE, CountSettings(folder=tmp_path / "out", items=2), _place(tmp_path))
    end_of(job)
    assert app.run(["resume"]) == 1
    assert f"Job {job.id} is finished" in capsys.readouterr().err
    assert len(list_jobs(_place(tmp_path))) == 1


def test_stopping_waits_until_the_job_has_saved(tmp_path: Path) -> None:
    job = start_job(STAGE, CountSettings(folder=tmp_path / "out", items=2000, pause=0.02), _place(tmp_path))
    stopped = _run("stop")
    assert f"Job {job.id}: stopped. " in stopped.stdout
    assert " files are kept." in stopped.stdout
    assert job.state() is JobState.STOPPED
    again = _run("stop", "--now", code=1)
    assert f"Job {job.id} does not run: it is stopped." in again.stderr


def test_a_started_stage_says_how_to_come_back_and_takes_the_same_flags(tmp_path: Path) -> None:
    started = subprocess.run(
        [*COMMAND, "start", "synth", "out", "--items", "3", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    (job,) = list_jobs(_place(tmp_path))
    assert json.loads(started.stdout) == {"job": job.id, "folder": str(job.folder)}
    end_of(job)
    assert len(list((tmp_path / "out").glob("*.txt"))) == 3


def test_a_foreground_run_without_terminal_prints_plain_lines_and_keeps_json_clean(tmp_path: Path) -> None:
    plain = subprocess.run(
        [*COMMAND, "synth", "out", "--items", "3"], capture_output=True, text=True, check=True
    )
    assert plain.stdout == "wrote 3\n"
    assert plain.stderr.splitlines()[0] == "synth started"
    assert "counting: 3/3 clips (100%)" in plain.stderr
    assert "\x1b" not in plain.stderr
    quiet = _run("synth", "out", "--json")
    assert (json.loads(quiet.stdout), quiet.stderr) == ({"written": 17}, "")
    bug = _run("synth", "out", "--way", "bug", code=1)
    assert "Traceback" not in bug.stderr
    assert "error: The stage ended with an unexpected ZeroDivisionError" in bug.stderr
    log = Path(bug.stderr.strip().rpartition("The log: ")[2])
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


HOSTILE: list[Event] = [
    Started(stage="pack"),
    Progress(
        task="[/foo] encoding",
        done=3,
        total=9,
        unit="clips",
        eta=3840,
        detail="[laugh] 한국어 🎉 " + "x" * 10_000,
    ),
    ItemFailed(item="a/[b].wav", message="broken [/red]", hint="see [link=x]"),
    Warned(message="[/]"),
    Step(step=1, total_steps=9, loss=5, base_loss=3, semantic_loss=2, learning_rate=1e-4),
    CheckpointSaved(step=1, path="/r/[a]/step_000000001.ckpt"),
    Progress(task="[/foo] encoding", done=9, total=9, unit="clips"),
]


def test_a_foreground_run_says_once_why_it_ended(tmp_path: Path) -> None:
    failed = _run("synth", "out", "--way", "fail", code=1)
    assert failed.stderr.count("The clip x.wav is silent.") == 1
    process, terminal = run_on_a_terminal(
        [*COMMAND, "synth", "out", "--items", "2000", "--pause", "0.02"], tmp_path
    )
    seen = _interrupted(process, terminal, code=1)
    assert seen.count(b"files are kept.") == 1


def test_foreign_text_on_a_terminal_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")  # on a dumb one, nothing moves
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, markup=False, highlight=False)
    screen = display._TerminalDisplay(console)
    for event in HOSTILE:
        screen(event)
        time.sleep(0.01)
    screen.close()
    shown = stream.getvalue()
    for part in (
        "[/foo] encoding",
        "3/9 clips",
        "failed: a/[b].wav: broken [/red] see [link=x]",
        "warning: [/]",
    ):
        assert part in shown
    assert "checkpoint /r/[a]/step_000000001.ckpt" in shown


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_on_a_narrow_terminal_words_amounts_and_times_stay_whole(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None, soft_wrap=True)
    screen = display._TerminalDisplay(console)
    path = "/home/somebody/recordings/a/folder/whose/name/is/longer/than/a/narrow/terminal/is/wide"
    message = f"12 of 12 clips in {path} can be used, and two of them are worth a look before training."
    screen(Warned(message=Message(message), hint=Message("All of them: fishtune validate")))
    for task, unit in (("training", "steps"), ("loading the weights of the model", "batches")):
        screen(
            Progress(task=Message(task), done=412, total=1240, unit=unit, eta=3720, detail="loss 3.123 of a")
        )
    screen.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n")
    lines = [line.rstrip() for line in shown.split("\n") if line.strip()]
    told = [line for line in lines if "/1,240" not in line]
    assert " ".join(told) == f"warning: {message}   → All of them: fishtune validate"
    assert all(len(line) <= width for line in lines if path not in line)
    bars = lines[-2:]
    assert "412/1,240 steps" in bars[0] and "412/1,240 batches" in bars[1]
    assert all("to go" not in bar or "1 h 02 min to go" in bar for bar in bars)
    assert (width < 60) != all("1 h 02 min to go" in bar for bar in bars)
    assert width < 120 or all("━" in bar and "loss 3.123" in bar for bar in bars)
    first = bars[1].removeprefix("⠋ ").split("…")[0].strip()
    assert (
        "loading the weights of the model".startswith(first)
        and "loading the weights of the model "[len(first)] == " "
    )


def test_the_help_names_every_command_of_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("run", "init", "start", "jobs", "attach", "stop", "logs", "resume"):
        assert f" {name} " in shown
