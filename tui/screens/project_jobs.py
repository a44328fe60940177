"""The jobs of a project that is open: started, followed, shown in their steps, stopped."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from textual.timer import Timer

from ...core.config.project import Project
from ...core.config.strict import Table
from ...core.jobs.record import Job, JobState
from ...core.pipeline.steps import StepName, StepState
from ...core.stages.registry import StageName
from ..access import wizard
from ..attention import call_for_attention
from ..catalogue import _, sentence
from ..messages import MOST_LOG_LINES, JobChanged, LogGrown
from ..project_state import ProjectState, ShownStep
from ..trouble import caught, in_thread
from ..watch import JobWatch
from ..widgets.step_list import StepList
from ..wording import percent
from .project_file import ProjectFileScreen

_SHOW_SECONDS = 1.0


class ProjectJobsScreen(ProjectFileScreen):
    """A screen that follows the newest job of each step; panes are told at most once a second."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.state = ProjectState()
        self.current: StepName | None = None
        self._watches: dict[StepName, JobWatch] = {}
        self._news: dict[StepName, JobChanged] = {}
        self._shown_at: dict[StepName, float] = {}
        self._pending: dict[StepName, Timer] = {}
        self._logs: dict[StepName, deque[str]] = {}
        self._starting: set[StepName] = set()
        self._stop_asked: set[str] = set()
        self._guards: dict[str, int] = {}
        """Warnings of guards that were told, by job."""

    def on_unmount(self) -> None:
        for watch in self._watches.values():
            watch.close()

    def _follow(self, step: StepName, job: Job) -> None:
        old = self._watches.get(step)
        if old is not None:
            old.close()
        self._logs.pop(step, None)
        watch = JobWatch(step, job, self.post_message)
        self._watches[step] = watch
        watch.start()

    def on_job_changed(self, message: JobChanged) -> None:
        watch = self._watches.get(message.step)
        if watch is None or watch.job.id != message.job.id:
            return
        before = self._news.get(message.step)
        self._news[message.step] = message
        ended = message.state.is_over and before is not None and not before.state.is_over
        since = time.monotonic() - self._shown_at.get(message.step, 0.0)
        if ended or since >= _SHOW_SECONDS:
            self._show_job(message.step)
        elif message.step not in self._pending:
            self._pending[message.step] = self.set_timer(
                _SHOW_SECONDS - since, lambda: self._show_job(message.step)
            )
        if before is not None and before.job.id == message.job.id:
            self._call_for_attention(message, ended)
        if ended:
            self._stop_asked.discard(message.job.id)
            self.refresh_state()

    def _call_for_attention(self, message: JobChanged, ended: bool) -> None:
        """Tell whoever looks elsewhere that a job ended, or that a guard of training warns."""
        options, job, view = self.project.notify, message.job, message.view
        texts = []
        with view.lock:
            guards = [warning for warning in view.warnings if warning.guard]
        if len(guards) > self._guards.get(job.id, 0) and options.guard:
            texts.append(sentence(guards[-1].message))
        self._guards[job.id] = len(guards)
        if ended and (options.failure if message.state in (JobState.FAILED, JobState.LOST) else options.end):
            texts.append(_("{stage}: {state}").format(stage=job.record.stage, state=_(str(message.state))))
        for text in texts:
            call_for_attention(self.app, f"{self.project.name}: {text}", options)

    def _show_job(self, step: StepName) -> None:
        self._shown_at[step] = time.monotonic()
        timer = self._pending.pop(step, None)
        if timer is not None:
            timer.stop()
        news = self._news[step]
        pane = self._panes.get(step)
        if pane is not None and pane.ready and step is self.current:
            with caught(pane.notice.show_error):
                pane.show_job(news.job, news.state, news.view)
        self._tell_app()
        self.query_one(StepList).steps = tuple(self._with_share(status) for status in self.state.steps)

    def on_log_grown(self, message: LogGrown) -> None:
        for step, watch in self._watches.items():
            pane = self._panes.get(step)
            if watch.job.id != message.job:
                continue
            self._logs.setdefault(step, deque(maxlen=MOST_LOG_LINES)).extend(message.lines)
            if pane is not None and pane.ready:
                pane.add_log(message.job, message.lines)

    def _tell_app(self) -> None:
        running = {}
        for step, job in self.state.jobs.items():
            news = self._news.get(step)
            state = news.state if news is not None and news.job.id == job.id else None
            if state in (JobState.RUNNING, JobState.STARTING) or (
                state is None and step in self.state.running
            ):
                running[job.id] = (job, self.project)
        others = {key: value for key, value in wizard(self).running.items() if value[1] is not self.project}
        wizard(self).running = {**others, **running}

    def start_job(
        self, step: StepName, stage: StageName, settings: Table, secrets: Mapping[str, str] | None
    ) -> None:
        """Start a job of a step in a thread; an error is shown in its pane."""
        if step in self._starting:
            return  # Enter was pressed twice
        self._starting.add(step)
        engine, project, notice = wizard(self).engine, self.project, self._panes[step].notice

        def work() -> None:
            try:
                job = engine.start(project, stage, settings, secrets)
            finally:
                self._starting.discard(step)
            self.app.call_from_thread(self._started, step, job)

        notice.show_plain(_("Starting…"))
        in_thread(self, work, notice.show_error, "start", exclusive=False)

    def _started(self, step: StepName, job: Job) -> None:
        self._panes[step].notice.clear()
        self._news.pop(step, None)
        self._follow(step, job)
        self.refresh_state()

    def is_stopping(self, job: Job) -> bool:
        """Whether a job was asked to stop here."""
        return job.id in self._stop_asked

    def stop_job(self, step: StepName) -> None:
        """Ask a step's job to stop; asked again, end it at once."""
        pane = self._panes[step]
        job = pane.job
        if job is None:
            return
        engine = wizard(self).engine
        now = job.id in self._stop_asked
        self._stop_asked.add(job.id)
        pane.notice.show_plain(
            _("Ending it now…") if now else _("Stopping after the current step; once more ends it at once.")
        )

        in_thread(
            self, lambda: engine.stop(job.refresh(), now), pane.notice.show_error, "stop", exclusive=False
        )

    def _with_share(self, status: ShownStep) -> ShownStep:
        news = self._news.get(status.name)
        if news is None or news.state not in (JobState.RUNNING, JobState.STARTING):
            return status
        share = news.view.share
        word = _("running") + (f" {percent(share)}" if share is not None else "")
        return ShownStep(status.name, StepState.RUNNING, word, status.sentence)
