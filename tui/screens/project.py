"""A project: the six steps on the left, the one that is open on the right."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from ...core.config.project import Project
from ...core.config.recent import remember_project
from ...core.files import size_and_time
from ...core.hardware.readings import GpuReading
from ...core.jobs.record import Place
from ...core.pipeline.steps import StepName
from ..access import wizard
from ..actions import Command, bindings, key_label, keys_of
from ..catalogue import _
from ..log_export import copy_log, page_log
from ..messages import ProjectRead
from ..project_state import TITLES, not_seen
from ..steps import open_step
from ..steps.base import StepPane
from ..trouble import caught, in_thread, note
from ..widgets.button_bar import ButtonBar
from ..widgets.folder_suggester import expanded
from ..widgets.frame import FooterBar, HeaderBar
from ..widgets.log_pane import LogPane
from ..widgets.panel import FRAMES, is_roomy
from ..widgets.plain import Plain, PlainHorizontal
from ..widgets.step_list import StepList
from .project_jobs import ProjectJobsScreen

_LOOK_SECONDS = 5.0
_REST = 40
"""Times its CPU time that a look at the disk is followed by none: of 20,000 clips one takes a second."""
_BROAD = 150
"""Columns from which a form and long lines stand beside each other."""


class ProjectScreen(ProjectJobsScreen, Plain):
    """The frame of a project; it alone follows jobs and looks at the disk, the steps show."""

    CSS = FRAMES
    SCOPED_CSS = False  # its rules begin with classes of the screen itself
    BINDINGS = [
        *bindings("project"),
        *[Binding(str(number), f"choose({number - 1})", show=False) for number in range(1, 7)],
    ]

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        # Keys typed ahead of the screen.
        self._run_once_ready: StepName | None = None
        self._enter_once_ready: StepName | None = None
        self._arrive_once_ready: StepName | None = None
        self._rested_at = 0.0
        self._signs: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield HeaderBar(wizard(self).glyphs)
        with PlainHorizontal(id="middle", classes="framed"):
            yield StepList(wizard(self).glyphs, id="steps")
        yield FooterBar()

    def on_mount(self) -> None:
        header = self.query_one(HeaderBar)
        header.project = self.project.name
        header.gpus = wizard(self).gpus
        self.focus_steps()
        self.watch(self, "focused", self.show_keys)
        remember_project(self.project.results, self.project.name)
        self.refresh_state()
        self.set_interval(_LOOK_SECONDS, self.look_again)
        self.watch(self.app, "app_focus", self._focus_came, init=False)

    def on_resize(self, event: events.Resize) -> None:
        """Frame the parts of the pages where there is room."""
        roomy = is_roomy(event.size)
        # Both at once: each change looks through the styles of all that is on the pages.
        self.update_classes({"roomy": roomy, "broad": roomy and event.size.width >= _BROAD})

    # looking at the disk

    def look_again(self) -> None:
        """Look at the disk, unless the last look took so long that it rests and there is no sign of news."""
        if time.monotonic() >= self._rested_at or self._signs != self._signs_now():
            self.refresh_state()

    def _signs_now(self) -> tuple[object, ...]:
        """Return what is seen at once of a change by another hand or of a job started elsewhere."""
        project = self.project
        jobs = Place(results=project.results, project=project.name).jobs
        return tuple(map(size_and_time, (project.file, jobs, project.data)))

    def refresh_state(self) -> None:
        """Look at the disk in a thread; what was seen arrives as a message."""
        if not self.is_current and self.state.steps:
            return
        engine, project = wizard(self).engine, self.project
        self._rested_at, self._signs = math.inf, self._signs_now()

        def work() -> None:
            begun = time.thread_time()
            try:
                state = engine.inspect_project(project)
            except Exception as error:  # noqa: BLE001 - nothing ends the wizard
                state = not_seen(note(error))
            finally:
                self._rested_at = time.monotonic() + _REST * (time.thread_time() - begun)
            self.post_message(ProjectRead(state, file_changed=not project.is_as_on_disk()))

        in_thread(self, work, wizard(self).tell_error, "look")

    def _focus_came(self, focus: bool) -> None:
        # From the editor's window, perhaps.
        if focus:
            self.refresh_state()

    def on_screen_resume(self) -> None:
        """Look again after what lay over the project."""
        self.show_keys()
        if self.state.steps:
            self.refresh_state()

    def on_project_read(self, message: ProjectRead) -> None:
        self.note_file(message.file_changed)
        first = not self.state.steps
        self.state = message.state
        for step, job in self.state.jobs.items():
            watch = self._watches.get(step)
            if (watch is None or watch.job.id != job.id) and (
                step in self.state.running or step is self.current
            ):
                self._follow(step, job)
        self._tell_app()
        if first and self.current is None:  # a step that was chosen meanwhile stays
            self.go_to(self.state.first_to_do)
        self._show_steps()

    def _show_steps(self) -> None:
        statuses = tuple(self._with_share(status) for status in self.state.steps)
        self.query_one(StepList).steps = statuses
        for status in statuses:
            pane = self._panes.get(status.name)
            if pane is not None and pane.ready:
                with caught(pane.notice.show_error):
                    pane.show_status(status)

    # moving about

    def show_step(self, step: StepName) -> None:
        """Open a step."""
        if step is self.current:
            return
        before = self.pane
        if before is not None and before.has_focused(before):
            self._arrive_once_ready = step
            self.focus_steps()  # until the step is there: the next key may be, and means the new one
        self.current = step
        steps = self.query_one(StepList)
        steps.current = list(StepName).index(step)
        pane = self._panes.get(step)
        if pane is None:
            pane = self._panes[step] = open_step(step)
            self.query_one("#middle").mount(pane)
        for name, other in self._panes.items():
            other.display = name is step
        job = self.state.jobs.get(step)
        if job is not None and step not in self._watches:
            self._follow(step, job)
        if pane.ready:
            self._show_status(pane)
            self._arrive(pane)
        self.show_keys()

    def go_to(self, step: StepName) -> None:
        """Open a step with the focus on its main button."""
        self._arrive_once_ready = step
        self.show_step(step)

    def _arrive(self, pane: StepPane) -> None:
        if self._arrive_once_ready is pane.step is self.current:
            self._arrive_once_ready = None
            if not pane.has_focused(pane):  # whoever is there already was quicker
                pane.focus_main()

    def fill(self, step: StepName) -> None:
        """Tell a step's new pane everything that is known; panes call this once they are mounted."""
        pane = self._panes[step]
        if step in self._logs:
            pane.add_log(self._watches[step].job.id, list(self._logs[step]))
        self._bring_up_to_date(pane)
        self._show_status(pane)
        self._arrive(pane)
        if self._run_once_ready is step:
            self._run_once_ready = None
            pane.main()
        if self._enter_once_ready is step:
            self._enter_once_ready = None
            self.enter_step()

    def _show_status(self, pane: StepPane) -> None:
        if self.state.steps:
            pane.show_status(self._with_share(self.state.step(pane.step)))
        if pane.step in self._news:
            self._show_job(pane.step)

    @property
    def pane(self) -> StepPane | None:
        """The step that is open, None before its widgets are there."""
        pane = self._panes.get(self.current) if self.current is not None else None
        return pane if pane is not None and pane.ready else None

    def focus_steps(self) -> None:
        """Put the focus on the list of steps."""
        self.set_focus(self.query_one(StepList))

    def on_step_list_chosen(self, message: StepList.Chosen) -> None:
        self.show_step(list(StepName)[message.index])

    def on_step_list_run(self, _message: StepList.Run) -> None:
        self.action_run_step()

    def enter_step(self) -> None:
        """Put the focus on the first thing of the open step."""
        pane = self.pane
        if pane is None:
            self._enter_once_ready = self.current
            return
        inside = [widget for widget in self.focus_chain if pane in widget.ancestors]
        if inside:
            self.set_focus(inside[0])

    def show_gpus(self, reading: GpuReading) -> None:
        """Show a reading in the header; steps that suggest batch sizes may want it too."""
        if self.query(HeaderBar):
            self.query_one(HeaderBar).gpus = reading

    def show_keys(self) -> None:
        """Say in the footer what the keys do that depend on where the focus is."""
        glyphs, pane = wizard(self).glyphs, self.pane
        keys = wizard(self).settings.keys
        in_steps = isinstance(self.focused, StepList)
        moves = (
            (glyphs.up_down, _("Step")) if in_steps else (key_label(keys_of("back", keys)), _("Step list"))
        )
        does = self.enter_does()
        enter = [(glyphs.enter, does)] if does else []
        names = ["leave", "show_help", *["stop_job"] * (pane is not None and pane.is_busy), "toggle_log"]
        for footer in self.query_children(FooterBar):  # none while the screen is taken down
            footer.show(names, keys, extra=[moves, *enter], instead=self.keys_on_top)

    def enter_does(self) -> str:
        pane = self.pane
        main = pane.main_button if pane is not None else None
        match self.focused:
            case StepList():
                return main.enter_does if main is not None else ""
            case LogPane() if pane is not None and not pane.leads_on:
                return _("Leave the log")
            case LogPane() if main is not None:
                return main.enter_does
            case Input():
                return super().enter_does() or _("Store")
            case _:
                return super().enter_does()

    def on_screen_suspend(self) -> None:
        """Say what the keys of what lies over the project do."""
        self.show_keys()

    # actions

    def on_key(self, event: events.Key) -> None:
        """Press the button that has this key; what the focus took for itself does not come here."""
        if self.pane is not None and self.pane.press_by_key(event.key):
            event.stop()

    def action_previous_step(self) -> None:
        self._move(-1)

    def action_next_step(self) -> None:
        self._move(1)

    def _move(self, by: int) -> None:
        if self.current is not None:
            steps = list(StepName)
            self.show_step(steps[(steps.index(self.current) + by) % len(steps)])

    def action_choose(self, index: int) -> None:
        # At once and not by a message, as the list does it: the next key may be there already.
        self.show_step(list(StepName)[index])

    def action_run_step(self) -> None:
        if self.pane is not None:
            self.pane.main()
        else:
            self._run_once_ready = self.current

    def action_stop_job(self) -> None:
        if self.pane is not None:
            self.pane.stop()

    def action_toggle_log(self) -> None:
        if self.pane is not None:
            self.pane.toggle_log()

    def action_search(self) -> None:
        if self.pane is not None:
            self.pane.search()

    def action_leave_log(self) -> None:
        if self.pane is not None:
            self.pane.leave_log()

    def action_refresh(self) -> None:
        self.refresh_state()

    def action_save_log(self) -> None:
        job = self.pane.job if self.pane is not None else None
        if job is None:
            return
        from ..dialogs.prompt import PromptScreen

        suggested = Path.cwd() / f"{job.id}.log"

        def save(answer: str | None) -> None:
            if answer:
                copy_log(wizard(self), job, expanded(answer))

        self.app.push_screen(PromptScreen(_("Write the log to this file:"), str(suggested)), save)

    def action_page_log(self) -> None:
        job = self.pane.job if self.pane is not None else None
        if job is not None:
            page_log(wizard(self), job)

    def go_back(self) -> None:
        """Put the focus on the list of steps; from there, go to the start page."""
        if self.query_one(StepList).has_focus:
            self.app.pop_screen()
        else:
            self.focus_steps()

    def commands(self) -> list[Command]:
        """Return what the open step's buttons do, by name; the palette offers it."""
        pane = self.pane
        if pane is None or self.current is None:
            return []
        where = _("A button of this step: {step}.").format(step=_(TITLES[self.current]))
        return [(label, where, partial(pane.press, name)) for name, label in pane.buttons()]

    def help_text(self) -> str:
        """Return the help of the open step."""
        return self.pane.help_text() if self.pane is not None else ""

    def button_keys(self) -> list[tuple[str, str]]:
        """Return the keys of the open step's buttons, the main one with Enter first."""
        return self.pane.query_one(ButtonBar).keys() if self.pane is not None else []

    def text_to_copy(self) -> str:
        """Return what the copy key takes."""
        return self.pane.text_to_copy() if self.pane is not None else ""


if TYPE_CHECKING:
    from ..access import ProjectAccess

    def _keeps_its_promise(screen: ProjectScreen) -> ProjectAccess:
        return screen
