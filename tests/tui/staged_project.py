"""A project with all six steps behind it, the same on every machine: for pictures of the screens."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from fishtune.core.config.project import Project
from fishtune.core.config.settings import TrainSettings
from fishtune.core.dataset.findings import FindingKind, error, warning
from fishtune.core.dataset.rows import ClipRow
from fishtune.core.dataset.usage import DropReason
from fishtune.core.events import (
    CheckpointSaved,
    ClipsListed,
    Finished,
    ItemFailed,
    MemoryMeasured,
    Progress,
    Started,
    Step,
    Validation,
)
from fishtune.core.jobs.record import Job, Place, list_jobs
from fishtune.core.messages import AS_DATA
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.core.stages.registry import StageName
from fishtune.core.stages.train.planned import PlannedRun
from fishtune.tui.catalogue import _
from fishtune.tui.project_state import WORDS, ProjectState, ShownStep
from wizard_helpers import FakeEngine

HOME = "/home/mira/yoona"
"""Where the project seems to be: the folder of a test has another name in every run."""
NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC
_STEP_OF = {
    StageName.VALIDATE: StepName.DATASET,
    StageName.EXTRACT: StepName.EXTRACT,
    StageName.TRAIN: StepName.TRAIN,
    StageName.MERGE: StepName.MERGE,
}
_SENTENCES = {
    StepName.DATASET: "213 of 214 clips will be used: 1 with an empty text.",
    StepName.MODEL: f"The base model openaudio-s1-mini is in {HOME}/checkpoints/openaudio-s1-mini.",
    StepName.EXTRACT: ("All 214 recordings have codes. 213 of 214 clips will be used: 1 with an empty text."),
    StepName.PACK: (
        f"213 of 214 clips will be used: 1 with an empty text. Packed: 1 shard in {HOME}/data/protos."
    ),
    StepName.TRAIN: "Trained 120 steps.",
    StepName.MERGE: f"{HOME}/checkpoints/yoona-merged was merged from step_000000080.ckpt.",
}


_WORDS = ("Wait for me…", "The tide comes in at four.", "비가 그치면 나갈게요.", "Nobody had told her.")


class FrozenClock:
    """It is always noon."""

    @staticmethod
    def now(zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(NOON, zone)


class StagedEngine(FakeEngine):
    """Sees the steps of `staged_project` as done, its clips as one, and plans without a process."""

    async def plan_training(self, settings: TrainSettings) -> PlannedRun | None:
        return PlannedRun(
            clips=201,
            held_out=12,
            left_out=0,
            epochs=settings.epochs or 250,
            steps=1240,
            steps_per_epoch=4.96,
            tokens_per_step=7600.0,
        )

    def inspect_project(self, project: Project) -> ProjectState:
        jobs: dict[StepName, Job] = {
            _STEP_OF[StageName(job.record.stage)]: job
            for job in list_jobs(Place(results=project.results, project=project.name))
        }
        steps = tuple(
            ShownStep(name, StepState.DONE, _(WORDS[StepState.DONE]), sentence)
            for name, sentence in _SENTENCES.items()
        )
        checkpoints = sorted((project.run_folder / "checkpoints").glob("*.ckpt"))
        return ProjectState(steps=steps, jobs=jobs, checkpoints=tuple(checkpoints))

    async def inspect_clip(self, project: Project, clip: str, points: int) -> dict[str, Any]:
        return {
            "outline": [(number % 9) / 9 for number in range(points)],
            "seconds": 3.25,
            "sample_rate": 44_100,
            "channels": 1,
            "loudness": -23.0,
            "peak": -4.5,
            "transcript": "Wait {laugh} – for me…",
            "packed": "Wait for me…",
            "stripped": ["{laugh}"],
            "audio": f"{HOME}/data/{clip}.wav",
        }


def staged_project(folder: Path, golden: Path, engine: FakeEngine) -> Project:
    """Make the project in `folder`: files, jobs and what the jobs said."""
    base = {"path": "checkpoints/openaudio-s1-mini", "name": "openaudio-s1-mini"}
    project = Project.create(folder, "yoona", dataset={"path": "data"}, model=base)
    project.save()
    for path in (project.data, project.protos, project.merged, project.run_folder / "checkpoints"):
        path.mkdir(parents=True)
    project.base.mkdir(parents=True)
    for name in ("config.json", "codec_config.json", "special_tokens.json", "tokenizer.tiktoken"):
        shutil.copyfile(golden / "base" / name, project.base / name)
    for name, size in (("model.pth", 3_000_000), ("codec.pth", 2_000_000)):
        (project.base / name).write_bytes(bytes(size))
    _check(project, engine)
    _extract(project, engine)
    _pack(project)
    _train(project, engine)
    _merge(project, engine)
    return project


def _check(project: Project, engine: FakeEngine) -> None:
    amy = {"clips": 120, "seconds": 500.0, "median_seconds": 4.1, "longest_seconds": 11.0, "loudness": -22.9}
    yoona = {"clips": 94, "seconds": 431.0, "median_seconds": 4.4, "longest_seconds": 12.5, "loudness": -23.1}
    findings = [
        error(
            FindingKind.TEXT_EMPTY,
            project.data / "amy" / "a.lab",
            "a.lab has no words.",
            "Write what is said.",
        ),
        warning(
            FindingKind.TEXT_STRIPPED,
            project.data / "윤아" / "편지.lab",
            "Packing takes out {parts} of {file}.",
            "Nothing, if that is not spoken; otherwise write it without braces and angle brackets.",
            parts="{laugh}",
            file="편지.lab",
        ),
    ]
    summary = {
        "data": str(project.data),
        "clips": 214,
        "seconds": 931.0,
        "speakers": [{"speaker": "amy", **amy}, {"speaker": "윤아", **yoona}],
        "findings": [finding.model_dump(mode="json", context=AS_DATA) for finding in findings],
    }
    listed = ClipsListed(clips=[row.as_json() for row in _clips()])
    engine.say(engine.new_job(project, StageName.VALIDATE), [listed, Finished(summary=summary)])


def _clips() -> list[ClipRow]:
    """Return the rows of all clips: lengths and levels spread as those of speech are."""
    rows = [ClipRow("amy/a", 4.0, -22.8, dropped=DropReason.EMPTY_TEXT, findings=1)]
    for number in range(1, 214):
        name = f"amy/{number:03}" if number < 120 else f"윤아/{number:03}"
        seconds = 1.8 + number * 7 % 11 * 0.5 + number * 3 % 5 * 0.6
        level = -23.0 + (number * 5 % 9 - 4) * 0.4
        rows.append(ClipRow(name, seconds, level, round(seconds * 13), _WORDS[number % len(_WORDS)]))
    return rows


def _extract(project: Project, engine: FakeEngine) -> None:
    job = engine.new_job(project, StageName.EXTRACT)
    job.log_path.write_text("12:00:01 extract started\n12:00:09 finished\n")
    hint = (
        "Export it again, or leave the clip out in step 1 of the wizard; the other clips are not concerned."
    )
    engine.say(
        job,
        [
            Progress(task="audio", done=931, total=931, unit="s", rate=212.0, eta=0.0),
            ItemFailed(item="amy/b.wav", message="b.wav is cut short: its header promises 4.1 s.", hint=hint),
            Finished(),
        ],
    )


def _pack(project: Project) -> None:
    speakers = [
        {"speaker": "amy", "sentences": 119, "dropped": 1, "frames": 10_700},
        {"speaker": "윤아", "sentences": 94, "dropped": 0, "frames": 9_280},
    ]
    dropped = {"clip": "amy/a", "reason": "transcript empty", "what_to_do": "Write what is said into a.lab."}
    result = {
        "shards": 1,
        "sentences": 213,
        "clips": 214,
        "bytes": 1_234_567,
        "speakers": speakers,
        "dropped": [dropped],
        "columns": {"edges": [40 * n for n in range(9)], "counts": [3, 20, 61, 70, 38, 14, 5, 2]},
    }
    (project.protos / "fishtune-pack.json").write_text(json.dumps({"result": result}), encoding="utf-8")


def _train(project: Project, engine: FakeEngine) -> None:
    job = engine.new_job(project, StageName.TRAIN, project.train_settings().model_dump(mode="json"))
    job.log_path.write_text("12:00:01 step 1/120, loss 8.000\n12:03:20 step 120/120, loss 5.600\n")
    memory = MemoryMeasured(predicted_bytes=9_400_000_000, device=engine.reading.gpus[0].name)
    engine.say(job, [Started(time=NOON, stage="train"), memory.model_copy(update={"time": NOON})])
    for number in range(1, 121):
        engine.say(job, [training_step(number, 120)])
        if number % 40 == 0:
            path = project.run_folder / "checkpoints" / f"step_{number:09d}.ckpt"
            path.write_bytes(b"")
            os.utime(path, (NOON, NOON))
            loss = {40: 7.43, 80: 6.70, 120: 6.68}[number]
            engine.say(job, [held_out(number, loss), saved(number, loss, str(path))])
    engine.say(job, [Finished(time=NOON + 200)])


def _merge(project: Project, engine: FakeEngine) -> None:
    verification = {
        "merged": {"same_token": 1.0, "same_code": 0.998, "relative_difference": 0.0021},
        "effect": {"relative_difference": 0.34},
        "captured": 0.987,
    }
    summary = {"output": f"{HOME}/checkpoints/yoona-merged", "verification": verification}
    engine.say(engine.new_job(project, StageName.MERGE), [Finished(summary=summary)])


def training_step(number: int, total: int) -> Step:
    """Return a step as training reports it."""
    return Step(
        time=NOON + number,
        step=number,
        total_steps=total,
        clip_passes=number / 20,
        loss=8 - number / 50,
        base_loss=3 - number / 100,
        semantic_loss=5 - number / 100,
        learning_rate=1e-4,
        tokens_per_second=21_500,
        eta=(total - number) * 2.0,
    )


def held_out(number: int, loss: float) -> Validation:
    """Return a look at the held-out clips."""
    return Validation(
        time=NOON + number,
        step=number,
        clip_passes=number / 20,
        loss=loss,
        base_loss=3,
        semantic_loss=5,
        top_5_accuracy=0.3,
    )


def saved(number: int, loss: float, path: str) -> CheckpointSaved:
    """Return the note of a checkpoint."""
    return CheckpointSaved(time=NOON + number, step=number, path=path, bytes=19_000_000, validation_loss=loss)
