"""The chart of the loss curve: its axes, and where its dots and signs lie."""

from __future__ import annotations

import pytest
from fishtune.tui.chart import Axis, Canvas
from fishtune.tui.widgets.curve import Line, Picture, draw


@pytest.mark.parametrize(
    ("low", "high", "most", "labels"),
    [
        (0.0, 10.0, 6, ["0", "2", "4", "6", "8", "10"]),
        (2.93, 3.17, 3, ["3.0", "3.1"]),
        (1.0, 100_000.0, 4, ["50,000", "100,000"]),
        (1e-9, 3e-9, 4, ["1.0e-09", "2.0e-09", "3.0e-09"]),
        (-1.2, 1.2, 3, ["-1", "0", "1"]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(
    low: float, high: float, most: int, labels: list[str]
) -> None:
    assert [label for _share, label in Axis([low, high], most).ticks] == labels


def test_ticks_are_at_most_as_many_as_asked_for_and_at_least_one() -> None:
    for most in (2, 3, 5, 8):
        for high in (1.01, 1.5, 2.0, 3.7, 9.9, 123.4, 1e6):
            ticks = Axis([1.0, high], most).ticks
            assert 1 <= len(ticks) <= most, (most, high, ticks)
            assert all(0 <= share <= 1 for share, _label in ticks)


def test_a_single_value_lies_in_the_middle_and_what_is_no_number_at_the_top() -> None:
    axis = Axis([4.0], 3)
    assert axis.share(4.0) == 0.5
    axis = Axis([1.0, float("nan"), 2.0, float("inf")], 3)
    assert (axis.low, axis.high) == (1.0, 2.0)
    assert [axis.share(value) for value in (float("nan"), float("inf"), float("-inf"))] == [1.0, 1.0, 0.0]


def test_a_diagonal_runs_through_the_corner_dots_without_gaps() -> None:
    canvas = Canvas(4, 2)
    canvas.line([(0.0, 1.0), (1.0, 0.0)], "cyan")
    rows = [canvas.row(0), canvas.row(1)]
    assert ["".join(text for text, _style in row) for row in rows] == ["  ⡠⠊", "⡠⠊  "]
    assert {style for row in rows for _text, style in row} == {"cyan", ""}


def test_signs_lie_over_dots_drawn_before_and_under_those_drawn_after() -> None:
    canvas = Canvas(2, 1)
    canvas.line([(0.0, 0.0), (1.0, 0.0)], "cyan")
    canvas.points([(1.0, 0.0)], "yellow", "•")
    assert canvas.row(0) == [("⠉", "cyan"), ("•", "yellow")]
    canvas.line([(0.0, 0.0), (1.0, 0.0)], "red")
    assert canvas.row(0) == [("⠉⠉", "red")]


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("size", [(20, 4), (21, 11), (22, 12), (60, 7), (111, 30)])
def test_a_chart_fills_its_room_and_no_more(size: tuple[int, int], ascii_only: bool) -> None:
    steps = [float(number) for number in range(1, 400)]
    lines = [
        Line("raw", steps, [8 - step / 100 + step % 3 for step in steps], "cyan", "faint points"),
        Line("train", steps, [8 - step / 100 for step in steps], "cyan"),
        Line("held-out", [400.0], [4.0], "yellow", "points"),
    ]
    *rows, legend = draw(Picture(lines, "steps"), *size, ascii_only=ascii_only).plain.split("\n")
    assert len(rows) == size[1] - 1 and legend.startswith("steps ")
    assert max(len(row) for row in rows) == size[0]
    assert not ascii_only or all(row.isascii() for row in rows)
