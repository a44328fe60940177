"""Step 5: what is trained and how; then the run as it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual import events, on
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import DataTable, Static

from ...core.config.presets import LoraPreset, lora_preset, preset_names
from ...core.config.settings import TrainSettings
from ...core.errors import FishtuneError
from ...core.jobs.record import Job, JobState
from ...core.pipeline.steps import StepName
from ...core.stages.registry import StageName
from ..access import project_screen, wizard
from ..actions import keys_of
from ..catalogue import _, mark
from ..dialogs.confirm import ConfirmScreen
from ..run_view import RunView
from ..trouble import in_thread
from ..widgets.form import Field, Form
from ..widgets.suggestion import Suggestion
from ..widgets.table import Table
from ..widgets.training import TrainingMonitor
from ..wording import count, duration, harmless, parameters, percent, plain, right, size
from .extract import device_options
from .stage import StagePane

if TYPE_CHECKING:
    from ...core.config.project import Project
    from ..estimates import Estimate

WIDE = 96


class TrainPane(StagePane):
    """Presets, settings and memory before the run; curve, numbers, checkpoints and log during it."""

    step = StepName.TRAIN
    stage = StageName.TRAIN
    monitor_first = True
    fields = (
        Field("train", "max_steps"),
        Field("train", "epochs"),
        Field("train", "batch_tokens"),
        Field("train", "accumulation"),
        Field("train", "learning_rate"),
        Field(
            "train",
            "precision",
            (("", mark("automatic")), ("bf16", "bf16"), ("float32", "float32")),
        ),
        Field(
            "train",
            "checkpointing",
            (("", mark("automatic")), ("blocks", mark("yes")), ("none", mark("no"))),
        ),
        Field("train", "device"),
        Field("train", "devices"),
        Field("train", "max_length"),
        Field("train", "checkpoint_every"),
        Field("train", "validate_every"),
        Field(
            "train",
            "gate",
            (("", mark("automatic")), ("true", mark("yes")), ("false", mark("no"))),
        ),
    )
    DEFAULT_CSS = """
    TrainPane #presets { height: auto; max-height: 11; }
    TrainPane #preset-help { height: 2; color: $text-muted; }
    TrainPane #settings { height: auto; }
    TrainPane.-wide #settings { layout: horizontal; }
    TrainPane.-wide Form { width: 1fr; }
    TrainPane.-wide Suggestion { width: 1fr; max-width: 60; margin: 0 0 0 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._presets: dict[str, LoraPreset] = {}
        self._needs: dict[str, Estimate | None] = {}
        self._estimated: Project | None = None
        """What the needs are being worked out for."""
        self._form_made = False
        self._trouble: FishtuneError | None = None
        for name in preset_names("lora"):
            try:
                self._presets[name] = lora_preset(name)
            except FishtuneError as error:  # one of the user's own
                self._trouble = error

    def all_fields(self) -> tuple[Field, ...]:
        options = device_options(self)
        return tuple(
            replace(field, options=options) if field.name == "device" else field for field in self.fields
        )

    def compose_below_form(self) -> Iterable[Widget]:
        yield Suggestion("train", id="suggestion")

    def make_monitor(self) -> TrainingMonitor:
        return TrainingMonitor(wizard(self).glyphs, ascii_only=wizard(self).settings.ascii, id="monitor")

    def compose_before(self) -> Iterable[Widget]:
        return ()  # see _make_form

    @on(events.Mount)
    async def begin(self) -> None:
        """Make the form at once where there is no run to be watched."""
        if self._trouble is not None:
            self.notice.show_error(self._trouble)
        if self.step not in self.state.jobs:
            await self._make_form()

    def show_monitor(self, shown: bool) -> None:
        super().show_monitor(shown)
        if not shown:
            self.call_later(self._make_form)

    async def _make_form(self) -> None:
        """Make the form; a run that is only watched needs none, nor the memory and the modules behind it."""
        if self._form_made:
            return
        self._form_made = True
        presets = Table(
            [
                ("", 1, "left"),
                (_("LoRA preset"), None, "left"),
                (_("rank"), 4, "right"),
                (_("alpha"), 5, "right"),
                (_("trainable"), 9, "right"),
                (_("memory"), 9, "right"),
            ],
            id="presets",
        )
        await self.query_one("#before").mount(
            presets,
            Static("", id="preset-help", markup=False),
            Container(*super().compose_before(), id="settings"),
        )
        self._show_presets()
        presets.select_key(self.project.train.lora_config)
        self._estimate()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE, "-wide")

    # presets

    def _show_presets(self) -> None:
        chosen = self.project.train.lora_config
        sign = wizard(self).glyphs.chosen
        rows = []
        for name, preset in self._presets.items():
            need = self._needs.get(name)
            missing = "–" if name in self._needs else "…"
            style = "bold" if name == chosen else ""
            lora = preset.method == "lora"
            rows.append(
                (
                    name,
                    (
                        plain(sign if name == chosen else " ", style),
                        plain(name, style),
                        right(preset.rank if lora else "–", style),
                        right(f"{preset.alpha:g}" if lora else "–", style),
                        right(parameters(need.trainable) if need and need.trainable else missing, style),
                        right(size(need.needed) if need else missing, style),
                    ),
                )
            )
        self.query_one("#presets", Table).show_rows(rows)

    def _estimate(self) -> None:
        project = self._estimated = self.project.model_copy(deep=True)

        def work() -> None:
            from ..estimates import is_known, preset_needs

            known = [name for name in self._presets if is_known(project, name)]
            self.app.call_from_thread(self._take_needs, {name: preset_needs(project, name) for name in known})
            for name in [name for name in self._presets if name not in known]:
                if project is not self._estimated:
                    return  # the settings have changed meanwhile
                self.app.call_from_thread(self._take_needs, {name: preset_needs(project, name)})

        in_thread(self, work, self.notice.show_error, "needs")

    def _take_needs(self, needs: dict[str, Estimate | None]) -> None:
        self._needs.update(needs)
        self._show_presets()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        preset = self._presets.get(str(event.row_key.value)) if event.data_table.id == "presets" else None
        if preset is not None:
            self.query_one("#preset-help", Static).update(Text(harmless(_(preset.description))))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        name = str(event.row_key.value)
        if event.data_table.id == "presets" and name in self._presets:
            self.project.train.lora_config = name
            project_screen(self).save_project()
            self._show_presets()
            self.query_one(Form).show_values()
            self.query_one(Suggestion).estimate_again()

    # settings

    def inherited(self, field: Field) -> Any:
        preset = self._presets.get(self.project.train.lora_config)
        if preset is not None and field.name in preset.train.model_fields_set:
            return getattr(preset.train, field.name)
        return super().inherited(field)

    def project_changed(self) -> None:
        if self._form_made:
            super().project_changed()
            self._show_presets()

    def settings_changed(self) -> None:
        self._estimate()
        self.query_one(Suggestion).estimate_again()

    def on_suggestion_taken(self, event: Suggestion.Taken) -> None:
        """Write the suggested micro-batch into the project."""
        event.stop()
        self.take_values("train", event.values)
        self._estimate()

    def settings(self) -> TrainSettings:
        return self.project.train_settings()

    def verb(self) -> str:
        return _("Continue training") if self.state.checkpoints else _("Train")

    def main_label(self) -> str:
        return self.verb()

    def stop(self) -> None:
        """Ask once, with numbers: what a training costs is hours. Asked again, it is ended at once."""
        job = self.job
        if job is None or not self.running or project_screen(self).is_stopping(job):
            super().stop()
            return

        def answered(yes: bool | None) -> None:
            if yes and self.job is not None and self.job.id == job.id and self.running:
                project_screen(self).stop_job(self.step)

        self.app.push_screen(
            ConfirmScreen(
                _("Stop the training?"),
                stop_explanation(self.view),
                _("Stop and save"),
                _("Keep training"),
                keys_of("stop_job", wizard(self).settings.keys),
            ),
            answered,
        )

    def show_job(self, job: Job, state: JobState, view: RunView) -> None:
        super().show_job(job, state, view)
        self.query_one(TrainingMonitor).show_checkpoints(view)

    def add_log(self, job: str, lines: list[str]) -> None:
        self.query_one(TrainingMonitor).add_log(job, lines)

    def help_text(self) -> str:
        return _(
            "By default the model learns a speaker's way of speaking, not the timbre: keep giving a "
            "reference clip when you use it. Timbre needs more steps and risks overfitting.\n"
            "10 minutes of speech is the practical minimum; 30 to 60 work well; an accent or a language "
            "takes hours. 250 to 400 epochs are typical for small data sets; beyond 600 quality drops.\n"
            "Both models were tuned by reinforcement learning, and such models drift when fine-tuned: low "
            "learning rate, few passes, and compare with the base by ear.\n"
            "Held-out loss that rises while the training loss falls means overfitting: stop, and take an "
            "earlier checkpoint in step 6. A stopped run resumes from its last checkpoint."
        )


def stop_explanation(view: RunView | None) -> str:
    """Return how far a training is and what stopping it would keep."""
    if view is None:
        return _("What is saved is kept.")
    with view.lock:
        step, saved = view.step, max(view.checkpoints, default=None)
        share = view.share
    if step is None:
        return _("It has not done a step yet: there is nothing to be saved.")
    where = _("Step {step}.").format(step=count(step.step))
    if step.total_steps:
        where = _("Step {step} of {total} ({share}), {duration} to go.").format(
            step=count(step.step),
            total=count(step.total_steps),
            share=percent(share),
            duration=duration(step.eta),
        )
    kept = _("A checkpoint of the step it is at is saved first, and training again continues there.")
    last = "" if saved is None else "\n" + _("Last checkpoint: step {step}.").format(step=count(saved))
    return f"{where}{last}\n{kept}"
