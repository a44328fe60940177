"""The frame around every screen: header and footer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from ...core.units import format_usage
from ..actions import BY_NAME, key_label, keys_of
from ..catalogue import _
from ..glyphs import LINES, Glyphs, gauge
from ..wording import fit, harmless

if TYPE_CHECKING:
    from ...core.hardware.readings import Gpu, GpuReading


_GAUGE_CELLS = 6


class HeaderBar(Widget):
    """The upper line of the frame: program and project on the left, the GPUs on the right."""

    DEFAULT_CSS = """
    HeaderBar { height: 1; width: 100%; color: $frame; }
    HeaderBar > .frame--words { color: $foreground; text-style: bold; }
    HeaderBar > .frame--gauge { color: $primary; }
    HeaderBar > .frame--full { color: $warning; }
    """
    COMPONENT_CLASSES = {"frame--words", "frame--gauge", "frame--full"}
    gpus: reactive[GpuReading | None] = reactive(None)
    project: reactive[str] = reactive("")

    def __init__(self, glyphs: Glyphs = LINES) -> None:
        super().__init__()
        self._glyphs = glyphs

    def render(self) -> Text:
        width, glyphs = self.size.width, self._glyphs
        words = self.get_component_rich_style("frame--words", partial=True)
        reading = gpu_line(self.gpus, width - 28, glyphs)
        right = Text(f" {reading} " if reading else "", style=words)
        for found in re.finditer(f"[{glyphs.gauge}{glyphs.gauge_rest}]{{{_GAUGE_CELLS}}}", right.plain):
            kind = "frame--gauge" if glyphs.gauge_rest in found[0] else "frame--full"
            right.stylize(self.get_component_rich_style(kind, partial=True), *found.span())
        left = " fishtune" + (f" · {harmless(self.project, 60)}" if self.project else "")
        left = fit(left, max(width - right.cell_len - 7, 9)) + " "
        gap = max(width - cell_len(left) - right.cell_len - 3, 0)
        return Text.assemble("┌", (left, words), "─" * gap, right, "─┐", no_wrap=True, overflow="crop")


def gpu_line(reading: GpuReading | None, width: int, glyphs: Glyphs = LINES) -> str:
    """Return the readings that fit in `width`: the first GPU in full, the others as far as there is room."""
    if reading is None:
        return ""
    from ...core.hardware.readings import DriverState

    if reading.state is not DriverState.READY or not reading.gpus:
        return fit(_("GPU: {state}").format(state=_(reading.state.value)), width)
    parts = [_one_gpu(gpu, glyphs) for gpu in reading.gpus]
    line = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        if cell_len(line) + 3 + cell_len(part) > width:
            rest = _("{number} more").format(number=len(parts) - number)
            return fit(f"{line}  +{rest}", width)
        line += "   " + part
    return fit(line, width)


def _one_gpu(gpu: Gpu, glyphs: Glyphs) -> str:
    from ...core.hardware.readings import GpuState

    if gpu.state is not GpuState.READY:
        return f"GPU{gpu.index} {_(gpu.state.value)}"
    words = [f"GPU{gpu.index}", short_name(gpu.name)]
    if gpu.memory is not None:
        words.append(gauge(glyphs, gpu.memory.used / max(gpu.memory.total, 1), _GAUGE_CELLS))
        words.append(format_usage(gpu.memory.used, gpu.memory.total))
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


class FooterBar(Widget):
    """The lower line of the frame: at most six short keys, since a longer list would be cut at 80 columns."""

    DEFAULT_CSS = """
    FooterBar { height: 1; width: 100%; color: $frame; }
    FooterBar > .frame--key { color: $primary; text-style: bold; }
    FooterBar > .frame--label { color: $foreground; }
    """
    COMPONENT_CLASSES = {"frame--key", "frame--label"}
    items: reactive[tuple[tuple[str, str], ...]] = reactive(())
    MOST = 6

    def render(self) -> Text:
        key_style = self.get_component_rich_style("frame--key", partial=True)
        label_style = self.get_component_rich_style("frame--label", partial=True)
        text = Text("└", no_wrap=True, overflow="crop")
        for key, label in self.items[: self.MOST]:
            text.append(f" {harmless(key, 20)} ", style=key_style)
            text.append(f"{harmless(label, 24)} ", style=label_style)
        text.append("─" * max(self.size.width - cell_len(text.plain) - 1, 0) + "┘")
        return text

    def show(
        self,
        names: Sequence[str],
        changed: Mapping[str, str],
        extra: Sequence[tuple[str, str]] = (),
        instead: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        """Show the keys of the actions `names`, with `extra` (key, label) pairs after the first two.

        Args:
            instead: pairs that are shown alone: those of what covers the screen.
        """
        if instead is not None:
            self.items = tuple(instead[: self.MOST])
            return
        pairs = [(key_label(keys_of(name, changed)), _(BY_NAME[name].label)) for name in names]
        self.items = tuple([*pairs[:2], *extra, *pairs[2:]][: self.MOST])
