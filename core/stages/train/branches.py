"""Which checkpoints are the run's: what going on from another one abandons, and what `keep_last` removes.

Going on from an earlier checkpoint, or from one of elsewhere, abandons what the run has beyond it. Abandoned
checkpoints are moved with their auditions, not removed:

results/NAME/abandoned/step_000000100/checkpoints/   what was abandoned when the run went on from step 100
results/NAME/abandoned/step_000000100/audition/

So whoever lists the run's checkpoints (`auto`, the recommendation, the wizard) sees those of its present
course alone, and an abandoned one can be gone on from like any other.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ...config.run_files import (
    adapter_folder,
    checkpoint_folder,
    checkpoint_path,
    checkpoint_step,
    list_checkpoints,
)
from ...errors import FishtuneError
from ...events import Reporter
from ...files import atomic_folder, atomic_path, fsync_folder, storage_errors
from ...judge.record import audition_folder, audition_folders, read_audition
from ...judge.selection import Candidate, Yardsticks, recommend
from ...messages import Message
from .checkpoints import read_run_state, remove_checkpoint


def take_course(run_folder: Path, checkpoint: Path, step: int, reporter: Reporter) -> Path:
    """Make `checkpoint`, of `step`, the newest of the run; return where it lies in the run's folder.

    What the run has beyond it is moved to `abandoned`; a checkpoint of elsewhere is copied into the run, so
    that from now on it is found without being named.

    Raises:
        StorageError: a checkpoint cannot be moved or copied.
    """
    own = checkpoint_path(run_folder, step)
    is_own = own.exists() and own.samefile(checkpoint)
    beyond = [each for each in list_checkpoints(run_folder) if not is_own or checkpoint_step(each) > step]
    if beyond:
        folder = _abandon(run_folder, beyond, step)
        steps = ", ".join(str(checkpoint_step(each)) for each in beyond)
        reporter.warn(
            (
                Message(
                    "The run continues from {checkpoint}; its checkpoints of other steps ({steps}) are "
                    "abandoned and were moved to {folder}.",
                    checkpoint=checkpoint,
                    steps=steps,
                    folder=folder,
                )
                if not is_own
                else Message(
                    "The run continues from step {step}; its later checkpoints (steps {steps}) are "
                    "abandoned and were moved to {folder}.",
                    steps=steps,
                    folder=folder,
                    step=step,
                )
            ),
            "To return to one of them, name it: --resume {abandoned}",
            abandoned=folder / beyond[-1].name,
        )
        if not checkpoint.exists():  # it has the name of another step than its own, and was moved too
            checkpoint = folder / checkpoint.name
    if not is_own:
        _adopt(checkpoint, own)
    return own


def _abandon(run_folder: Path, checkpoints: list[Path], step: int) -> Path:
    """Move checkpoints out of the run; return the folder that holds them now."""
    number, name = 1, f"step_{step:09d}"
    while (aside := run_folder / "abandoned" / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    folder = checkpoint_folder(aside)
    with storage_errors(folder):
        folder.mkdir(parents=True)
        # The newest goes first: whatever interrupts this, what is left is a course without gaps.
        for old in reversed(checkpoints):
            new = folder / old.name
            old.rename(new)
            auditions = audition_folder(new).parent
            for source, target in (
                (adapter_folder(old), adapter_folder(new)),
                *((heard, auditions / heard.name) for heard in audition_folders(old)),
            ):
                if source.exists():
                    target.parent.mkdir(exist_ok=True)
                    source.rename(target)
    fsync_folder(folder)
    fsync_folder(checkpoint_folder(run_folder))
    return folder


def _adopt(checkpoint: Path, own: Path) -> None:
    if adapter_folder(checkpoint).is_dir():
        with atomic_folder(adapter_folder(own)) as folder:
            shutil.copytree(adapter_folder(checkpoint), folder, dirs_exist_ok=True)
    with atomic_path(own) as temporary:
        shutil.copyfile(checkpoint, temporary)


def keep_newest(run_folder: Path, count: int, written: Path) -> None:
    """Remove the run's checkpoints but the newest `count`, the one just written and the recommended one."""
    existing = list_checkpoints(run_folder)
    losses = {checkpoint: _losses(checkpoint) for checkpoint in existing}
    base_loss = next((base for _, base in reversed(losses.values()) if base is not None), None)
    candidates = [_candidate(checkpoint, loss) for checkpoint, (loss, _) in losses.items()]
    recommended = recommend(candidates, Yardsticks(base_loss=base_loss))
    kept = {written, *existing[-count:]}
    if recommended is not None:
        kept.add(recommended.candidate.path)
    for checkpoint in existing:
        if checkpoint not in kept:
            remove_checkpoint(checkpoint)


def _losses(checkpoint: Path) -> tuple[float | None, float | None]:
    """Return the held-out loss of a checkpoint and of its base, as far as they are known."""
    with contextlib.suppress(FishtuneError):  # a damaged one is no reason to end a run
        state = read_run_state(checkpoint)
        return state.own_validation_loss, state.base_loss
    return None, None


def _candidate(checkpoint: Path, loss: float | None) -> Candidate:
    audition = read_audition(checkpoint)
    return Candidate(
        step=checkpoint_step(checkpoint),
        path=checkpoint,
        validation_loss=loss,
        healthy=audition.healthy if audition else None,
    )
