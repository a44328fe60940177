"""The wizard's only way to act on the engine. Its methods block; screens call them in threads.

Tests give the application another one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.config.project import Project
from ..core.config.strict import Table
from ..core.errors import FishtuneError
from ..core.jobs.record import Job, Place
from ..core.messages import from_data
from ..core.stages.registry import StageName
from ..core.tables import parse_json
from .catalogue import _
from .project_state import ProjectState, inspect_project
from .watch import GpuSource

if TYPE_CHECKING:
    from ..core.config.settings import TrainSettings
    from ..core.dataset.edits import Edit
    from ..core.dataset.places import WordGaps
    from ..core.dataset.proofreading import ProofClip
    from ..core.stages.train.planned import PlannedRun


class Engine:
    """The real engine."""

    def gpu_source(self) -> GpuSource:
        """Return where GPU readings come from."""
        from ..core.hardware.nvml import Nvml

        return Nvml()

    def inspect_project(self, project: Project) -> ProjectState:
        """Return the state of a project's steps."""
        return inspect_project(project)

    def start(
        self, project: Project, stage: StageName, settings: Table, secrets: Mapping[str, str] | None = None
    ) -> Job:
        """Start a stage as a job of its own and return it once it has begun.

        Args:
            secrets: environment variables for the job alone; written nowhere.

        Raises:
            FishtuneError: it could not be started.
        """
        from ..core.jobs.start import start_job

        place = Place(results=project.results, project=project.name)
        return start_job(stage, settings, place, environment=secrets)

    def stop(self, job: Job, now: bool) -> None:
        """Ask a job to save and end; with `now`, end it at once.

        Raises:
            JobError: it does not run.
        """
        from ..core.jobs.start import stop_job

        stop_job(job, now)

    async def inspect_clip(self, project: Project, clip: str, points: int) -> dict[str, Any]:
        """Return `core.stages.validate.run.ClipDetail` of a clip as JSON; cancelling ends the work.

        Decoding needs array libraries, which do not belong into this process.

        Raises:
            FishtuneError: the clip or its folder cannot be read.
        """
        program = (
            "import sys; from pathlib import Path; from fishtune.core.messages import AS_DATA; "
            "from fishtune.core.stages.validate.run import inspect_clip; "
            "data, clip, extension, points = sys.argv[1:]; "
            "print(inspect_clip(Path(data), clip, extension, int(points)).model_dump_json(context=AS_DATA))"
        )
        arguments = (str(project.data), clip, project.pack.text_extension, str(points))
        found: dict[str, Any] = parse_json(await _in_own_process(program, *arguments), clip)
        return found

    async def proof_clips(self, data: Path) -> list[ProofClip]:
        """Return the clips of a data set as they are now; cancelling ends the work.

        Raises:
            FishtuneError: the data set cannot be read.
        """
        from pydantic import TypeAdapter

        from ..core.dataset.proofreading import ProofClip

        program = (
            "import sys; from pathlib import Path; from pydantic import TypeAdapter; "
            "from fishtune.core.dataset.proofreading import ProofClip; "
            "from fishtune.core.stages.prepare.realise import clips_now; "
            "clips = clips_now(Path(sys.argv[1])); "
            "sys.stdout.buffer.write(TypeAdapter(list[ProofClip]).dump_json(clips))"
        )
        return TypeAdapter(list[ProofClip]).validate_json(await _in_own_process(program, str(data)))

    async def word_gaps(self, data: Path, clip: ProofClip, by_ear: bool) -> WordGaps:
        """Return the places between a clip's words; cancelling ends the work.

        Args:
            by_ear: recognise what nothing heard before, which takes seconds to minutes.

        Raises:
            FishtuneError: the clip cannot be read, or nothing can listen to it.
        """
        from pydantic import TypeAdapter

        from ..core.dataset.places import WordGaps
        from ..core.dataset.proofreading import ProofClip

        program = (
            "import sys; from pathlib import Path; from pydantic import TypeAdapter; "
            "from fishtune.core.dataset.proofreading import ProofClip; "
            "from fishtune.core.dataset.places import WordGaps; "
            "from fishtune.core.stages.prepare.places import word_gaps; "
            "clip = TypeAdapter(ProofClip).validate_json(sys.argv[2]); "
            "found = word_gaps(Path(sys.argv[1]), clip, by_ear=sys.argv[3] == 'True'); "
            "sys.stdout.buffer.write(TypeAdapter(WordGaps).dump_json(found))"
        )
        told = TypeAdapter(ProofClip).dump_json(clip).decode()
        found = await _in_own_process(program, str(data), told, str(by_ear))
        return TypeAdapter(WordGaps).validate_json(found)

    async def edit_clip(self, data: Path, edit: Edit) -> None:
        """Apply an edit to a data set and bring its files in line.

        Raises:
            FishtuneError: the edit is impossible, or the data set cannot be written.
        """
        program = (
            "import sys; from pathlib import Path; from fishtune.core.dataset.edits import read_edits; "
            "from fishtune.core.stages.prepare.realise import add_edits; import json; "
            "add_edits(Path(sys.argv[1]), read_edits([json.loads(sys.argv[2])], 'the edit'))"
        )
        await _in_own_process(program, str(data), edit.model_dump_json())

    async def undo_clip_edit(self, data: Path) -> bool:
        """Take back the last edit of a data set; return whether there was one.

        Raises:
            FishtuneError: the data set cannot be written.
        """
        program = (
            "import sys; from pathlib import Path; from fishtune.core.stages.prepare.realise import undo; "
            "print(undo(Path(sys.argv[1])) is not None)"
        )
        return (await _in_own_process(program, str(data))).strip() == b"True"

    async def plan_training(self, settings: TrainSettings) -> PlannedRun | None:
        """Return what a training comes to by its sampler's own plan, None where nothing is packed yet.

        Planning needs array libraries, which do not belong into this process; cancelling ends the work.

        Raises:
            FishtuneError: shards or base cannot be used.
        """
        from ..core.dataset.clips import SHARD_EXTENSION
        from ..core.stages.train.planned import PlannedRun

        if not list(settings.protos.glob(f"*{SHARD_EXTENSION}")):
            return None
        program = (
            "import sys; from fishtune.core.config.settings import TrainSettings; "
            "from fishtune.core.stages.train.plan import plan_run; "
            "print(plan_run(TrainSettings.model_validate_json(sys.argv[1])).model_dump_json())"
        )
        return PlannedRun.model_validate_json(await _in_own_process(program, settings.model_dump_json()))

    async def make_listening_page(self, run_folder: Path) -> None:
        """Write the listening page of a run that was auditioned; cancelling ends the work.

        Raises:
            FishtuneError: there is nothing to listen to, or the page cannot be written.
        """
        program = (
            "import sys; from pathlib import Path; from fishtune.core.events import Reporter; "
            "from fishtune.core.judge.record import LISTEN_FILE; "
            "from fishtune.core.report.listening.page import write_listening_page; "
            "run = Path(sys.argv[1]); write_listening_page([run], run / LISTEN_FILE, Reporter())"
        )
        await _in_own_process(program, str(run_folder))

    async def make_demo(self, folder: Path) -> None:
        """Set up the demo project in `folder`; cancelling ends the work.

        Raises:
            FishtuneError: the folder holds other things, or cannot be written.
        """
        program = (
            "import sys; from pathlib import Path; from fishtune.core.demo.project import make_demo; "
            "make_demo(Path(sys.argv[1]))"
        )
        await _in_own_process(program, str(folder))


async def _in_own_process(program: str, *arguments: str) -> bytes:
    """Return what a short program writes; its `FishtuneError`, if any, is raised here."""
    guarded = (
        "import sys\nfrom fishtune.core.errors import FishtuneError\n"
        f"try:\n    exec({program!r})\n"
        "except FishtuneError as error:\n"
        "    import json; from fishtune.core.messages import as_data\n"
        "    sys.stderr.write('\\n' + json.dumps([as_data(error.message), as_data(error.hint)]))\n"
        "    raise SystemExit(3)\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", guarded, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        written, complaints = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode == 0:
        return written
    lines = complaints.decode("utf-8", "replace").split("\n")
    if process.returncode == 3:
        raise FishtuneError(*map(from_data, parse_json(lines[-1].encode(), "an error")))
    last_words = " ".join(lines).strip()[-300:]
    raise FishtuneError(
        _("The engine ended with code {code}: {last_words}").format(
            code=process.returncode, last_words=last_words
        )
    )
