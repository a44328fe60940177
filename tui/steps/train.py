"""Step 5: what is trained and how; then the run as it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual import events, on
from textual.containers import Container, Vertical
from textual.widget import Widget

from ...core.config.options import Group
from ...core.config.presets import lora_presets
from ...core.config.run_files import checkpoint_step
from ...core.config.settings import TrainSettings
from ...core.events import Finished
from ...core.jobs.record import Job, JobState
from ...core.pipeline.steps import StepName
from ...core.stages.registry import StageName
from ..access import project_screen, wizard
from ..actions import keys_of
from ..catalogue import _, mark, ngettext
from ..dialogs.confirm import ConfirmScreen
from ..run_view import RunView
from ..trouble import in_thread
from ..widgets.fold import Fold
from ..widgets.form import Field, Form
from ..widgets.panel import panel
from ..widgets.plan_card import PlanCard
from ..widgets.preset_table import PresetTable
from ..widgets.suggestion import Suggestion
from ..widgets.training import TrainingMonitor
from ..wording import count, duration, percent
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
        Field("train", "epochs"),
        Field("train", "checkpoint_every"),
        Field("train", "max_steps"),
        Field("train", "batch_tokens"),
        Field("train", "accumulation"),
        Field("train", "learning_rate"),
        Field(
            "train",
            "precision",
            (("", mark("automatic")), ("bf16", "bf16"), ("float32", "float32")),
        ),
        Field("train", "base_precision", (("", mark("no")), ("int8", "int8"), ("nf4", "nf4"))),
        Field(
            "train",
            "checkpointing",
            (("", mark("automatic")), ("blocks", mark("yes")), ("none", mark("no"))),
        ),
        Field("train", "device"),
        Field("train", "devices"),
        Field("train", "max_length"),
        Field("train", "validate_every"),
        Field(
            "train",
            "gate",
            (("", mark("automatic")), ("true", mark("yes")), ("false", mark("no"))),
        ),
    )
    DEFAULT_CSS = """
    TrainPane #settings { height: auto; }
    TrainPane #choices, TrainPane #forecast { height: auto; }
    TrainPane.-wide #settings { layout: horizontal; }
    TrainPane.-wide #choices { width: 1fr; margin: 1 0 0 0; }
    TrainPane.-wide #forecast { width: 1fr; max-width: 60; margin: 0 0 0 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._presets, self._faults = lora_presets()
        self._estimated: Project | None = None
        """What the needs are being worked out for."""
        self._form_made = False
        self._question: ConfirmScreen | None = None
        """Whether to stop; asked last."""

    def all_fields(self) -> tuple[Field, ...]:
        options = device_options(self)
        return tuple(
            replace(field, options=options) if field.name == "device" else field for field in self.fields
        )

    def _forms(self) -> Iterable[Widget]:
        """Yield what everybody chooses, and what few do, folded away."""
        glyphs = wizard(self).glyphs
        shown = [field for field in self.all_fields() if field.group is Group.BASIC]
        folded = [field for field in self.all_fields() if field.group is not Group.BASIC]
        yield Form(shown, self.table, self.inherited, glyphs, id="form")
        advanced = Form(folded, self.table, self.inherited, glyphs, id="advanced")
        yield Fold(_("Advanced"), advanced, glyphs, id="fold")

    def make_monitor(self) -> TrainingMonitor:
        return TrainingMonitor(wizard(self).glyphs, ascii_only=wizard(self).settings.ascii, id="monitor")

    def compose_before(self) -> Iterable[Widget]:
        return ()  # see _make_form

    @on(events.Mount)
    async def begin(self) -> None:
        """Make the form at once where there is no run to be watched."""
        for fault in self._faults[-1:]:  # one of the user's own
            self.notice.show_error(fault)
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
        await self.query_one("#before").mount(
            panel(
                PresetTable(self._presets, self.project.train.lora_config, id="preset-table"),
                _("LoRA presets"),
            ),
            Container(
                panel(Vertical(*self._forms(), id="choices"), _("Settings")),
                Vertical(PlanCard(id="plan"), Suggestion("train", id="suggestion"), id="forecast"),
                id="settings",
            ),
        )
        self._estimate()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE, "-wide")

    # presets

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
        self.query_one(PresetTable).take_needs(needs)
        chosen = self.project.train.lora_config
        if chosen in needs:
            self.query_one(PlanCard).take_need(needs[chosen])

    def on_preset_table_chosen(self, event: PresetTable.Chosen) -> None:
        """Write another preset into the project."""
        event.stop()
        self.project.train.lora_config = event.name
        project_screen(self).save_project()
        self._preset_changed()

    def _preset_changed(self) -> None:
        name, presets = self.project.train.lora_config, self.query_one(PresetTable)
        presets.show_chosen(name)
        self.form_changed()
        self.query_one(Suggestion).estimate_again()
        self.query_one(PlanCard).take_need(presets.need_of(name))

    # settings

    def inherited(self, field: Field) -> Any:
        preset = self._presets.get(self.project.train.lora_config)
        if preset is not None and field.name in preset.train.model_fields_set:
            return getattr(preset.train, field.name)
        return super().inherited(field)

    def project_changed(self) -> None:
        if self._form_made:
            self._preset_changed()
            self._estimate()

    def form_changed(self) -> None:
        for form in self.query(Form):  # none where a run was only watched
            form.show_values()

    def settings_changed(self) -> None:
        self._estimate()
        self.query_one(Suggestion).estimate_again()
        self.query_one(PlanCard).plan_again()

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

    def run_stage(self) -> None:
        """Start; of a run that is at its end, ask first how much more is wanted."""
        if self.is_done and self.state.checkpoints and not self.running:
            self._ask_how_much_more(checkpoint_step(self.state.checkpoints[-1]))
        else:
            super().run_stage()

    def _ask_how_much_more(self, step: int) -> None:
        from ...core.pipeline.plan import Unit, prolonged
        from ..dialogs.more_training import MoreTrainingScreen

        passes, ended_by = self._end_of_run(step)

        def total(amount: float, unit: Unit) -> str:
            limits = prolonged(step, passes, amount, unit)
            if unit == "epochs":
                epochs = limits["epochs"]
                form = ngettext("{number} epoch in all.", "{number} epochs in all.", epochs)
                return form.format(number=f"{epochs:g}")
            steps = limits["max_steps"]
            form = ngettext("{number} step in all.", "{number} steps in all.", steps)
            return form.format(number=count(steps))

        def answered(answer: tuple[float, Unit] | None) -> None:
            if answer is not None and not self.running:
                self.take_values("train", prolonged(step, passes, *answer, ended_by))
                super(TrainPane, self).run_stage()

        done = ngettext("{number} step is done", "{number} steps are done", step).format(number=count(step))
        if passes:
            epochs = ngettext("{number} epoch", "{number} epochs", passes)
            done = f"{done}, {epochs.format(number=f'{passes:.3g}')}"
        units = [("epochs", _("epochs")), ("steps", _("optimizer steps"))]
        self.app.push_screen(
            MoreTrainingScreen(
                f"{done}.",
                total,
                units if passes else units[1:],
                f"{max(round(passes / 4), 1)}" if passes else str(max(step // 4, 1)),
            ),
            answered,
        )

    def _end_of_run(self, step: int) -> tuple[float, str]:
        """Return the epochs that are done and what ended the run, as far as its jobs tell."""
        view = self.view
        if view is None or view.step is None or view.step.step != step:
            return 0.0, ""
        summary = view.end.summary if isinstance(view.end, Finished) else {}
        return view.step.clip_passes, str(summary.get("ended_by", ""))

    def stop(self) -> None:
        """Ask once, with numbers: what a training costs is hours. Asked again, it is ended at once."""
        job = self.job
        if job is None or not self.running or project_screen(self).is_stopping(job):
            super().stop()
            return

        def answered(yes: bool | None) -> None:
            if yes and self.job is not None and self.job.id == job.id and self.running:
                project_screen(self).stop_job(self.step)

        self._question = ConfirmScreen(
            _("Stop the training?"),
            stop_explanation(self.view),
            _("Stop and save"),
            _("Keep training"),
            keys_of("stop_job", wizard(self).settings.keys),
        )
        self.app.push_screen(self._question, answered)

    def job_ended(self) -> None:
        super().job_ended()
        if self._question is not None and self._question.is_current:
            self._question.dismiss(False)  # there is nothing left to be stopped

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
