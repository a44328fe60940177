"""What all six steps share: a sentence on top, a form or a monitor, the main button at the bottom right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from ...core.config.project import Project
from ...core.config.strict import Table as SettingsTable
from ...core.errors import FishtuneError
from ...core.jobs.record import Job, JobState
from ...core.pipeline.steps import STAGE_OF, StepName, StepState
from ...core.stages.registry import StageName
from ..access import project_screen, wizard
from ..actions import key_label, keys_of
from ..catalogue import _
from ..project_state import TITLES, ProjectState, ShownStep
from ..run_view import RunView
from ..trouble import caught
from ..widgets.button import Button
from ..widgets.button_bar import ButtonBar
from ..widgets.form import Form
from ..widgets.log_pane import LogPane
from ..widgets.monitor import JobMonitor
from ..widgets.notice import Notice
from ..widgets.plain import PlainVertical
from ..wording import harmless

_NEXT, _NEEDED = "next", "needed"
"""Names of the buttons that open another step."""


class StepPane(PlainVertical):
    """One step. While its job runs, and until somebody asks for the settings again, its monitor is shown."""

    step: ClassVar[StepName]
    monitor_first: ClassVar[bool] = False
    """Whether the newest job is shown before the form even when it is over."""
    DEFAULT_CSS = """
    StepPane { width: 1fr; height: 1fr; padding: 0 1; }
    StepPane #sentence { height: auto; max-height: 5; text-style: bold; padding: 0 0 1 0; }
    StepPane #before { height: 1fr; scrollbar-size-vertical: 1; }
    StepPane #monitor { display: none; }
    StepPane.-monitor #before { display: none; }
    StepPane.-monitor #monitor { display: block; }
    StepPane #hint { height: auto; max-height: 4; color: $text-muted; display: none; }
    StepPane #hint.-shown { display: block; }
    StepPane #hint.-wrong { color: $error; }
    StepPane.-monitor #hint { display: none; }
    StepPane .heading { text-style: bold; height: 1; margin: 1 0 0 0; }
    StepPane .quiet { color: $text-muted; height: auto; }
    """

    def __init__(self) -> None:
        super().__init__(id=f"step-{self.step}")
        self.status: ShownStep | None = None
        self.job: Job | None = None
        self.job_state: JobState | None = None
        self.view: RunView | None = None
        self.ready = False
        self._monitored = ""
        self._ended_here = ""
        """The job whose end came while this was looked at."""
        self._form_after_log = False
        """Whether the form is shown again once the log is left."""

    # what a step is made of

    def compose(self) -> ComposeResult:
        yield Static("", id="sentence", markup=False)
        yield Notice(id="notice")
        with VerticalScroll(id="before", can_focus=False):
            yield from self.compose_before()
        yield self.make_monitor()
        yield Static("", id="hint", markup=False)
        yield ButtonBar(id="buttons")

    def on_mount(self) -> None:
        self.ready = True
        with caught(wizard(self).tell_error):  # whoever leaves at once takes the page down meanwhile
            project_screen(self).fill(self.step)

    def compose_before(self) -> Iterable[Widget]:
        """Yield the form."""
        return ()

    def make_monitor(self) -> JobMonitor:
        """Return what shows this step's job."""
        return JobMonitor(wizard(self).glyphs, id="monitor")

    def buttons(self) -> list[tuple[str, str]]:
        """Return the present buttons as (id, label), the main one last."""
        return []

    def onward(self, buttons: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the buttons of a step that does not run with the one that brings the person on as the last.

        Args:
            buttons: the step's own, as (id, label); the last one does the step, or does it again.
        """
        status = self.status
        if status is None:
            return buttons
        if status.state is StepState.DONE:
            following = self.way_on()
            return [*buttons, following] if following is not None else buttons
        if status.state is StepState.LOCKED and status.needs is not None:
            title = _(TITLES[status.needs])
            return [*buttons[:-1], (_NEEDED, _("First: {step} ▸").format(step=title))]
        return buttons

    def way_on(self) -> tuple[str, str] | None:
        """Return the button that leads on from the step once it is done; None at the last step."""
        following = self._following
        if following is None:
            return None
        return _NEXT, _("Next: {step} ▸").format(step=_(TITLES[following]))

    @property
    def _following(self) -> StepName | None:
        steps = list(StepName)
        at = steps.index(self.step) + 1
        return steps[at] if at < len(steps) else None

    def press(self, button: str) -> None:
        """Do what a button says."""
        if button == _NEXT and self._following is not None:
            project_screen(self).go_to(self._following)
        elif button == _NEEDED and self.status is not None and self.status.needs is not None:
            project_screen(self).go_to(self.status.needs)

    def main(self) -> None:
        """Do what the main button says."""
        buttons = self.buttons()
        if buttons:
            self.press(buttons[-1][0])

    def help_text(self) -> str:
        """Return what should be known at this step."""
        return ""

    def text_to_copy(self) -> str:
        """Return what the copy key takes while the focus is here."""
        return ""

    # what it stands on

    @property
    def project(self) -> Project:
        """The project that is open."""
        return project_screen(self).project

    def near(self, path: Path) -> str:
        """Return a path as it is seen from the project's folder: short where it lies inside."""
        folder = self.project.folder
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    @property
    def state(self) -> ProjectState:
        """What the disk said when last looked."""
        return project_screen(self).state

    @property
    def running(self) -> bool:
        """Whether this step's job runs."""
        return self.job_state in (JobState.RUNNING, JobState.STARTING)

    @property
    def is_busy(self) -> bool:
        """Whether its job runs, or did when the disk was last looked at: what comes next is not known yet."""
        seen = self.status is not None and self.status.state is StepState.RUNNING
        return self.running or (seen and self.job_state is not None)

    # what it is told

    def show_status(self, status: ShownStep) -> None:
        """Show the step's state; the screen calls this whenever it looked."""
        if self.status is not None and self.status.state is not status.state:
            self.notice.clear()  # it was about how things stood before
            self._ended_here = ""
        self.status = status
        self._judge_end(status)
        self._show_sentence()
        self.show_buttons()

    def _show_sentence(self) -> None:
        failed = self.status is not None and self.status.state is StepState.FAILED
        told_below = failed and self.monitor_shown and self.job_state in (JobState.FAILED, JobState.LOST)
        sentence = _("The last run failed.") if told_below else harmless(self.sentence())
        line = self.query_one("#sentence", Static)
        if str(line.content) != sentence:
            line.update(Text(sentence))

    def _judge_end(self, status: ShownStep) -> None:
        """Do not show how the step's own job ended once the step is done; that is news only as it happens."""
        own = self.job is not None and self.job.record.stage == STAGE_OF[self.step]
        superseded = (
            own
            and self.job is not None
            and status.state is StepState.DONE
            and self.job_state in (JobState.FAILED, JobState.LOST, JobState.STOPPED)
            and self._ended_here != self.job.id
        )
        for monitor in self.query(JobMonitor):
            monitor.supersede(superseded)

    def sentence(self) -> str:
        """Return the step's state in a sentence."""
        if self.running and self.job is not None:
            return _("Running (job {job}).").format(job=self.job.id)
        return self.status.sentence if self.status else ""

    def show_job(self, job: Job, state: JobState, view: RunView) -> None:
        """Show what the step's newest job says; at most once a second."""
        another = self.job is None or self.job.id != job.id
        ended = state.is_over and (self.is_busy if another else self.running)
        if self.job is not None and another:
            self.notice.clear()  # it was about the job before
        if ended:
            self._ended_here = job.id
        self.job, self.job_state, self.view = job, state, view
        if (self.running or ended or self.monitor_first) and self._monitored != job.id:
            self._monitored = job.id
            self.show_monitor(True)
        if self.status is not None:
            self.show_status(self.status)
        for monitor in self.query(JobMonitor):
            monitor.show(job, state, view)
        if ended:
            self.job_ended()

    def project_changed(self) -> None:
        """Show what the project file says now: it was changed on disk."""

    def job_ended(self) -> None:
        """Take note of an end that came while the step was shown."""

    def add_log(self, job: str, lines: list[str]) -> None:
        """Append lines to the log."""
        for monitor in self.query(JobMonitor):
            monitor.add_log(job, lines)

    def show_monitor(self, shown: bool) -> None:
        """Show the monitor in place of the form, or the form."""
        if shown and self.has_focused(self.query_one("#before")):
            self.focus_main()
        self.set_class(shown, "-monitor")
        self._form_after_log = False
        self._show_sentence()
        self.show_buttons()

    def end_monitor(self) -> None:
        """Show the form again after a job; whoever reads the log sees it on leaving that."""
        if self.has_focused(self.query_one(LogPane)):
            self._form_after_log = True
        else:
            self.show_monitor(False)

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """Show the form again where it waits for the log to be left."""
        if not self._form_after_log or not isinstance(event.widget, LogPane):
            return
        # Another window takes the focus without the user leaving the log; and it may be back there by now.
        if self.app.app_focus and self.screen.focused is not event.widget:
            self.show_monitor(False)

    def has_focused(self, widget: Widget) -> bool:
        """Whether the focus is in `widget`; widgets themselves know only a moment later."""
        focused = self.screen.focused
        return focused is not None and widget in focused.ancestors_with_self

    @property
    def monitor_shown(self) -> bool:
        """Whether the monitor is shown."""
        return self.has_class("-monitor")

    def toggle_log(self) -> None:
        """Show the log, over the form if need be, or hide it again."""
        if self.job is None:
            self.notice.show_plain(_("No log yet: this step has not run."))
            return
        log = self.query_one(LogPane)
        if not self.monitor_shown:
            self.watch_job()
        elif self._form_after_log:
            self.focus_main()
        else:
            log.toggle_class("hidden")

    def search(self) -> None:
        """Put the focus where something of this step is searched; say where that is, if not here."""
        self.notice.show_plain(
            _("Nothing to search here. Clips are searched in step 1; {key} opens the log in $PAGER.").format(
                key=key_label(keys_of("page_log", wizard(self).settings.keys))
            )
        )

    def watch_job(self) -> None:
        """Show the job and its log."""
        if not self.monitor_shown:
            self.show_monitor(True)
            self._form_after_log = not self.running
        log = self.query_one(LogPane)
        log.remove_class("hidden")
        log.focus()

    @property
    def notice(self) -> Notice:
        """Where this step's own errors are shown."""
        return self.query_one("#notice", Notice)

    def on_form_said(self, event: Form.Said) -> None:
        """Explain the focused field, or say what is wrong with its value."""
        event.stop()
        line = self.query_one("#hint", Static)
        line.set_class(bool(event.text), "-shown")
        line.set_class(event.wrong, "-wrong")
        line.update(Text(harmless(event.text)))

    # buttons

    def show_buttons(self) -> None:
        """Bring the buttons up to date."""
        self.query_one(ButtonBar).show(self.buttons())
        project_screen(self).show_keys()

    @property
    def main_button(self) -> Button | None:
        """The main button, None where there are no buttons."""
        return self.query_one(ButtonBar).main

    def press_by_key(self, key: str) -> bool:
        """Press the button that has this key; return whether there is one."""
        name = self.query_one(ButtonBar).pressed_by(key)
        if name:
            self.press(name)
        return bool(name)

    @property
    def leads_on(self) -> bool:
        """Whether the main button only opens another step."""
        return self.main_button is not None and self.main_button.name in (_NEXT, _NEEDED)

    def leave_log(self) -> None:
        """Go on to the step that follows where there is nothing else to do, else to the main button."""
        if self.leads_on:
            self.main()
        else:
            self.focus_main()

    def focus_main(self) -> None:
        """Put the focus on the main button; on the list of steps where there is none."""
        if self.main_button is not None:
            self.screen.set_focus(self.main_button)
        else:
            project_screen(self).focus_steps()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.name:
            self.press(event.button.name)

    # starting and stopping

    def start_stage(
        self,
        stage: StageName,
        settings: Callable[[], SettingsTable],
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """Start a job of this step; an error is shown here."""
        self.notice.clear()
        if not project_screen(self).reread_project(show=self.notice.show_error):
            return
        try:
            chosen = settings()
        except FishtuneError as error:
            self.notice.show_error(error)
            return
        if self.status is not None and self.status.state is StepState.LOCKED:
            self.notice.show_warning(self.status.sentence)
            return
        project_screen(self).start_job(self.step, stage, chosen, secrets)

    def stop(self) -> None:
        """Ask the step's job to save and stop; asked again, it is ended at once."""
        if self.job is not None and self.running:
            project_screen(self).stop_job(self.step)
        else:
            self.notice.show_plain(_("Nothing runs here."))
