"""Events: one line each, read back as written, tolerant of torn and newer lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fishtune.core.errors import StopRequested
from fishtune.core.events import (
    ClipsListed,
    Event,
    Failed,
    Finished,
    ItemFailed,
    Phase,
    Progress,
    ProgressMeter,
    Reporter,
    Started,
    Step,
    Warned,
    decode_event,
    encode_event,
)
from fishtune.core.jobs.lines import LinePrinter, event_line
from fishtune.core.messages import Message
from fishtune.core.units import format_duration


@pytest.mark.parametrize(
    "event",
    [
        Started(stage="extract", settings={"batch_size": 4}),
        Phase(name=Message("loading the model")),
        Progress(task="encoding", done=3, total=10, unit="clips"),
        ItemFailed(item="SPK/한글 [laugh].mp3", message="line one\nline two"),
        Step(step=1, loss=20.1, base_loss=12.0, semantic_loss=8.1, learning_rate=1e-4),
        Warned(message="[/foo] 😀"),
        Failed(error="PreflightError", message="m", hint="h"),
        ClipsListed(clips=[{"clip": "SPK/한글", "seconds": 1.5}]),
        Finished(summary={"clips": 3}),
    ],
)
def test_an_event_is_one_line_and_comes_back_equal(event: Event) -> None:
    line = encode_event(event)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_event(line) == event


def test_what_is_listed_of_clips_is_for_lists_and_not_for_logs() -> None:
    lines: list[str] = []
    show = LinePrinter(lines.append, 0.0)
    show(ClipsListed(clips=[{}, {}]))
    show(Finished())
    assert lines == ["finished"]
    assert event_line(ClipsListed(clips=[{}, {}])) == "clips listed: 2"


def test_a_torn_line_and_an_unknown_kind_are_none() -> None:
    line = encode_event(Finished())
    assert decode_event(line[: len(line) // 2]) is None
    assert decode_event(b'{"kind": "from_the_future", "v": 9}') is None
    assert decode_event(b"\x00\xff") is None


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert decode_event(b'{"v": 2, "time": 1.0, "kind": "log", "message": "m", "new": 1}') is not None


def test_a_stop_request_unwinds_with_what_is_saved() -> None:
    reporter = Reporter()
    reporter.check_stop("nothing yet")
    reporter.request_stop()
    with pytest.raises(StopRequested) as caught:
        reporter.check_stop("Three clips are done.")
    assert caught.value.saved == "Three clips are done."


class _Progresses(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Progress] = []

    def emit(self, event: Event) -> None:
        assert isinstance(event, Progress)
        self.events.append(event)


def test_a_meter_tells_rate_and_time_to_go_without_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("fishtune.core.events.time.monotonic", lambda: now)
    reporter = _Progresses()
    meter = ProgressMeter(reporter, "encoding", total=100, unit="clips", done=40)
    for _ in range(20):
        now += 0.1
        meter.advance()
    shown = reporter.events[-1]
    assert len(reporter.events) <= 5  # at most two a second, and the first
    assert shown.rate == pytest.approx(10)
    assert shown.eta == pytest.approx((100 - shown.done) / 10)
    meter.advance(40)
    assert reporter.events[-1].done == 100


@pytest.mark.parametrize(("total", "known_after"), [(10, 1), (20_000, 20)])
def test_the_very_first_of_many_units_do_not_tell_how_long_the_others_take(
    total: int, known_after: int
) -> None:
    reporter = _Progresses()
    meter = ProgressMeter(reporter, "checking", total=total, unit="clips", frequency=1e9)
    for _ in range(known_after):
        meter.advance()
    assert [event.eta is not None for event in reporter.events] == [*[False] * (known_after - 1), True]


@pytest.mark.parametrize(
    "changes",
    [
        {"time": 253_402_300_800},
        {"time": 1e300},
        {"time": -1e9},
        {"done": 1e300},
        {"done": -1},
        {"done": float("nan")},
        {"v": 10**30, "time": float("inf")},
    ],
)
def test_an_event_with_a_time_or_count_beyond_any_sense_is_none(changes: dict[str, Any]) -> None:
    whole = {"v": 1, "time": 1e9, "kind": "progress", "task": "x", "done": 1, "total": 2}
    assert decode_event(json.dumps(whole).encode()) is not None
    assert decode_event(json.dumps(whole | changes).encode()) is None


@pytest.mark.parametrize("eta", [float("nan"), float("inf"), -5, 1e300, 10**400])
def test_an_estimate_that_nobody_can_mean_is_unknown(eta: float) -> None:
    progress = {"kind": "progress", "task": "x", "done": 3, "total": eta, "rate": eta, "eta": eta}
    step = {"kind": "step", "step": 1, "loss": 1, "base_loss": 1, "semantic_loss": 1, "learning_rate": 1}
    for content in (progress, step | {"eta": eta, "total_steps": eta}):
        event = decode_event(json.dumps(content).encode())
        assert isinstance(event, Progress | Step) and event.eta is None
        assert "to go" not in event_line(event)
    assert Progress(task="x", done=5, total=4, eta=-0.5).eta is None


@pytest.mark.parametrize("value", ["[" * 500 + "]" * 500, "1e999", "NaN", "1" + "0" * 400, '"\\ud800"'])
def test_tables_inside_of_events_are_bounded(value: str) -> None:
    assert decode_event(f'{{"kind": "finished", "summary": {{"x": {value}}}}}'.encode()) is None


def test_a_duration_that_is_not_finite_is_shown_as_unknown() -> None:
    assert [format_duration(value) for value in (float("nan"), float("inf"), -float("inf"))] == ["?"] * 3


def test_a_name_that_is_not_utf_8_does_not_end_the_work_that_tells_of_it() -> None:
    event = Warned(message="\udcc0\udcaf 유나 cannot be read.")
    line = encode_event(event)
    found = decode_event(line)
    assert isinstance(found, Warned)
    assert found.message == "?? 유나 cannot be read."
