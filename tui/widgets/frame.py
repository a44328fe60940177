"""The frame around every step: header, list of steps, footer."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ...core.hardware.readings import DriverState, Gpu, GpuReading, GpuState
from ...core.jobs.steps import StepState
from ..actions import BY_NAME, key_label, keys_of
from ..catalogue import _
from ..glyphs import LINES, Glyphs
from ..look import StepStatus
from ..wording import fit, gibibytes, harmless


class HeaderBar(Widget):
    """One row: program and project on the left, the GPUs on the right."""

    DEFAULT_CSS = "HeaderBar { height: 1; width: 100%; background: $panel; color: $foreground; }"
    gpus: reactive[GpuReading | None] = reactive(None)
    project: reactive[str] = reactive("")

    def render(self) -> Text:
        width = self.size.width
        left = " fishtune" + (f" · {harmless(self.project, 60)}" if self.project else "")
        reading = gpu_line(self.gpus, width - 24)
        left = fit(left, max(width - cell_len(reading) - 3, 10))
        gap = max(width - cell_len(left) - cell_len(reading) - 1, 1)
        return Text(
            left + " " * gap + reading, no_wrap=True, overflow="crop", style="bold" if self.project else ""
        )


def gpu_line(reading: GpuReading | None, width: int) -> str:
    """Return the readings that fit in `width`: the first GPU in full, the others as far as there is room."""
    if reading is None:
        return ""
    if reading.state is not DriverState.READY or not reading.gpus:
        return fit(_("GPU: {state}").format(state=_(reading.state.value)), width)
    parts = [_one_gpu(gpu) for gpu in reading.gpus]
    line = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        if cell_len(line) + 3 + cell_len(part) > width:
            rest = _("{number} more").format(number=len(parts) - number)
            return fit(f"{line}  +{rest}", width)
        line += "   " + part
    return fit(line, width)


def _one_gpu(gpu: Gpu) -> str:
    if gpu.state is not GpuState.READY:
        return f"GPU{gpu.index} {_(gpu.state.value)}"
    words = [f"GPU{gpu.index}", short_name(gpu.name)]
    if gpu.memory is not None:
        words.append(gibibytes(gpu.memory.used, gpu.memory.total))
    if gpu.utilization is not None:
        words.append(f"{gpu.utilization:3d} %")
    if gpu.temperature is not None:
        words.append(f"{gpu.temperature} °C")
    return " ".join(words)


def short_name(name: str) -> str:
    """Return a GPU's name without maker and memory: `H100`, `RTX 4090`."""
    name = harmless(name, 60).removeprefix("NVIDIA ").removeprefix("GeForce ")
    words = [word for word in name.split(" ") if not word.endswith("GB")]
    return " ".join(words[:2] if words and words[0] in ("RTX", "GTX", "Tesla") else words[:1])


class StepList(Widget, can_focus=True):
    """The six steps, each with a mark and a word for its state."""

    DEFAULT_CSS = """
    StepList { width: 20; height: 100%; background: $surface; padding: 1 0 0 0; }
    """
    BINDINGS = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("enter", "run", show=False),
        Binding("right", "enter_step", show=False),
    ]
    current: reactive[int] = reactive(0)
    steps: reactive[Sequence[StepStatus]] = reactive(())

    class Chosen(Message):
        """Another step is to be shown."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    class Run(Message):
        """Enter was pressed on a step."""

    class EnterStep(Message):
        """The focus is to go into the step."""

    def __init__(self, glyphs: Glyphs = LINES, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs

    def render(self) -> Text:
        text = Text(no_wrap=True, overflow="crop")
        width = self.size.width
        next_step = next((step for step in self.steps if step.state is StepState.READY), None)
        for index, step in enumerate(self.steps):
            chosen = index == self.current
            style = "reverse" if chosen and self.has_focus else "bold" if chosen else ""
            mark_sign = getattr(self._glyphs, step.state.value)
            text.append(f" {mark_sign} {index + 1} {_(step.title)}".ljust(width), style=style)
            text.append("\n")
            text.append(fit(f"   {step.word}", width) + "\n", style="dim" if not chosen else "")
            if self.size.height >= 20:
                text.append("\n")
        text.append("\n")
        if next_step is not None:
            text.append(fit(" " + _("next: {step}").format(step=_(next_step.title)), width))
        return text

    def action_move(self, by: int) -> None:
        if self.steps:
            self.action_choose((self.current + by) % len(self.steps))

    def action_choose(self, index: int) -> None:
        if index < len(self.steps):
            self.post_message(self.Chosen(index))

    def action_run(self) -> None:
        self.post_message(self.Run())

    def action_enter_step(self) -> None:
        self.post_message(self.EnterStep())

    def on_click(self, event: events.Click) -> None:
        row = event.y - 1
        rows_each = 3 if self.size.height >= 20 else 2
        if 0 <= row < rows_each * len(self.steps):
            self.action_choose(row // rows_each)


class FooterBar(Widget):
    """At most six short keys; Quit and Help come first, a longer list would be cut at 80 columns."""

    DEFAULT_CSS = "FooterBar { height: 1; width: 100%; background: $panel; color: $foreground; }"
    items: reactive[tuple[tuple[str, str], ...]] = reactive(())
    MOST = 6

    def render(self) -> Text:
        text = Text(no_wrap=True, overflow="crop")
        for key, label in self.items[: self.MOST]:
            text.append(f" {key} ", style="bold reverse")
            text.append(f" {label} ")
        return text

    def show(
        self, names: Sequence[str], changed: dict[str, str], extra: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Show the keys of the actions `names`, with `extra` (key, label) pairs after the first two."""
        pairs = [(key_label(keys_of(name, changed)), _(BY_NAME[name].label)) for name in names]
        self.items = tuple([*pairs[:2], *extra, *pairs[2:]][: self.MOST])
