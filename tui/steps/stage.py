"""A step that is one stage: a form of its settings, one main button, a monitor of its job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import BaseModel
from textual.widget import Widget

from ...core.config.strict import Table as SettingsTable
from ...core.jobs.record import JobState
from ...core.pipeline.steps import StepState
from ...core.stages.registry import StageName
from ..access import project_screen, wizard
from ..catalogue import _
from ..widgets.button_bar import ButtonBar
from ..widgets.form import Field, Form, assign
from ..widgets.panel import panel
from .base import StepPane


class StagePane(StepPane):
    """Subclasses name the stage, its fields and what the main button says."""

    stage: ClassVar[StageName]
    fields: ClassVar[tuple[Field, ...]] = ()

    def compose_before(self) -> Iterable[Widget]:
        if self.fields:
            form = Form(self.all_fields(), self.table, self.inherited, wizard(self).glyphs, id="form")
            yield panel(form, _("Settings"))
        yield from self.compose_below_form()

    def all_fields(self) -> tuple[Field, ...]:
        """Return the fields of the form."""
        return self.fields

    def compose_below_form(self) -> Iterable[Widget]:
        """Yield what stands under the form."""
        return ()

    def table(self, name: str) -> BaseModel:
        """Return a settings table of the project."""
        return getattr(self.project, name)  # type: ignore[no-any-return]

    def inherited(self, field: Field) -> Any:
        """Return the value that counts where nobody set the field."""
        kind = type(self.table(field.table)).model_fields[field.name]
        return kind.get_default(call_default_factory=True)

    def settings(self) -> SettingsTable:
        """Return the stage's settings as the project has them."""
        raise NotImplementedError

    def verb(self) -> str:
        """Return what doing the step is called now."""
        return _("Run")

    def buttons(self) -> list[tuple[str, str]]:
        if self.is_busy:
            # Enter presses the last one, which may change while somebody presses it: it never stops anything.
            return [(ButtonBar.STOP, _("Stop and save")), ("watch", _("Watch"))]
        return self.onward(self.own_buttons())

    def own_buttons(self) -> list[tuple[str, str]]:
        """Return the step's own buttons when nothing runs, as (id, label); the last one does the step."""
        shown = [("settings", _("Settings"))] if self.monitor_shown else []
        if self.job is not None and not self.monitor_shown:
            shown.append(("result", _("Last run")))
        return [*shown, ("run", self.main_label())]

    def main_label(self) -> str:
        """Return what the button says that does the step."""
        if self.is_done:
            return self.verb()
        match self.job_state:
            case JobState.STOPPED | JobState.LOST:
                return _("Resume")
            case JobState.FAILED:
                return _("Retry")
            case _:
                return self.verb()

    @property
    def is_done(self) -> bool:
        """Whether the step is done."""
        return self.status is not None and self.status.state is StepState.DONE

    def press(self, button: str) -> None:
        match button:
            case "run":
                self.run_stage()
            case "watch":
                self.watch_job()
            case ButtonBar.STOP:
                self.stop()
            case "settings":
                self.show_monitor(False)
            case "result":
                self.show_monitor(True)
            case _:
                super().press(button)

    def run_stage(self) -> None:
        """Start the stage, unless a field holds what cannot be stored: it would run with another value."""
        for form in self.query(Form):
            wrong = form.store()
            if wrong:
                self.notice.show_warning(wrong)
                return
        self.start_stage(self.stage, self.settings, self.secrets())

    def secrets(self) -> dict[str, str] | None:
        """Return environment variables for the job alone."""
        return None

    def on_form_changed(self, event: Form.Changed) -> None:
        event.stop()
        self.notice.clear()  # it was about the settings before
        project_screen(self).save_project()
        self.settings_changed()

    def on_form_confirmed(self, event: Form.Confirmed) -> None:
        event.stop()
        self.focus_main()

    def project_changed(self) -> None:
        for form in self.query(Form):
            form.show_values()
            self.settings_changed()

    def form_changed(self) -> None:
        """Show the form's values again after something else changed them."""
        self.query_one(Form).show_values()

    def take_values(self, table: str, values: dict[str, Any]) -> None:
        """Write suggested values into the project and show them."""
        for name, value in values.items():
            assign(self.table(table), name, value)
        self.form_changed()
        project_screen(self).save_project()

    def settings_changed(self) -> None:
        """Take note of a changed field."""

    def text_to_copy(self) -> str:
        return str(self.job.log_path) if self.job is not None else str(self.project.file)
