"""What comes from elsewhere is shown on a terminal and never obeyed; every command ends with a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli import app, ending
from fishtune.core.config.settings import ValidateSettings
from fishtune.core.errors import StopRequested
from fishtune.core.events import Failed, ItemFailed, Log, Progress, Stopped, Warned
from fishtune.core.files import write_json
from fishtune.core.jobs import start
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import Job, Place
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.stages.registry import StageName
from fishtune.core.terminal import json_text, shell_quoted, visible, visible_line, visible_output

from .commands_kit import in_one_program, told_apart
from .job_kit import run_on_a_terminal

COMMAND = [sys.executable, "-P", "-m", "fishtune.core.cli"]
PLAIN = "한국어 👩‍🚀"
NASTY = (
    "a\x1b]52;c;ZXZpbA==\x07b\x1b[2Jc\x1b]8;;http://evil\x1b\\d\x9b31me\u202ef\u2066g\u200fh\x08\x7f\u2028i"
    + PLAIN
)
"""Clipboard, clear, link, C1, directions, backspace; then ordinary text."""
# What rich itself sends: colours, the cursor's moves and visibility, lines erased.
_RICHS_OWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[AGK])")
_OBEYED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def _all_shown(process: subprocess.Popen[bytes], terminal: int) -> str:
    """Return all that a program sent to its terminal until it ended."""
    seen = b""
    os.set_blocking(terminal, True)
    with contextlib.suppress(OSError):  # the other end is closed
        while block := os.read(terminal, 1 << 16):
            seen += block
    process.wait(60)
    os.close(terminal)
    return seen.decode("utf-8")


def _is_harmless(shown: str) -> bool:
    return not _OBEYED.search(_RICHS_OWN.sub("", shown))


@pytest.fixture
def nasty_job(tmp_path: Path) -> Job:
    place = Place(results=tmp_path / "results", project="yoona")
    settings = ValidateSettings(data=tmp_path / "data")
    with start.new_job(StageName.VALIDATE, settings, place) as (job, _):
        job.write(command=[NASTY])
        with contextlib.closing(EventWriter(job.events_path)) as writer:
            writer.write(Log(message=NASTY))
            writer.write(Warned(message=NASTY, hint=NASTY))
            writer.write(ItemFailed(item=NASTY, message=NASTY))
            writer.write(Progress(task=NASTY, done=1, total=2, unit=NASTY, detail=NASTY))
            writer.write(Failed(error=NASTY, message=NASTY, hint=NASTY))
    with job.log_path.open("ab") as log:
        log.write(NASTY.encode() + b"\nbytes \x9b\x1b[31m\xff red\x1b[0m\r 50%\r100%\r\n")
    return job


def _shown_by_each(folder: Path, commands: list[list[str]]) -> Iterator[tuple[list[str], str]]:
    """Yield commands, each with what it shows on a terminal."""
    shown = _all_shown(*run_on_a_terminal(in_one_program(commands), folder))
    for command, ended in zip(commands, told_apart(shown), strict=True):
        yield command, ended.said


def test_nothing_of_a_job_is_obeyed_by_the_terminal(tmp_path: Path, nasty_job: Job) -> None:
    commands = ["jobs", "jobs --json", "attach", "logs", "logs -f", "stop", "run --dry-run"]
    for (name, *_), shown in _shown_by_each(tmp_path, [command.split() for command in commands]):
        assert shown.strip(), name
        assert _is_harmless(shown), name
        if name in ("attach", "logs"):
            assert r"a\x1b]52;c;ZXZpbA==\x07b\x1b[2Jc\x1b]8" in shown
            assert PLAIN in shown
        if name == "logs":
            assert "bytes \\x9b\\xff red\r\n 50%\r\n100%\r\n" in shown


def _with_host(job: Job, **changes: Any) -> None:
    process = ProcessIdentity.of(os.getpid()).model_copy(update=changes)
    job.events_path.unlink()
    content = job.record.model_dump(mode="json") | {"process": process.model_dump(mode="json")}
    write_json(job.folder / "job.json", content)


def test_nothing_of_a_job_of_another_machine_is_obeyed(tmp_path: Path, nasty_job: Job) -> None:
    _with_host(nasty_job, host=NASTY)
    for _, shown in _shown_by_each(tmp_path, [["jobs"], ["attach"], ["stop"]]):
        assert r"a\x1b]52" in shown
        assert _is_harmless(shown)


def _preset(folder: Path) -> list[str]:
    preset = folder / "config" / "fishtune" / "lora" / "own.toml"
    preset.parent.mkdir(parents=True)
    text = json.dumps(NASTY, ensure_ascii=True).replace("\\ud83d\\udc69", "").replace("\\ud83d\\ude80", "")
    preset.write_text(f"description = {text}\nrank = 4\nalpha = 8\nnasty = 1\n", encoding="utf-8")
    return ["presets"]


def _project(folder: Path) -> list[str]:
    (folder / "p").mkdir()
    (folder / "p" / "fishtune.toml").write_text('"a\\u001b[2J\\u202e" = 1\nname = "x"\n', encoding="utf-8")
    return ["run", "p"]


def _recordings(folder: Path) -> list[str]:
    speaker = folder / "data" / NASTY.replace("/", "")
    speaker.mkdir(parents=True)
    (speaker / "x\x1b[2J.wav").write_bytes(b"no audio \x1b[2J")
    (speaker / "x\x1b[2J.lab").write_text(NASTY, encoding="utf-8")
    return ["validate", "data"]


def test_no_name_or_text_is_obeyed_by_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")
    commands = [
        _preset(tmp_path),
        _project(tmp_path),
        _recordings(tmp_path),
        ["verify", NASTY],
        ["validate", NASTY],
        ["stop", NASTY],
        ["pack", "--input", NASTY],
        [NASTY],
        ["train", "--lora-config", NASTY],
        ["jobs", f"--{NASTY}"],
        ["init", NASTY.replace("/", "")],
        ["estimate", "train", "--gpu-memory", NASTY],
        ["verify", os.fsdecode(b"caf\xe9")],
    ]
    for command, shown in _shown_by_each(tmp_path, commands):
        assert shown.strip(), command
        assert "Traceback" not in shown and "bug in fishtune" not in shown
        assert _is_harmless(shown), command


def test_ordinary_text_stays_as_it_is() -> None:
    text = "한국어 — “naïve” 👩‍🚀🇰🇷 ไทย עברית [laugh] a\tb"
    assert visible(text) == visible_line(text) == text
    assert visible("a\nb") == "a\nb"
    assert visible_line("a\nb") == r"a\nb"
    assert json.loads(json_text({"x": NASTY})) == {"x": NASTY}
    assert _is_harmless(json_text({"x": NASTY}))
    assert json_text(PLAIN) == f'"{PLAIN}"'
    assert visible_output("\x1b[32mgreen\x1b[0m 한".encode()) == "green 한"


@pytest.mark.parametrize(
    "name", ["plain", "with space", "it's", "a\x1b[2J'b\\c", "new\nline", NASTY, "caf\udce9"]
)
def test_a_command_that_is_shown_can_be_pasted(name: str) -> None:
    quoted = shell_quoted(name)
    assert _is_harmless(quoted) and "\n" not in quoted
    said = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert os.fsdecode(said.stdout) == name
    if name in ("plain", "with space", "it's"):
        assert quoted == shlex.quote(name)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ZeroDivisionError("division by zero"),
            ending.UNFORESEEN,
            "error: The command ended with an unexpected",
        ),
        (RecursionError("too deep"), ending.UNFORESEEN, "an unexpected RecursionError: too deep"),
        (MemoryError(), 1, "error: The machine ran out of memory."),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            "error: The system refused: /x: Permission denied.",
        ),
        (KeyboardInterrupt(), ending.INTERRUPTED, "Interrupted; what was saved before is kept."),
        (StopRequested("3 files are kept."), 1, "Stopped. 3 files are kept."),
    ],
)
def test_every_command_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("fishtune.core.cli.presets.lora_presets", fail)
    assert app.run(["presets"]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    if code == ending.UNFORESEEN:
        trace = Path(re.sub(r"\.\s*$", "", shown.rpartition("which lies in ")[2]))
        assert "Traceback (most recent call last)" in trace.read_text(encoding="utf-8")
        assert trace.stat().st_mode & 0o077 == 0


def test_a_reader_who_leaves_is_met_with_one_sentence(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "presets", "--json"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_a_job_file_with_times_beyond_any_calendar_is_still_listed_and_attached_to(
    tmp_path: Path, nasty_job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = f'{{"kind":"progress","time":{time.time()},"task":"x","done":1,"total":2,"eta":NaN}}\n'
    last = '{"kind":"log","time":253402300800,"message":"x"}\n{"kind":"log","time":1e300,"message":"y"}\n'
    for process in (None, ProcessIdentity.of(os.getpid()).model_copy(update={"start": "1"})):
        nasty_job.write(process=process, starter=None)
        nasty_job.events_path.write_text(good + last, encoding="utf-8")
        for command in (["jobs"], ["jobs", "--json"], ["attach"], ["run", "--dry-run", str(tmp_path)]):
            (tmp_path / "fishtune.toml").write_text('name = "yoona"\n', encoding="utf-8")
            assert app.run(command) in (0, 1)
            assert "unexpected" not in capsys.readouterr().err


def test_a_job_of_a_gone_machine_is_declared_lost_by_command(
    tmp_path: Path, nasty_job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "_GROWTH_SECONDS", 0.0)
    (tmp_path / "fishtune.toml").write_text('name = "yoona"\n', encoding="utf-8")
    _with_host(nasty_job, host="c0ffee")
    assert app.run(["stop"]) == 1
    assert f"fishtune stop --lost {nasty_job.id}" in capsys.readouterr().err
    assert app.run(["stop", "--lost", nasty_job.id]) == 0
    assert nasty_job.state() == "failed"
    assert not isinstance(nasty_job.outcome(), Stopped)
