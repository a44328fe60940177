"""Every GPU, and the processes that hold its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Static

from ...core.units import format_usage
from ..access import wizard
from ..base_screen import Dialog
from ..catalogue import _, sentence
from ..widgets.table import Table
from ..wording import driver_sentence, harmless, plain, right, size

if TYPE_CHECKING:
    from ...core.hardware.readings import Gpu, GpuReading


class GpuScreen(Dialog[None]):
    """Follows the readings once a second."""

    BINDINGS = [
        Binding("escape,g,q", "close", show=False),
        Binding("question_mark,f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    GpuScreen .dialog { width: 96%; max-width: 140; }
    GpuScreen #cards { max-height: 9; }
    GpuScreen #processes { max-height: 10; }
    GpuScreen #driver { height: auto; }
    GpuScreen .heading { text-style: bold; margin: 1 0 0 0; }
    GpuScreen #cards { margin: 1 0 0 0; }
    """

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("", id="driver", markup=False)
            yield Table(
                [
                    ("GPU", 4, "right"),
                    (_("name"), None, "left"),
                    (_("memory"), None, "right"),
                    (_("free"), None, "right"),
                    (_("use"), 6, "right"),
                    (_("temp."), 7, "right"),
                    (_("power"), 7, "right"),
                ],
                id="cards",
            )
            yield Static(Text(_("Processes that hold its memory")), classes="heading", markup=False)
            yield Table(
                [
                    ("GPU", 4, "right"),
                    (_("process"), 9, "right"),
                    (_("memory"), 10, "right"),
                    (_("whose"), None, "left"),
                    (_("program"), None, "left"),
                ],
                id="processes",
            )

    def on_mount(self) -> None:
        if wizard(self).gpus is not None:
            self.show_gpus(wizard(self).gpus)
        self.query_one("#processes", Table).focus()

    def show_gpus(self, reading: GpuReading | None) -> None:
        """Show a reading."""
        if reading is None or not self.query("#driver"):
            return
        self.query_one("#driver", Static).update(Text(driver_sentence(reading)))
        for part in self.query("#cards, .heading, #processes"):
            part.display = bool(reading.gpus)
        self.query_one("#cards", Table).show_rows((str(gpu.index), _row(gpu)) for gpu in reading.gpus)
        rows = []
        for gpu in reading.gpus:
            for process in gpu.processes or ():
                whose = _("fishtune") if process.ours else _("another's")
                cells = (gpu.index, process.pid, size(process.memory), whose, plain(process.name or "–"))
                rows.append((f"{gpu.index}-{process.pid}", cells))
        self.query_one("#processes", Table).show_rows(rows)

    def text_to_copy(self) -> str:
        """Return the row under the cursor."""
        return self.query_one("#processes", Table).chosen_text

    def help_text(self) -> str:
        """Return what should be known here."""
        return _(
            "Memory, use and temperature of every GPU, read once a second. Processes marked fishtune are "
            "jobs of yours; the others hold memory that becomes free when they are ended where they run."
        )

    def action_close(self) -> None:
        self.dismiss(None)


def _row(gpu: Gpu) -> tuple[object, ...]:
    from ...core.hardware.readings import GpuState

    name = harmless(gpu.name)
    if gpu.state is not GpuState.READY:
        name = f"{name} {_(gpu.state.value)}: {harmless(sentence(gpu.message))}"
    memory = gpu.memory
    return (
        gpu.index,
        plain(name),
        right(format_usage(memory.used, memory.total) if memory else "–"),
        right(size(memory.free) if memory else "–"),
        right(f"{gpu.utilization} %" if gpu.utilization is not None else "–"),
        right(f"{gpu.temperature} °C" if gpu.temperature is not None else "–"),
        right(f"{gpu.power:.0f} W" if gpu.power is not None else "–"),
    )
