"""`fishtune gpus`."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..hardware.nvml import Nvml
from ..hardware.readings import DriverState, Gpu, GpuProcess, GpuReading, GpuState, Memory
from ..hardware.visibility import CudaView, cuda_view
from ..units import format_bytes, format_count, format_usage
from .console import SafeConsole, out, print_json

INTERVAL = 1.0


def gpus(
    json: Annotated[
        bool, typer.Option("--json", help="Write JSON; with --watch one line a reading.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Read once a second until Ctrl+C.")] = False,
) -> None:
    """Show every GPU: free memory and who holds the rest, use, temperature, and which one is cuda:0.

    CUDA_VISIBLE_DEVICES counts: GPUs that it hides are listed without a cuda number.

    Example: CUDA_VISIBLE_DEVICES=1 fishtune gpus
    """
    with Nvml() as nvml, contextlib.suppress(KeyboardInterrupt):  # Ctrl+C is how watching ends
        if watch:
            _watch(nvml, json)
            return
        reading = nvml.read()
        if json:
            print_json(_content(reading, cuda_view(reading)))
        else:
            out.print(_view(reading, cuda_view(reading)), soft_wrap=False)


def _watch(nvml: Nvml, json: bool) -> None:
    # A console of its own: `out` never wraps, so that paths stay whole, and a live view would cut its lines.
    wrapping = SafeConsole()
    screen = None if json or not out.is_terminal else Live(console=wrapping, auto_refresh=False)
    with screen or contextlib.nullcontext():
        while True:
            reading = nvml.read()
            if screen is not None:
                screen.update(_view(reading, cuda_view(reading)), refresh=True)
            elif json:
                print_json(_content(reading, cuda_view(reading)), indent=None)
            else:
                _write_lines(reading)
            sys.stdout.flush()
            time.sleep(INTERVAL)


def _write_lines(reading: GpuReading) -> None:
    moment = time.strftime("%H:%M:%S")
    for gpu in reading.gpus:
        use = "–" if gpu.utilization is None else f"{gpu.utilization}%"
        out.print(f"{moment}  {gpu.index}  {gpu.name}  {_memory(gpu.memory)}  {use}  {_state(gpu)}")
    if reading.state is not DriverState.READY:
        out.print(f"{moment}  {reading.state}: {reading.message}")


def _content(reading: GpuReading, view: CudaView) -> dict[str, Any]:
    content = asdict(reading)
    content["cuda"] = {
        "devices": [
            {
                "name": f"cuda:{device.ordinal}",
                "gpu": device.gpu.index,
                "uuid": device.mig.uuid if device.mig else device.gpu.uuid,
            }
            for device in view.devices
        ],
        "certain": view.certain,
        "note": view.note,
    }
    return content


def _view(reading: GpuReading, view: CudaView) -> Group:
    lines: list[Table | Text] = []
    if reading.gpus:
        lines.append(_gpu_table(reading, view))
    if reading.state is not DriverState.READY:
        lines.append(Text(f"{reading.state}: {reading.message}"))
        return Group(*lines)
    lines += [Text(f"GPU {gpu.index}: {gpu.message}") for gpu in reading.gpus if gpu.message]
    slices = [(gpu, slice_) for gpu in reading.gpus for slice_ in gpu.mig_devices]
    for gpu, slice_ in slices:
        lines.append(Text(f"GPU {gpu.index} slice {slice_.index}: {_memory(slice_.memory)}  {slice_.uuid}"))
    processes = [(gpu, process) for gpu in reading.gpus for process in gpu.processes or ()]
    if processes:
        lines += [Text(), _process_table(processes)]
    cuda = ".".join(map(str, reading.cuda_version)) if reading.cuda_version else "?"
    lines += [Text(), Text(f"Driver {reading.driver_version}, CUDA up to {cuda}. {view.note}")]
    return Group(*lines)


def _gpu_table(reading: GpuReading, view: CudaView) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("GPU", "torch", "name", "used/total", "free", "use", "temp", "power", "state"):
        words = heading in ("torch", "name", "state")
        table.add_column(heading, justify="left" if words else "right", no_wrap=heading != "name")
    for gpu in reading.gpus:
        ordinal = view.ordinal(gpu)
        name = "–" if ordinal is None else f"cuda:{ordinal}" + ("" if view.certain else "?")
        table.add_row(
            str(gpu.index),
            name,
            gpu.name.removeprefix("NVIDIA ") or "–",
            _memory(gpu.memory),
            format_bytes(gpu.memory.free) if gpu.memory else "–",
            "–" if gpu.utilization is None else f"{gpu.utilization}%",
            "–" if gpu.temperature is None else f"{gpu.temperature}°C",
            "–" if gpu.power is None else f"{gpu.power:.0f} W",
            _state(gpu),
        )
    return table


def _memory(memory: Memory | None) -> str:
    return "–" if memory is None else format_usage(memory.used, memory.total)


def _state(gpu: Gpu) -> str:
    words = [] if gpu.state is GpuState.READY else [str(gpu.state)]
    if gpu.mig_enabled:
        words.append("multi-instance")
    if gpu.ecc_errors:
        words.append(format_count(gpu.ecc_errors, "memory error"))
    return ", ".join(words) or "ready"


def _process_table(processes: list[tuple[Gpu, GpuProcess]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("GPU", "process", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("program", overflow="fold")
    for gpu, process in processes:
        name = process.name or "(not visible from here)"
        table.add_row(
            str(gpu.index),
            str(process.pid),
            "–" if process.memory is None else format_bytes(process.memory),
            f"{name}  (fishtune)" if process.ours else name,
        )
    return table
