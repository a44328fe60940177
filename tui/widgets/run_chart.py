"""The chart of a run: what is drawn is chosen above it, what lies under its cursor stands below."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from ..catalogue import _
from ..glyphs import LINES, Glyphs
from ..run_view import RunView
from ..wording import count, decimal, harmless
from .choice import Choice
from .curve import Curve, Picture
from .plain import PlainVertical
from .run_lines import ChartOptions, Drawing, chart_lines, drawing, first_step

NO_RUN = ""


class RunChart(PlainVertical):
    """Curve, switches and cursor of one run, over another one if wanted."""

    DEFAULT_CSS = """
    RunChart { height: 1fr; }
    RunChart .switches { height: 1; }
    RunChart .switches Choice { margin: 0 2 0 0; }
    RunChart #readout { height: auto; max-height: 3; display: none; }
    RunChart #readout.-shown { display: block; }
    """

    class OtherChosen(Message):
        """Another run is to be drawn beside this one, or none."""

        def __init__(self, run: str) -> None:
            super().__init__()
            self.run = run

    class Looked(Message):
        """The cursor came onto the curve: what is known of the checkpoints is wanted."""

    def __init__(self, glyphs: Glyphs = LINES, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._ascii_only = ascii_only
        self._view: RunView | None = None
        self._other: RunView | None = None
        self._judged: Mapping[int, str] = {}
        self._cursor: float | None = None
        """The step that is looked at, None until the curve had the focus."""
        self._drawn = Drawing([], [], [])

    def compose(self) -> ComposeResult:
        glyphs = self._glyphs
        losses = [
            ("loss", _("total loss")),
            ("base_loss", _("base loss")),
            ("semantic_loss", _("semantic loss")),
        ]
        with Horizontal(classes="switches"):
            yield Choice(losses, "loss", glyphs, id="which")
            smoothings = [("smooth", _("smoothed")), ("raw", _("raw")), ("both", _("both"))]
            yield Choice(smoothings, "smooth", glyphs, id="smoothing")
            axes = [("step", _("over steps")), ("passes", _("over clip passes"))]
            yield Choice(axes, "step", glyphs, id="axis")
        with Horizontal(classes="switches"):
            zooms = [("all", _("whole run")), ("half", _("last half")), ("tenth", _("last tenth"))]
            yield Choice(zooms, "all", glyphs, id="zoom")
            yield Choice([("linear", _("linear")), ("log", _("logarithmic"))], "linear", glyphs, id="scale")
            yield Choice([(NO_RUN, _("no other run"))], NO_RUN, glyphs, id="other")
        yield Curve(self._ascii_only, id="curve")
        yield Static("", id="readout", markup=False)

    @property
    def other(self) -> str:
        """Name of the run that is drawn beside this one."""
        return self.query_one("#other", Choice).value

    def offer_runs(self, names: Sequence[str], chosen: str) -> None:
        """Offer other runs to be drawn beside this one."""
        choice = self.query_one("#other", Choice)
        choice.options = [(NO_RUN, _("no other run")), *((name, f"+ {name}") for name in names)]
        choice.value = chosen if chosen in names else NO_RUN
        choice.display = bool(names)

    def show_other(self, view: RunView | None) -> None:
        """Draw another run, or none."""
        self._other = view
        self.redraw()

    def show_judged(self, judged: Mapping[int, str]) -> None:
        """Take what was heard of checkpoints, a line each, by step."""
        self._judged = judged
        self.redraw()

    def show(self, view: RunView) -> None:
        """Draw a run as it is now."""
        self._view = view
        self.redraw()

    def redraw(self) -> None:
        """Draw again what changed."""
        view = self._view
        if view is None:
            return
        curve, options = self.query_one(Curve), self._options()
        label = _("clip passes") if options.by_passes else _("steps")
        with view.lock:
            lines = chart_lines(view, options, curve.columns, self._other)
            start = first_step(view, options)
            smooth = options.smoothing != "raw"
            self._drawn = drawing(view, options, curve.columns, start, smooth=smooth)
            readout = self._readout(view) if curve.has_focus else ""
        at = self._place() if curve.has_focus else None
        cursor = None if at is None else self._drawn.positions[at]
        curve.show(Picture(lines, label, self.query_one("#scale", Choice).value == "log", cursor))
        line = self.query_one("#readout", Static)
        line.set_class(bool(readout), "-shown")
        if str(line.content) != readout:
            line.update(Text(readout))

    def _options(self) -> ChartOptions:
        def chosen(name: str) -> str:
            return self.query_one(f"#{name}", Choice).value

        return ChartOptions(
            which=chosen("which"),  # type: ignore[arg-type]
            smoothing=chosen("smoothing"),  # type: ignore[arg-type]
            by_passes=chosen("axis") == "passes",
            zoom=chosen("zoom"),
        )

    # the cursor

    def _place(self) -> int | None:
        """Return where among the drawn points the cursor is; None where nothing is drawn."""
        steps = self._drawn.steps
        if not steps:
            return None
        return (
            len(steps) - 1 if self._cursor is None else min(bisect_left(steps, self._cursor), len(steps) - 1)
        )

    def _readout(self, view: RunView) -> str:
        at = self._place()
        if at is None:
            return ""
        step = round(self._drawn.steps[at]) if self._cursor is None else round(self._cursor)
        parts = [
            _("step {step}: train {loss}").format(step=count(step), loss=decimal(self._drawn.values[at]))
        ]
        held_steps, held = view.held_out[self._options().which].decimated(1 << 12)
        nearest = bisect_left(held_steps, step + 1) - 1
        if nearest >= 0:
            parts.append(
                _("held-out {loss} at {step}").format(
                    loss=decimal(held[nearest]), step=count(held_steps[nearest])
                )
            )
        if step in view.checkpoints:
            judged = self._judged.get(step)
            parts.append(judged or _("checkpoint, not listened to yet"))
        else:
            parts.append(_("Page Up and Page Down: checkpoints"))
        return harmless(" · ".join(parts))

    def on_curve_cursor_moved(self, event: Curve.CursorMoved) -> None:
        event.stop()
        at = self._place()
        if at is None or self._view is None:
            return
        steps = self._drawn.steps
        if event.to_checkpoint:
            here = steps[at] if self._cursor is None else self._cursor
            with self._view.lock:
                saved = sorted(self._view.checkpoints)
            further = [step for step in saved if (step > here if event.by > 0 else step < here)]
            if further:
                self._cursor = float(further[0] if event.by > 0 else further[-1])
        else:
            self._cursor = steps[min(max(at + event.by, 0), len(steps) - 1)]
        self.redraw()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, Curve):
            self.post_message(self.Looked())
            self.redraw()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        if isinstance(event.widget, Curve):
            self.redraw()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        if event.choice.id == "other":
            self.post_message(self.OtherChosen(event.value))
        self.redraw()

    def on_resize(self, _event: events.Resize) -> None:
        self.redraw()
