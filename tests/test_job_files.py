"""Events on disk: written one a line, followed while they grow, read from either end."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from fishtune.core.events import (
    Event,
    Failed,
    Finished,
    Log,
    Progress,
    Started,
    Step,
    Stopped,
    Warned,
    encode_event,
)
from fishtune.core.jobs import writer as writer_module
from fishtune.core.jobs.follow import EventFollower, LineFollower, last_events, last_lines
from fishtune.core.jobs.lines import LinePrinter, event_line
from fishtune.core.jobs.writer import EventWriter, JobReporter
from fishtune.core.units import format_amount, format_bytes, format_duration


def _step(number: int) -> Step:
    return Step(
        step=number,
        total_steps=10**6,
        loss=1 / (number + 1),
        base_loss=0.5,
        semantic_loss=0.5,
        learning_rate=1e-4,
    )


def _messages(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Log)]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    events: list[Event] = [
        Started(stage="pack", settings={"a": "ü [/x] \n"}),
        _step(3),
        Finished(summary={"n": 1}),
    ]
    writer = EventWriter(tmp_path / "events.jsonl")
    for event in events:
        writer.write(event)
    writer.close()
    assert EventFollower(tmp_path / "events.jsonl").poll() == events
    assert (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl"]


def test_a_missing_file_has_no_events_and_may_appear_later(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    follower = EventFollower(path)
    assert EventFollower(path).poll() == [] == last_events(path, 3) == follower.poll()
    path.write_bytes(encode_event(Log(message="there")))
    assert _messages(follower.poll()) == ["there"]
    assert follower.poll() == []


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = encode_event(Log(message="second"))
    path.write_bytes(encode_event(Log(message="first")) + line[:9])
    follower = EventFollower(path)
    assert _messages(follower.poll()) == ["first"]
    assert _messages(last_events(path, 5)) == ["first"]
    assert _messages(EventFollower(path).poll()) == ["first"]
    with path.open("ab") as file:
        file.write(line[9:])
    assert _messages(follower.poll()) == ["second"]


def test_lines_of_a_newer_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = b'{"v":9,"time":1.0,"kind":"levitated","height":3}\n'
    added_field = b'{"v":2,"time":1.0,"kind":"log","message":"kept","colour":"red"}\n'
    path.write_bytes(newer + added_field + b"not json\n\n")
    assert _messages(EventFollower(path).poll()) == ["kept"]


@pytest.mark.parametrize("count", [0, 1, 2, 700, 5000])
def test_the_last_lines_are_found_across_blocks(tmp_path: Path, count: int) -> None:
    path = tmp_path / "events.jsonl"
    lines = [encode_event(Log(message=f"{number} " + "x" * (number % 400))) for number in range(2000)]
    path.write_bytes(b"".join(lines) + b'{"torn')
    wanted = lines[2000 - min(count, 2000) :]
    assert last_lines(path, count) == (wanted, sum(map(len, lines)))
    follower = LineFollower(path, last=count)
    assert follower.poll() == wanted
    with path.open("ab") as file:
        file.write(b'"}\n')
    assert follower.poll() == [b'{"torn"}\n']


def test_a_long_backlog_comes_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(encode_event(Log(message=str(number))) for number in range(1000)))
    follower = EventFollower(path)
    parts = []
    while part := follower.poll(limit=4096):
        parts.append(part)
    assert len(parts) > 10
    assert _messages([event for part in parts for event in part]) == [str(number) for number in range(1000)]


def test_a_reader_never_sees_a_broken_event_while_a_writer_appends(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    lines = [encode_event(Log(message=f"{number} ü한 " + "y" * (number % 97))) for number in range(3000)]
    content, draw = b"".join(lines), random.Random(0)

    def append_in_pieces() -> None:
        with path.open("ab", buffering=0) as file:
            position = 0
            while position < len(content):
                size = draw.randrange(1, 900)
                file.write(content[position : position + size])
                position += size

    thread = threading.Thread(target=append_in_pieces)
    follower, seen, tails = EventFollower(path), [], 0
    thread.start()
    while thread.is_alive() or len(seen) < len(lines):
        seen += follower.poll(limit=draw.randrange(1, 5000))
        has_line = b"\n" in path.read_bytes()
        tail = last_events(path, 1)
        assert len(tail) == 1 or not has_line
        tails += len(tail)
    thread.join()
    assert tails > 10
    assert [encode_event(event) for event in seen] == lines


_COUNT = """
import resource, sys
from pathlib import Path
from fishtune.core.events import decode_event
from fishtune.core.jobs.follow import read_lines
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(decode_event(line) is not None for line in read_lines(Path(sys.argv[1])))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_long_file_of_events_is_followed_from_the_end_at_once_and_read_in_bounded_memory(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    block = b"".join(encode_event(_step(number)) for number in range(1000))
    path.write_bytes(block * 200)
    process = psutil.Process()
    before = process.io_counters().read_chars
    follower = EventFollower(path, last=20)
    events = follower.poll()
    assert [event.step for event in events if isinstance(event, Step)] == list(range(980, 1000))
    assert process.io_counters().read_chars - before < 1 << 20, "the end of a file of 40 MB is enough"
    counted = subprocess.run(
        [sys.executable, "-P", "-c", _COUNT, str(path)], capture_output=True, text=True, check=True
    )
    count, kibibytes = map(int, counted.stdout.split())
    assert count == 200_000
    assert kibibytes < 16 * 1024, f"{path.stat().st_size / 1e6:.0f} MB of events took {kibibytes} KiB"


@pytest.mark.parametrize("last", [Finished(), Failed(error="E", message="m"), Stopped()])
def test_nothing_follows_the_last_event(tmp_path: Path, last: Event) -> None:
    writer = EventWriter(tmp_path / "events.jsonl")
    shown: list[Event] = []
    reporter = JobReporter(writer, [shown.append])
    for event in (Log(message="a"), last, Log(message="late"), Stopped(saved="twice"), Finished()):
        reporter.emit(event)
    writer.close()
    read = EventFollower(tmp_path / "events.jsonl").poll()
    assert read == [Log(message="a", time=shown[0].time), last] == shown


def test_events_from_several_threads_stay_whole(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "events.jsonl")

    def speak(name: str) -> None:
        for number in range(300):
            writer.write(Log(message=f"{name}{number}" + "z" * number))

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(EventFollower(tmp_path / "events.jsonl").poll()) == 1200


def test_on_a_full_disk_later_events_stay_readable_and_the_last_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    real_write = os.write

    def full_unless_room(descriptor: int, content: bytes) -> int:
        if (tmp_path / ".reserve").exists() and b"lost" in content:
            real_write(descriptor, content[:12])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(descriptor, content)

    monkeypatch.setattr(writer_module.os, "write", full_unless_room)
    for event in (Log(message="first"), Log(message="lost"), Log(message="after")):
        writer.write(event)
    writer.write(Failed(error="StorageError", message="lost for want of space"))
    writer.close()
    events = EventFollower(path).poll()
    assert _messages(events) == ["first", "after"]
    assert isinstance(events[-1], Failed)


def test_a_display_that_broke_is_not_asked_again_and_the_work_goes_on() -> None:
    seen: list[str] = []

    def gone(event: Event) -> None:
        seen.append("gone")
        raise OSError(errno.EIO, "Input/output error")

    reporter = JobReporter(None, [gone, lambda event: seen.append("kept")])
    for number in range(3):
        reporter.log(str(number))
    assert seen == ["gone", "kept", "kept", "kept"]


def test_progress_lines_come_at_intervals_and_always_at_the_end() -> None:
    lines: list[str] = []
    printer = LinePrinter(lines.append, interval=60)
    for done in range(101):
        printer(Progress(task="encoding", done=done, total=100, unit="clips"))
    printer(Warned(message="The clip [/foo] is short.", hint="Leave it out."))
    for number in range(5):
        printer(_step(number))
    assert lines[:3] == [
        "encoding: 0/100 clips (0%)",
        "encoding: 100/100 clips (100%)",
        "warning: The clip [/foo] is short. Leave it out.",
    ]
    assert lines[3].startswith("step 0/1000000, loss 1.000")
    assert len(lines) == 4


def test_numbers_are_written_as_people_read_them() -> None:
    assert [format_duration(value) for value in (0.4, 59.6, 61, 3840, 93600)] == [
        "0 s",
        "1 min 00 s",
        "1 min 01 s",
        "1 h 04 min",
        "1 d 02 h",
    ]
    assert [format_bytes(value) for value in (512, 1536, 1.7 * 2**30)] == ["512 B", "1.5 KiB", "1.7 GiB"]
    assert format_amount(12, 4000, "clips") == "12/4,000 clips"
    assert format_amount(3840, 7200, "s") == "1 h 04 min/2 h 00 min"
    assert event_line(Failed(error="DataError", message="Bad.", hint="Do this.")) == "failed: Bad. Do this."


def test_the_last_event_does_not_stick_to_a_line_that_a_kill_tore(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode_event(Log(message="whole")) + b'{"v":1,"kind":"log","mess')
    with contextlib.closing(EventWriter(path)) as writer:
        writer.write(Stopped())
    assert [type(event) for event in EventFollower(path).poll()] == [Log, Stopped]


def test_a_listener_that_breaks_in_two_threads_at_once_is_let_go_quietly() -> None:
    reporter = JobReporter(None, [])

    def broken(event: Event) -> None:
        reporter._listeners.clear()  # what another thread did in the meantime
        raise OSError

    reporter._listeners.append(broken)
    reporter.emit(Log(message="x"))


def test_a_file_without_lines_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole, no disk
    assert last_events(path, 1) == []
