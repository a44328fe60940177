"""What the wizard's tests share: hostile text, GPU readings, an engine whose jobs the tests speak for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from fishtune.core.config.project import Project
from fishtune.core.config.strict import Table
from fishtune.core.events import Event
from fishtune.core.hardware.readings import DriverState, Gpu, GpuProcess, GpuReading, Memory
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import Job, Place, create_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.engine import Engine
from fishtune.tui.screens.project import ProjectScreen

HOSTILE = (
    "[laugh] [/foo] [bold]b[/bold] [@click=app.leave]x[/] 안녕하세요 你好 こんにちは 😀👨‍👩‍👧 "
    "\x1b[31mred\x1b]0;t\x07 \u202eabc"
)
LONG = "가나다 [/x] " * 900
GIB = 1024**3

READING = GpuReading(
    state=DriverState.READY,
    driver_version="560.35",
    cuda_version=(12, 6),
    gpus=(
        Gpu(
            index=0,
            name="NVIDIA H100 80GB HBM3",
            uuid="GPU-0",
            memory=Memory(total=80 * GIB, free=int(67.6 * GIB), used=int(12.4 * GIB)),
            utilization=37,
            temperature=61,
            power=210.0,
            processes=(GpuProcess(pid=4711, name="python train.py", memory=12 * GIB, ours=False),),
        ),
    ),
)


class FakeGpus:
    """Gives the same reading again and again."""

    def __init__(self, reading: GpuReading) -> None:
        self._reading = reading

    def read(self) -> GpuReading:
        return self._reading


class FakeEngine(Engine):
    """The real engine but for GPUs and for jobs, which are only noted down."""

    def __init__(self, reading: GpuReading = READING) -> None:
        self.reading = reading
        self.started: list[tuple[StageName, Table, dict[str, str]]] = []
        self.stopped: list[tuple[str, bool]] = []
        self.writers: dict[str, EventWriter] = {}

    def gpu_source(self) -> FakeGpus:
        return FakeGpus(self.reading)

    def start(self, project: Project, stage: StageName, settings: Table, secrets: Any = None) -> Job:
        self.started.append((stage, settings, dict(secrets or {})))
        return self.new_job(project, stage, settings.model_dump(mode="json"))

    def stop(self, job: Job, now: bool) -> None:
        self.stopped.append((job.id, now))

    def new_job(self, project: Project, stage: StageName, settings: dict[str, Any] | None = None) -> Job:
        """Make a job that seems to run: its process is the test's own."""
        place = Place(results=project.results, project=project.name)
        folders = {"data": project.data, "local_dir": project.base, "output": project.protos}
        told = {name: str(path) for name, path in folders.items()} if settings is None else settings
        job = create_job(place, stage, told, ["test"])
        job.write(process=ProcessIdentity.of(os.getpid()))
        self.writers[job.id] = EventWriter(job.events_path)
        return job

    def say(self, job: Job, events: Iterable[Event]) -> None:
        """Let a job say something."""
        for event in events:
            self.writers[job.id].write(event)


def shown(app: Wizard) -> str:
    """Return what is on the screen, as text."""
    rows = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in row).rstrip() for row in rows)


async def until(condition: Callable[[], object], app: Wizard, seconds: float = 60.0) -> None:
    """Wait for a condition; the failure shows the screen."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, shown(app)
        await asyncio.sleep(0.02)


async def until_open(app: Wizard) -> ProjectScreen:
    """Wait for the project's page, and return its screen."""
    await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
    screen = app.screen
    assert isinstance(screen, ProjectScreen)
    return screen


async def until_shown(app: Wizard, *parts: str) -> None:
    """Wait until all of these are on the screen, in one row or in several: paths have any length."""

    def all_shown() -> bool:
        seen = shown(app)
        rows = [row.replace("│", "").strip() for row in seen.splitlines()]
        # Words go to the next row whole, a path that is longer than a row in two parts.
        return all(any(part in text for text in (seen, " ".join(rows), "".join(rows))) for part in parts)

    await until(all_shown, app)
