"""Step 6: pick a checkpoint by ear and number, merge it, use the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import DataTable, Static

from ...core.config.presets import preset_names
from ...core.config.project import Project
from ...core.config.settings import AuditionSettings, MergeSettings
from ...core.events import Finished
from ...core.jobs.record import Job, JobState
from ...core.pipeline.steps import StepName
from ...core.stages.registry import StageName
from ..access import project_screen
from ..candidates import (
    Choosing,
    Row,
    RowKind,
    chosen_row,
    look,
    reference_of,
    row_at,
    stamp_of,
    strength_of,
    why_not,
)
from ..catalogue import _, mark
from ..dialogs.audition import Asked, AuditionScreen
from ..dialogs.confirm import ConfirmScreen
from ..dialogs.listening import ListeningScreen
from ..dialogs.prompt import PromptScreen
from ..dialogs.speech import SpeechScreen
from ..merged import merge_record, result_text, use_command
from ..project_state import ShownStep
from ..run_view import RunView
from ..trouble import in_thread
from ..widgets.button import Button
from ..widgets.form import Field, assign
from ..widgets.panel import panel
from ..widgets.picker import Picker
from .stage import StagePane


class MergePane(StagePane):
    """The checkpoints with what is known of each; then the verification and how to use the result."""

    step = StepName.MERGE
    stage = StageName.MERGE
    fields = (
        Field("merge", "output"),
        Field("merge", "strength"),
        Field("merge", "lora_config"),
        Field(
            "merge",
            "link",
            (("", mark("no")), ("true", mark("yes"))),
        ),
    )
    DEFAULT_CSS = """
    MergePane #parts { height: auto; }
    MergePane #form { margin: 1 0 0 0; }
    MergePane #result { height: auto; margin: 1 0 0 0; display: none; }
    /* While checkpoints are listened to, their numbers come into the table above the progress. */
    MergePane.-monitor.-audition #before { display: block; height: auto; max-height: 60%; }
    MergePane.-monitor.-audition #form, MergePane.-monitor.-audition #result { display: none; }
    MergePane.-monitor.-audition Picker Static { display: none; }
    MergePane.-monitor.-audition Picker #advice.-shown { display: none; }
    MergePane.-monitor.-audition Picker #of-column { display: block; margin: 0 0 1 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._choosing = Choosing()
        self._stamp: tuple[object, ...] = ()
        self._result: Text | None = None

    def all_fields(self) -> tuple[Field, ...]:
        output, strength, preset, link = self.fields
        options = (("", mark("not needed")), *((name, name) for name in preset_names("lora")))
        return (output, strength, replace(preset, options=options), link)

    def compose_before(self) -> Iterable[Widget]:
        yield panel(Picker(id="picker"), _("Checkpoints"))
        with Container(id="parts"):
            yield from super().compose_before()

    def compose_below_form(self) -> Iterable[Widget]:
        yield panel(Static("", id="result", markup=False), _("Result"))

    def settings_changed(self) -> None:
        """Go to the row of a strength that was typed."""
        row, typed = self._picker.row, self.project.merge.strength
        if row is not None and row.can_be_merged and self._strength(row) != typed:
            wanted = row_at(self._choosing, row.path, typed)
            if wanted is not None:
                self._picker.choose(wanted.key)
        self._show_will()

    def inherited(self, field: Field) -> Any:
        return self.near(self.project.merged) if field.name == "output" else super().inherited(field)

    # checkpoints

    @property
    def _picker(self) -> Picker:
        return self.query_one("#picker", Picker)

    def show_status(self, status: ShownStep) -> None:
        super().show_status(status)
        project = self.project

        def work() -> None:
            stamp = stamp_of(project)
            record = merge_record(project)
            # Reading what every job and audition said takes a while, and mostly nothing has changed.
            choosing = look(project) if stamp != self._stamp else None
            self.app.call_from_thread(self._take, stamp, choosing, record)

        in_thread(self, work, self.notice.show_error, "candidates")

    def _take(
        self, stamp: tuple[object, ...], choosing: Choosing | None, record: dict[str, Any] | None
    ) -> None:
        self._stamp = stamp
        if choosing is not None:
            self._choosing = choosing
            self._picker.show(choosing, chosen_row(self.project, choosing))
        if self._result is None and record is not None:
            self._show_result(record)
        self._show_will()
        self.show_buttons()

    def on_picker_moved(self, event: Picker.Moved) -> None:
        event.stop()
        row = self._picker.row
        if event.by_user and row is not None and row.can_be_merged:
            self._take_strength(row)
        self._show_will()

    def _take_strength(self, row: Row) -> None:
        """Show a row's strength in the form; the project file has it once the row is kept or merged."""
        strength = self._strength(row)
        if strength != self.project.merge.strength:
            assign(self.project.merge, "strength", None if strength == 1 else strength)
            self.form_changed()

    def on_picker_confirmed(self, event: Picker.Confirmed) -> None:
        """Keep the choice in the project file, and go to the button that merges it."""
        event.stop()
        if event.row.kind is RowKind.ANOTHER:
            self._ask_for_another()
        elif not event.row.can_be_merged:
            self.notice.show_warning(why_not(event.row))
        else:
            self.notice.clear()
            self._keep(event.row)
            for button in self.query("#buttons Button").results(Button):
                if button.name == "run":
                    button.focus()

    def _keep(self, row: Row) -> None:
        """Put a choice into the project file; the recommended checkpoint needs no word there."""
        merge, path = self.project.merge, row.path
        if path is not None and not (merge.checkpoint is None and row.key == self._choosing.recommended):
            merge.checkpoint = self.near(path)
        self._take_strength(row)
        project_screen(self).save_project()

    def _show_will(self) -> None:
        row = self._picker.row
        self._picker.say_will(self._will(row) if row else "")

    def _will(self, row: Row) -> str:
        """Return what Merge does where the cursor is."""
        if not row.can_be_merged or row.path is None:
            return "" if row.kind is RowKind.ANOTHER else _("Cannot be merged.") + " " + why_not(row)
        what = row.path.name
        strength = self._strength(row)
        if strength != 1:
            what = _("{checkpoint} at strength {strength}").format(checkpoint=what, strength=f"{strength:g}")
        text = _("Will merge: {path}").format(path=what)
        replaced = _("The merged directory that is there will be replaced.")
        return f"{text}. {replaced}" if self._replaces else text

    def _strength(self, row: Row) -> float:
        return strength_of(row, self._choosing, self.project.merge.strength)

    def _ask_for_another(self) -> None:
        explanation = _(
            "A checkpoint of another run (step_….ckpt), a PEFT adapter folder, or a checkpoint of "
            "fish-speech's own training."
        )

        def take(answer: str | None) -> None:
            if answer:
                path = self.project.resolve(Path(answer))
                self.project.merge.checkpoint = str(path)
                project_screen(self).save_project()
                self._picker.choose(str(path))
                if self.status is not None:
                    self.show_status(self.status)

        self.app.push_screen(
            PromptScreen(_("Checkpoint to merge:"), str(self.project.folder), explanation=explanation), take
        )

    # merging

    def run_stage(self) -> None:
        """Merge what the cursor is on, or say why that cannot be; ask before a merge is replaced."""
        row = self._picker.row if len(self._choosing.rows) > 1 else None
        if row is not None and row.kind is RowKind.ANOTHER:
            self._ask_for_another()
            return
        if row is not None and not row.can_be_merged:
            self.notice.show_warning(why_not(row))
            return

        def merge(yes: bool | None) -> None:
            if yes and row is not None:
                self._keep(row)
            if yes:
                super(MergePane, self).run_stage()

        if not self._replaces:
            merge(True)
            return
        question, will = _("Replace the merged model?"), self._will(row) if row is not None else ""
        self.app.push_screen(ConfirmScreen(question, will, _("Replace"), _("Keep it")), merge)

    def settings(self) -> MergeSettings:
        project = self.project.model_copy(deep=True)
        row = self._picker.row
        if row is not None and row.can_be_merged:
            project.merge.checkpoint = str(row.path)
            project.merge.strength = self._strength(row)
        settings = project.merge_settings()
        if self._replaces:
            settings.overwrite = True
        return settings

    @property
    def _replaces(self) -> bool:
        return self.project.merged.exists()

    def verb(self) -> str:
        return _("Merge again") if self._replaces else _("Merge")

    def main_label(self) -> str:
        return self.verb()

    def own_buttons(self) -> list[tuple[str, str]]:
        back, listen = ("settings", _("Settings")), ("listen", _("Listen"))
        shown = [("audition", _("Audition"))]
        shown = [back, *shown] if self.monitor_shown else [*shown, listen]
        if self._replaces and not self.is_done:
            shown.append(self.way_on())
        return [*shown, ("run", self.main_label())]

    def way_on(self) -> tuple[str, str]:
        return "say", _("Say something")

    def press(self, button: str) -> None:
        match button:
            case "audition":
                self._audition()
            case "listen":
                self.app.push_screen(ListeningScreen(self.project, self._choosing.is_heard))
            case "say":
                reference = reference_of(self.project, self._choosing)
                self.app.push_screen(SpeechScreen(self.project, reference))
            case _:
                super().press(button)

    # listening

    def _audition(self) -> None:
        """Ask what is to be said and by whom, and let them; their numbers come into the table."""
        steps = {row.path for row in self._choosing.rows if row.kind is RowKind.CHECKPOINT}
        if not steps:
            self.notice.show_warning(_("There is no checkpoint yet."), _("Step 5 makes them."))
            return

        def take(asked: Asked | None) -> None:
            project_screen(self).save_project()
            if asked is not None:
                self.start_stage(StageName.AUDITION, lambda: audition_settings(self.project, asked))

        self.app.push_screen(AuditionScreen(self.project, len(steps), self._picker.row), take)

    def show_job(self, job: Job, state: JobState, view: RunView) -> None:
        super().show_job(job, state, view)
        self.set_class(job.record.stage == StageName.AUDITION and self.running, "-audition")
        with view.lock:
            end = view.end
        if isinstance(end, Finished) and job.record.stage == StageName.MERGE:
            self._show_result(end.summary)

    def _show_result(self, summary: dict[str, Any]) -> None:
        self._result = result_text(summary)
        result = self.query_one("#result", Static)
        result.update(self._result)
        result.display = True

    def job_ended(self) -> None:
        if self.job_state is not JobState.FINISHED or self.job is None:
            return
        self.end_monitor()
        if self.job.record.stage == StageName.MERGE:
            self.call_after_refresh(self.query_one("#result").scroll_visible)

    def text_to_copy(self) -> str:
        focused, row = self.screen.focused, self._picker.row
        if isinstance(focused, DataTable) and focused.id == "candidates" and row is not None and row.path:
            return str(row.path)
        return use_command(self.project.merged)

    def help_text(self) -> str:
        return _(
            "Merging writes a directory that takes the base's place, so that fish-speech and everything else "
            "that loads the base can use it. The base is never changed, and the merged weights are compared "
            "with base and adapter before they get their name.\n"
            "The checkpoint under the cursor is merged. ← → explain the columns, one after another; Enter "
            "keeps the choice. The earliest checkpoint that sounds good enough usually generalises best; "
            "that is why it is recommended, not the last.\n"
            "Audition lets checkpoints, the base and your own held-out recordings say the same texts, "
            "without merging, and judges words, voice, pace and pitch. Listen gives the page with all "
            "recordings, and the lines that bring it to your own computer. Compare two or three by ear.\n"
            "y copies the checkpoint's path or the command that speaks with the merged model."
        )


def audition_settings(project: Project, asked: Asked) -> AuditionSettings:
    """Return the settings of an audition of the run, or of one of its rows."""
    if asked.one is None or asked.one.path is None:
        settings = project.audition_settings(project.run_folder)
        settings.all = asked.everyone
        return settings
    settings = project.audition_settings(asked.one.path)
    if asked.one.strength != 1:
        settings.strengths = [asked.one.strength]
    return settings
