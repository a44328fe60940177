"""A training run on screen: how far it is, curve, numbers, GPU, checkpoints, log."""

from __future__ import annotations

import time

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.widgets import Static

from ...core.jobs.record import Job, JobState
from ..access import project_screen, wizard
from ..catalogue import _, sentence
from ..compared import compared_run, remember_compared
from ..glyphs import LINES, Glyphs, bar
from ..run_view import RunView, share_of
from ..trouble import in_thread
from ..watch import read_run
from ..wording import clock, count, decimal, duration, percent, size
from .gpu_gauge import GpuGauge, other_height
from .monitor import JobMonitor
from .notice import Notice
from .panel import panel
from .plain import PlainVertical
from .run_chart import NO_RUN, RunChart
from .table import Table

_WIDE = 96
_TICK_SECONDS = 1.0
_SHORTEST_BAR, _LONGEST_BAR = 10, 40


class TrainingMonitor(JobMonitor):
    """The monitor of the train step."""

    DEFAULT_CSS = """
    TrainingMonitor #run { width: 100%; height: 2; }
    TrainingMonitor.-wide #run { height: 1; }
    TrainingMonitor #top { height: 4fr; }
    TrainingMonitor #side { height: auto; }
    TrainingMonitor #numbers { width: 100%; height: auto; }
    TrainingMonitor #checkpoints { height: auto; max-height: 6; display: none; margin: 1 0 0 0; }
    TrainingMonitor #log { height: 1fr; min-height: 3; }
    TrainingMonitor.-noticed #top { height: 12fr; }
    TrainingMonitor.-noticed #log { min-height: 1; }
    TrainingMonitor.-roomy #top { height: 4fr; }
    TrainingMonitor #detailed-failed-items.-shown { display: none; }
    TrainingMonitor.-roomy #checkpoints { display: block; }
    TrainingMonitor.-roomy #detailed-failed-items.-shown { display: block; max-height: 8; }
    TrainingMonitor.-wide #top { layout: horizontal; }
    TrainingMonitor.-wide #chart { width: 1fr; }
    TrainingMonitor.-wide #side { width: 44; height: 1fr; padding: 0 0 0 2; }
    TrainingMonitor.-wide #checkpoints { height: 1fr; max-height: 100%; }
    """

    def __init__(self, glyphs: Glyphs = LINES, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(glyphs, id=id)
        self._ascii_only = ascii_only
        self._view: RunView | None = None
        self._texts: dict[str, str] = {}
        """What the lines beside the chart show."""
        self._state: JobState | None = None
        self._device = "auto"

    def compose(self) -> ComposeResult:
        yield Static("", id="run", markup=False)
        with PlainVertical(id="top"):
            yield panel(RunChart(self._glyphs, ascii_only=self._ascii_only, id="chart"), _("Loss"))
            with PlainVertical(id="side"):
                yield panel(Static("", id="numbers", markup=False), _("Numbers"))
                yield panel(GpuGauge(self._glyphs, id="gauge"), "GPU")
                checkpoints = Table(
                    [
                        (_("step"), 7, "right"),
                        (_("held-out"), 10, "right"),
                        (_("size"), 9, "right"),
                        (_("time"), 11, "right"),
                    ],
                    id="checkpoints",
                )
                yield panel(checkpoints, _("Checkpoints"))
        yield from super().compose()

    def on_mount(self) -> None:
        self.set_interval(_TICK_SECONDS, self._tick)
        self._find_runs()

    def _tick(self) -> None:
        """Bring up to date what changes without the job saying anything."""
        if self._view is not None and self._runs and self.display:
            with self._view.lock:
                text = self._run_text(self._view)
            self._say("run", text)
            self._take_gpus()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= _WIDE, "-wide")
        self.set_class(event.size.width >= _WIDE or event.size.height >= 34, "-roomy")
        if self._view is not None:
            self._draw(self._view)
            self.query_one("#numbers").refresh(layout=True)  # it has other rows in another width
            self.call_after_refresh(self._draw, self._view)  # by then the parts have their new widths

    def show(self, job: Job, state: JobState, view: RunView) -> None:
        super().show(job, state, view)
        self._view, self._state = view, state
        self.set_class(bool(self.query_one("#job-notice", Notice).text), "-noticed")
        self._device = str(job.record.settings.get("device", "auto"))
        self._draw(view)

    def progress_text(self, view: RunView, state: JobState) -> Text:
        # Before the first step: indexing, measuring, loading. Afterwards the numbers say it all.
        if view.has_begun:
            return Text("")
        return super().progress_text(view, state)

    def _draw(self, view: RunView) -> None:
        with view.lock:
            texts = {"run": self._run_text(view), "numbers": self._numbers_text(view)}
        for name, text in texts.items():
            self._say(name, text)
        self._take_gpus()
        self.query_one(RunChart).show(view)

    def _say(self, name: str, text: Text) -> None:
        before = self._texts.get(name, "")
        if text.plain != before:
            self._texts[name] = text.plain
            part = self.query_one(f"#{name}", Static)
            part.update(text, layout=other_height(before, text.plain))
            part.display = bool(text)

    def _take_gpus(self) -> None:
        reading = wizard(self).gpus if self._runs else None
        self.query_one(GpuGauge).take(reading, self._device, rows=2 if self.has_class("-wide") else 1)

    @property
    def _runs(self) -> bool:
        return self._state in (JobState.RUNNING, JobState.STARTING)

    def _run_text(self, view: RunView) -> Text:
        """Return what the run does now, or how far it is, with how long it took and will take."""
        elapsed = duration(view.elapsed(time.time() if self._runs else None))
        step, details = view.step, []
        if step is not None:
            total = f" / {count(step.total_steps)}" if step.total_steps else ""
            details = [_("step {number}").format(number=f"{count(step.step)}{total}")]
        if self._runs and not view.has_begun:
            doing = sentence(view.phase.name) if view.phase is not None else _("starting the process")
            # How long this phase takes, since that is what somebody wonders who waits for it.
            since = view.phase or view.started
            details += [duration(max(time.time() - since.time, 0.0))] if since is not None else []
            text = Text(f"{self._glyphs.running} {doing} …  ", no_wrap=True, overflow="ellipsis")
            return text.append(" · ".join(details), style="dim")
        if step is None:
            return Text("")
        if self._runs:
            details += [_("{duration} so far").format(duration=elapsed)]
            details += [_("{duration} to go").format(duration=duration(step.eta))]
        else:
            details.append(_("took {duration}").format(duration=elapsed))
        words = " · ".join(details)
        share = share_of(step.step, step.total_steps)
        if share is None:
            return Text(words, no_wrap=True, overflow="ellipsis")
        beside = self.has_class("-wide")
        room = max(self.size.width, 40) - (cell_len(words) + 10 if beside else 8)
        length = min(max(room, _SHORTEST_BAR), _LONGEST_BAR)
        text = Text(bar(self._glyphs, share, length), no_wrap=True, overflow="ellipsis")
        return text.append(f" {percent(share):>5}" + ("  " if beside else "\n") + words)

    def _numbers_text(self, view: RunView) -> Text:
        step = view.step
        if step is None:
            return Text("")
        held, best, wide = view.validation, view.best, self.has_class("-wide")
        at = "–" if best is None else _("{loss} at {step}").format(loss=decimal(best[1]), step=count(best[0]))
        pairs = [
            (_("held-out loss"), decimal(held.loss if held else None)),
            (_("best held-out"), at),
            (_("top-5 held-out"), percent(held.top_5_accuracy if held else None)),
            (_("clip passes"), f"{step.clip_passes:.2f}"),
            (_("learning rate"), f"{step.learning_rate:.2e}"),
            (_("tokens/s"), count(step.tokens_per_second)),
        ]
        if wide:
            pairs.insert(2, (_("base held-out"), decimal(view.base_loss)))
            pairs += [(_("memory at most"), size(step.memory_bytes))] if step.memory_bytes else []
        return in_columns(pairs, 1 if wide else 2, max(self.query_one("#numbers").size.width, 40))

    def show_checkpoints(self, view: RunView) -> None:
        """Show the checkpoints saved so far, newest first."""
        with view.lock:
            saved = sorted(view.checkpoints.values(), key=lambda item: -item.step)
        self.query_one("#checkpoints", Table).show_rows(
            (
                str(item.step),
                (
                    count(item.step),
                    decimal(item.validation_loss),
                    size(item.bytes),
                    clock(item.time).partition("-")[2] or "–",
                ),
            )
            for item in saved[:200]
        )

    # another run beside this one

    def _find_runs(self) -> None:
        project = project_screen(self).project

        def work() -> None:
            from ...core.jobs.find import places_in
            from ...core.pipeline.history import training_jobs

            names = [
                place.project
                for place in places_in(project.results)
                if place.project != project.name and training_jobs(place)
            ]
            self.app.call_from_thread(self._offer, names, compared_run(project.run_folder))

        in_thread(self, work, wizard(self).tell_error, "runs")

    def _offer(self, names: list[str], chosen: str) -> None:
        chart = self.query_one(RunChart)
        chart.offer_runs(names, chosen)
        self._show_other(chart.other)

    def on_run_chart_other_chosen(self, event: RunChart.OtherChosen) -> None:
        """Draw another run, and remember which for the project."""
        event.stop()
        remember_compared(project_screen(self).project.run_folder, event.run)
        self._show_other(event.run)

    def _show_other(self, run: str) -> None:
        chart, results = self.query_one(RunChart), project_screen(self).project.results
        if run == NO_RUN:
            chart.show_other(None)
            return

        def work() -> None:
            from ...core.jobs.record import Place
            from ...core.pipeline.history import training_jobs

            view = read_run(training_jobs(Place(results=results, project=run)))
            self.app.call_from_thread(self._take_other, run, view)

        in_thread(self, work, wizard(self).tell_error, "other run")

    def _take_other(self, run: str, view: RunView) -> None:
        chart = self.query_one(RunChart)
        if chart.other == run:  # else another one was chosen meanwhile
            chart.show_other(view)

    # what was heard

    def on_run_chart_looked(self, event: RunChart.Looked) -> None:
        """Read what the judge heard of the checkpoints, afresh whenever somebody comes to look."""
        event.stop()
        project = project_screen(self).project

        def work() -> None:
            from ..heard import heard_checkpoints

            folder = project.folder

            def near(path: object) -> str:
                text = str(path)
                return text.removeprefix(f"{folder}/")

            self.app.call_from_thread(
                self.query_one(RunChart).show_judged, heard_checkpoints(project.run_folder, near)
            )

        in_thread(self, work, wizard(self).tell_error, "heard")


def in_columns(pairs: list[tuple[str, str]], columns: int, width: int) -> Text:
    """Return names and values in columns, values on the right; a column may be wider than its share."""
    rows = -(-len(pairs) // columns)
    needed = [
        max(cell_len(name) + cell_len(value) + 1 for name, value in pairs[at : at + rows])
        for at in range(0, len(pairs), rows)
    ]
    room = (width - 4 * (columns - 1)) // columns
    spare = max(width - 4 * (columns - 1) - sum(needed), 0) // columns
    widths = [min(room, 40) if max(needed) <= room else each + spare for each in needed]
    text = Text(no_wrap=True, overflow="crop")
    for row in range(rows):
        if row:
            text.append("\n")
        for column in range(columns):
            position = column * rows + row
            if position >= len(pairs):
                continue
            name, value = pairs[position]
            text.append(name, style="dim")
            text.append(" " * max(widths[column] - cell_len(name) - cell_len(value), 1) + value)
            if column < columns - 1:
                text.append("    ")
    return text
