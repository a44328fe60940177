"""The losses of a run as a drawing, with where it was resumed and the recommended checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ...pipeline.history import RunHistory
from ..curves import Course, thinned
from .elements import add

_WIDE, _TALL = 960.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 12.0, 12.0, 28.0
_HIGHEST_SHARE = 0.98
"""The first steps of a run may be far above all others: so many of the losses are within the drawing."""


@dataclass(frozen=True)
class _Scale:
    last: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return _LEFT + step / max(self.last, 1) * (_WIDE - _LEFT - _RIGHT)

    def y(self, loss: float) -> float:
        share = (loss - self.low) / ((self.high - self.low) or 1)
        return _TOP + (1 - min(share, 1.05)) * (_TALL - _TOP - _BOTTOM)

    def line(self, course: Course) -> str:
        points = (f"{self.x(step):.1f} {self.y(loss):.1f}" for step, loss in course)
        return "M" + "L".join(points)


def draw_curve(history: RunHistory, chosen: int | None, title: str) -> Element | None:
    """Return the drawing; None where there are fewer than two losses.

    Args:
        chosen: step of the recommended checkpoint.
    """
    training = thinned([(step, event.loss) for step, event in sorted(history.steps.items())])
    held_out = [
        (step, event.loss) for step, event in sorted(history.validations.items()) if math.isfinite(event.loss)
    ]
    losses = sorted(loss for _, loss in (*training, *held_out))
    if len(losses) < 2:
        return None
    last = max(step for step, _ in (*training, *held_out))
    most = losses[int((len(losses) - 1) * _HIGHEST_SHARE)]
    scale = _Scale(last, losses[0], max([most, *(loss for _, loss in held_out)]))
    drawing = Element("svg", {"viewBox": f"0 0 {_WIDE:.0f} {_TALL:.0f}", "role": "img", "aria-label": title})
    for mark in history.marks:
        _upright(drawing, scale.x(mark.step), "resumed")
    if chosen is not None:
        _upright(drawing, scale.x(chosen), "best")
    for course, kind in ((training, "training"), (held_out, "held-out")):
        if course:
            add(drawing, "path", attributes={"class": kind, "d": scale.line(course)})
    for step, loss in held_out:
        place = {"cx": f"{scale.x(step):.1f}", "cy": f"{scale.y(loss):.1f}", "r": "3"}
        add(drawing, "circle", attributes={"class": "point", **place})
    for loss in (scale.low, scale.high):
        _label(drawing, _LEFT - 6, scale.y(loss) + 4, f"{loss:.2f}", "end")
    for step in (0, last):
        _label(drawing, scale.x(step), _TALL - 8, str(step), "end" if step else "start")
    return drawing


def _upright(drawing: Element, x: float, kind: str) -> None:
    ends = {"x1": f"{x:.1f}", "x2": f"{x:.1f}", "y1": f"{_TOP}", "y2": f"{_TALL - _BOTTOM}"}
    add(drawing, "line", attributes={"class": kind, **ends})


def _label(drawing: Element, x: float, y: float, text: str, anchor: str) -> None:
    add(drawing, "text", text, {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
