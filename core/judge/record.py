"""Where the records of an audition lie, and how they are written, read and joined. Imports no torch.

results/NAME/audition/step_000000100/audition.json         a column of the table: a checkpoint of the run
results/NAME/audition/step_000000100@0.5/audition.json     the same at half its strength
results/NAME/audition/base/audition.json                   the base, for comparison
results/NAME/audition/recording/audition.json              the user's own held-out recordings
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..config.run_files import CHECKPOINT_SUFFIX, CHECKPOINTS, checkpoint_step
from ..errors import FishtuneError, UsageError
from ..files import write_text
from ..messages import AS_DATA
from ..tables import read_json
from .results import AuditionCandidate, AuditionResult, CandidateKind, TextSource

RECORD_FILE = "audition.json"
AUDITIONS = "audition"
"""Folder of a run's auditions."""
LISTEN_FILE = "listen.html"
"""A run's page to listen to."""
_LARGEST = 16 << 20
"""Bytes of a record."""


def audition_folder(checkpoint: Path, strength: float = 1.0) -> Path:
    """Return where the audition of a checkpoint goes.

    `results/NAME/checkpoints/step_….ckpt` → `results/NAME/audition/step_…`; any other path →
    `PATH.audition` beside it. Another strength than 1 stands behind the name: `step_…@0.5`.
    """
    own = checkpoint.with_suffix("") if checkpoint.suffix == CHECKPOINT_SUFFIX else checkpoint
    name = own.name if strength == 1 else f"{own.name}@{strength:g}"
    if checkpoint.parent.name == CHECKPOINTS and own.name.startswith("step_"):
        return checkpoint.parent.with_name(AUDITIONS) / name
    return checkpoint.with_name(f"{name}.audition")


def audition_folders(checkpoint: Path) -> list[Path]:
    """Return the auditions of a checkpoint that there are, at every strength."""
    own = audition_folder(checkpoint)
    found = own.parent.glob(f"{glob.escape(own.name)}@*") if own.parent.is_dir() else []
    return [folder for folder in (own, *sorted(found)) if folder.is_dir()]


def companion_folder(run_folder: Path, kind: CandidateKind) -> Path:
    """Return where a run keeps what its checkpoints are held against: its base, or the recordings."""
    return run_folder / AUDITIONS / kind


def write_record(result: AuditionResult, folder: Path) -> None:
    """Write a table of one column into the folder with its recordings, atomically."""
    (candidate,) = result.candidates
    content = result.model_copy(
        update={"candidates": [candidate.model_copy(update={"folder": Path()})]}
    ).model_dump_json(indent=2, context=AS_DATA)
    write_text(folder / RECORD_FILE, content + "\n")


def read_record(folder: Path) -> AuditionResult | None:
    """Return the table of one column that the record in a folder is, or None if none can be read there."""
    try:
        content = read_json(folder / RECORD_FILE, _LARGEST)
        result = AuditionResult.model_validate(_of_today(content))
    except (FishtuneError, ValidationError):
        return None
    if len(result.candidates) != 1:
        return None
    result.candidates[0].folder = folder
    return result


def read_audition(checkpoint: Path, strength: float = 1.0) -> AuditionCandidate | None:
    """Return the audition of a checkpoint, or None if there is none or the checkpoint has changed since."""
    result = read_record(audition_folder(checkpoint, strength))
    if result is None:
        return None
    (candidate,) = result.candidates
    is_present = candidate.modified == _modified(checkpoint) is not None
    return candidate if candidate.complete and is_present else None


def read_run(run_folder: Path) -> AuditionResult | None:
    """Return the table of everything that a run's candidates said to the same texts; None if there is none.

    Of several questions (other texts, seeds, reference) the one that was put last counts, and of that what
    the same ears heard and is still of the present files.
    """
    try:
        folders = [folder for folder in (run_folder / AUDITIONS).iterdir() if folder.is_dir()]
    except OSError:
        return None
    found = [(result, _written(folder)) for folder in folders if (result := read_record(folder)) is not None]
    present = [(result, time) for result, time in found if _is_present(result.candidates[0])]
    if not present:
        return None
    newest = max(present, key=lambda pair: pair[1])[0]
    asked = (newest.digest, newest.listened)
    same = [
        result
        for result, _ in present
        if result is newest or (newest.digest and (result.digest, result.listened) == asked)
    ]
    return join(same)


def join(tables: Iterable[AuditionResult]) -> AuditionResult:
    """Return one table of several of the same digest: recordings, base, then checkpoints in their order."""
    tables = list(tables)
    order = list(CandidateKind)
    columns = sorted(
        (candidate for table in tables for candidate in table.candidates),
        key=lambda each: (order.index(each.kind), each.step or 0, str(each.path), each.strength),
    )
    return tables[0].model_copy(update={"candidates": columns})


def _written(folder: Path) -> float:
    try:
        return (folder / RECORD_FILE).stat().st_mtime
    except OSError:
        return 0.0


def _is_present(candidate: AuditionCandidate) -> bool:
    """Whether a candidate is judged, and still the file that spoke; a run may be moved with its auditions."""
    if not candidate.complete:
        return False
    if candidate.path is None:
        return True
    if candidate.step is None:
        return _modified(candidate.path) == candidate.modified
    beside = candidate.folder.parent.with_name(CHECKPOINTS) / candidate.path.name
    return _modified(beside) == candidate.modified


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except (OSError, ValueError):
        return None


def _of_today(content: Any) -> Any:
    """Return a record of the version before, of three texts and one seed, as one of today; others as they
    are.
    """
    if not isinstance(content, dict) or "checkpoint" not in content:
        return content
    spoken = content.get("texts")
    if not isinstance(spoken, list) or not all(isinstance(each, dict) for each in spoken):
        return None
    candidate = {
        "kind": CandidateKind.CHECKPOINT,
        "path": content["checkpoint"],
        "step": _step_in(content["checkpoint"]),
        "modified": content.get("checkpoint_modified"),
        "cells": [{**each, "text": place, "seed": None} for place, each in enumerate(spoken)],
        "files": content.get("files", {}),
    }
    return {
        "digest": "",
        "texts": [{"text": each.get("text"), "source": TextSource.OURS} for each in spoken],
        "seeds": [],
        "reference": content.get("reference"),
        "candidates": [candidate],
    }


def _step_in(path: Any) -> int | None:
    try:
        return checkpoint_step(Path(path))
    except (UsageError, TypeError):
        return None
