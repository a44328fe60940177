"""What a training will come to, in front of its button: epochs, steps, time, checkpoints, memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from ...core.errors import FishtuneError
from ..access import project_screen, wizard
from ..catalogue import _, sentence
from ..trouble import in_background
from ..wording import harmless
from .gpu_gauge import device_of
from .memory_bar import memory_bar
from .panel import panel

if TYPE_CHECKING:
    from ...core.config.settings import TrainSettings
    from ...core.pipeline.plan import TrainingPlan
    from ...core.stages.train.planned import PlannedRun
    from ..estimates import Estimate

_TICK_SECONDS = 1.0


class PlanCard(Vertical):
    """Made in the background whenever the settings change; the memory follows the GPU's readings."""

    DEFAULT_CSS = """
    PlanCard { height: auto; }
    PlanCard Static { height: auto; }
    PlanCard #plan-sentence { text-style: bold; }
    PlanCard .quiet { color: $text-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._planned: tuple[TrainSettings, PlannedRun] | None = None
        self._need: Estimate | None = None
        self._device = ""
        self._memory = ""
        panel(self, _("Plan"))

    def compose(self) -> ComposeResult:
        yield Static("", id="plan-sentence", markup=False)
        memory = Static("", id="plan-memory", markup=False)
        memory.display = False
        yield memory
        yield Static("", id="plan-clips", classes="quiet", markup=False)
        yield Static("", id="plan-source", classes="quiet", markup=False)

    def on_mount(self) -> None:
        self.plan_again()
        self._show(_("Counting the steps…"))
        self.set_interval(_TICK_SECONDS, self._tick)

    def take_need(self, need: Estimate | None) -> None:
        """Take what the chosen preset needs: memory, and how many weights it trains."""
        self._need = need
        self._show_memory()
        self.plan_again()

    def plan_again(self) -> None:
        """Plan from the project as it is now."""
        in_background(self, self._plan, self._not_planned, "plan")

    async def _plan(self) -> None:
        project, engine = project_screen(self).project, wizard(self).engine
        settings = project.train_settings()
        if self._planned is None or self._planned[0] != settings:
            planned = await engine.plan_training(settings)
            self._planned = None if planned is None else (settings, planned)
        if self._planned is None:
            self._show(_("Steps and time can be told once the clips are packed (step 4)."))
            return
        self._device = self._device_name()
        plan = await asyncio.to_thread(self._make, *self._planned, self._device)
        self._show(sentence(plan.sentence), sentence(plan.clips), sentence(plan.source))

    def _make(self, settings: TrainSettings, planned: PlannedRun, device: str) -> TrainingPlan:
        from ...core.config.presets import lora_preset
        from ...core.pipeline.plan import TrainingPlan, measured_before

        return TrainingPlan.of(
            planned,
            settings,
            device=device,
            measured=measured_before(settings, device),
            trained=self._need.trainable if self._need is not None else None,
            method=lora_preset(settings.lora_config).method,
        )

    def _not_planned(self, error: FishtuneError) -> None:
        self._show(sentence(error.message), sentence(error.hint))

    def _show(self, *lines: str) -> None:
        names = ("plan-sentence", "plan-clips", "plan-source")
        for name, line in zip(names, (*lines, "", "")[: len(names)], strict=True):
            part = self.query_one(f"#{name}", Static)
            part.display = bool(line)
            part.update(Text(harmless(line, 1000)))

    # the device

    def _device_name(self) -> str:
        found = device_of(wizard(self).gpus, project_screen(self).project.train.device)
        return found.gpu.name if found is not None else ""

    def _tick(self) -> None:
        if not self.is_on_screen:
            return
        self._show_memory()
        if self._planned is not None and self._device_name() != self._device:
            self.plan_again()

    def _show_memory(self) -> None:
        if self._need is None or self._need.needed is None:
            text = Text("")
        else:
            from ...core.hardware.device import available_on

            found = device_of(wizard(self).gpus, project_screen(self).project.train.device)
            available = available_on(found) if found is not None else None
            width = max(self.size.width, 40)
            text = memory_bar(wizard(self).glyphs, self._need.needed, available, width)
        if text.plain != self._memory:
            self._memory = text.plain
            line = self.query_one("#plan-memory", Static)
            line.display = bool(text.plain)
            line.update(text)
