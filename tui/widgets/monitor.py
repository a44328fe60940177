"""A running or ended job: progress, what went wrong, its log."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.widgets import Static

from ...core.events import Failed, Finished, Progress, Stopped, Warned
from ...core.jobs.record import Job, JobState
from ...core.messages import NOTHING
from ..access import wizard
from ..actions import key_label, keys_of
from ..catalogue import _, ngettext, sentence
from ..glyphs import LINES, Glyphs, bar
from ..run_view import RunView, share_of
from ..wording import count, duration, fit, percent, plain, size
from .detailed_table import DetailedTable
from .log_pane import LogPane
from .notice import Notice
from .panel import panel
from .plain import PlainVertical


class JobMonitor(PlainVertical):
    """Shows one job at a time."""

    DEFAULT_CSS = """
    JobMonitor { height: 1fr; }
    JobMonitor #progress { height: auto; padding: 0 0 1 0; display: none; }
    JobMonitor #progress.-shown { display: block; }
    JobMonitor #failed-items { max-height: 7; }
    JobMonitor #detailed-failed-items { display: none; margin: 0 0 1 0; }
    JobMonitor #detailed-failed-items.-shown { display: block; }
    JobMonitor .hidden { display: none; }
    JobMonitor > .job--running { color: $primary; }
    JobMonitor > .job--whole { color: $success; }
    JobMonitor > .job--quiet { color: $muted; }
    """
    COMPONENT_CLASSES = {"job--running", "job--whole", "job--quiet"}

    def __init__(self, glyphs: Glyphs = LINES, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._job = ""
        self._progress_text = ""
        self._last: tuple[Job, JobState, RunView] | None = None
        self._log_hidden_for = ""
        self._superseded = False

    def compose(self) -> ComposeResult:
        yield panel(Static("", id="progress", markup=False), _("Progress"))
        yield Notice(id="job-notice")
        failed = DetailedTable(
            [(_("could not be used"), None, "left"), (_("why"), None, "left")], id="failed-items"
        )
        yield panel(failed, _("Failures"))
        yield panel(LogPane(id="log"), _("Log"))

    def show(self, job: Job, state: JobState, view: RunView) -> None:
        """Show what the job says now."""
        self._turn_to(job.id)
        self._last = (job, state, view)
        with view.lock:
            lines = self.progress_text(view, state)
            failures = list(view.failures)
            warning = view.warning or Warned(message=NOTHING)
            end, loss = view.end, view.loss
        if lines.plain != self._progress_text:
            self._progress_text = lines.plain
            progress = self.query_one("#progress", Static)
            progress.update(lines)
            progress.set_class(bool(lines.plain), "-shown")
        table = self.query_one(DetailedTable)
        table.set_class(bool(failures), "-shown")
        table.show_rows(
            (
                f"{number}",
                (plain(item.item), plain(sentence(item.message))),
                f"{sentence(item.message)}\n→ {sentence(item.hint)}" if item.hint else sentence(item.message),
            )
            for number, item in enumerate(failures)
        )
        self._show_end(state, end, loss, warning)
        bad = isinstance(end, Failed) or state is JobState.LOST
        if bad and self._log_hidden_for != job.id:
            # What it ends with is a traceback, which explains less than the sentence; a key shows it.
            self._log_hidden_for = job.id
            self.query_one(LogPane).add_class("hidden")

    def supersede(self, superseded: bool) -> None:
        """Show, or do not show any more, how the job ended: what it was to do has been done since."""
        if superseded is not self._superseded:
            self._superseded = superseded
            if self._last is not None:
                self.show(*self._last)

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        # Bars are as long as there is room, and there is none while the form is shown.
        if self._last is not None:
            self.show(*self._last)

    def progress_text(self, view: RunView, state: JobState) -> Text:
        """Return how far the job is. Called under the view's lock."""
        width, running = max(self.size.width, 40), not state.is_over
        lines = Text("\n").join(
            self._progress_line(item, width, running) for item in list(view.progress.values())[-8:]
        )
        if view.failed_items:
            number = ngettext("{number} could not be used.", "{number} could not be used.", view.failed_items)
            lines.append("\n" + number.format(number=count(view.failed_items)), style="bold")
        return lines

    def _progress_line(self, progress: Progress, width: int, running: bool) -> Text:
        """Return one task's progress in two rows: name, bar, share; amounts, rate, time to go."""
        share = share_of(progress.done, progress.total)
        name = fit(sentence(progress.task), 20)
        text = Text(name + " " * (21 - cell_len(name)), no_wrap=True, overflow="crop")
        if share is not None:
            kind = "job--whole" if share >= 1 else "job--running" if running else "job--quiet"
            room = min(max(width - 30, 8), 40)
            style = self.get_component_rich_style(kind, partial=True)
            text.append(bar(self._glyphs, share, room), style=style)
            text.append(f" {percent(share):>5}")
        details = [amount(progress)]
        if running and progress.eta is not None and share != 1.0:
            details.append(_("{duration} to go").format(duration=duration(progress.eta)))
        if progress.detail:
            details.append(sentence(progress.detail))
        elif running and progress.rate:
            rate = _rate(progress)
            details += [rate] if cell_len("  " + " · ".join([*details, rate])) <= width else []
        quiet = self.get_component_rich_style("job--quiet", partial=True)
        return text.append("\n" + fit("  " + " · ".join(details), width), style=quiet)

    def _show_end(
        self, state: JobState, end: Failed | Stopped | Finished | None, loss: str, warning: Warned
    ) -> None:
        notice = self.query_one("#job-notice", Notice)
        match end:
            case _ if self._superseded:
                notice.clear()
            case Failed():
                notice.show_failure(sentence(end.message), sentence(end.hint), self._where_the_log_is())
            case Stopped():
                notice.show_plain(_("Stopped.") + f" {sentence(end.saved)}")
            case _ if state is JobState.LOST:
                hint = _("Start it again here: it continues from what was saved.")
                notice.show_failure(sentence(loss), hint, self._where_the_log_is())
            case _ if state is JobState.ELSEWHERE:
                notice.show_warning(_("This job runs, or ran, on another machine."))
            case _ if warning.message:
                notice.show_warning(sentence(warning.message), sentence(warning.hint))
            case _:
                notice.clear()

    def _where_the_log_is(self) -> str:
        keys = keys_of("toggle_log", wizard(self).settings.keys)
        return _("{key} shows the log.").format(key=key_label(keys))

    def add_log(self, job: str, lines: list[str]) -> None:
        """Append lines of a job's log; another job's lines are taken away first."""
        self._turn_to(job)
        self.query_one(LogPane).add(lines)

    def _turn_to(self, job: str) -> None:
        if job != self._job:
            self._job = job
            log = self.query_one(LogPane)
            log.start_again()
            log.remove_class("hidden")


def amount(progress: Progress) -> str:
    """Return how much is done, in the task's unit: `37 of 60 clips`, `1.2 of 1.7 GiB`."""
    if progress.unit == "bytes":
        shown = [size(progress.done)] + ([size(progress.total)] if progress.total else [])
    elif progress.unit == "s":
        shown = [duration(progress.done)] + ([duration(progress.total)] if progress.total else [])
    else:
        shown = [count(progress.done)] + ([count(progress.total)] if progress.total else [])
    text = _("{done} of {total}").format(done=shown[0], total=shown[1]) if len(shown) == 2 else shown[0]
    unit = "" if progress.unit in ("bytes", "s") else f" {_(progress.unit)}"
    return text + unit


def _rate(progress: Progress) -> str:
    rate = progress.rate or 0.0
    if progress.unit == "bytes":
        return f"{size(rate)}/s"
    if progress.unit == "s":
        return _("{rate} × real time").format(rate=f"{rate:.1f}")
    return f"{rate:,.1f}/s"
