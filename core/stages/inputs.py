"""Whether what a stage is given to read is there at all: asked before its engine is loaded.

An engine needs seconds to load torch, and may fetch models that listen for minutes. Who mistyped a path is
told at once instead, in the engine's own words; whatever is there is left to the engine. Starts no torch.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path

from ..config.run_files import (
    ADAPTER_CONFIG,
    CHECKPOINT_SUFFIX,
    checkpoint_step,
    list_checkpoints,
    refuse_missing,
)
from ..config.settings import (
    AuditionSettings,
    ExtractSettings,
    JudgeSettings,
    MergeSettings,
    PrepareSettings,
    SynthSettings,
    TrainSettings,
    VerifySettings,
)
from ..config.strict import Table
from ..dataset.layout import list_root
from ..errors import CheckpointError, TrainingError, UsageError
from ..messages import NOTHING, Message, joined
from ..model.families import family_of, model_directory_of
from ..reading import check_regular
from ..text.transcripts import check_voice


@singledispatch
def refuse_missing_inputs(settings: Table) -> None:
    """Raise where something that a stage with these settings reads is not there.

    Raises:
        FishtuneError: names it.
    """


@refuse_missing_inputs.register
def _of_verify(settings: VerifySettings) -> None:
    family_of(settings.directory)


@refuse_missing_inputs.register
def _of_extract(settings: ExtractSettings) -> None:
    list_root(settings.data)
    if not settings.checkpoint_path.is_dir():  # the engine names the file in it
        check_regular(
            settings.checkpoint_path,
            CheckpointError,
            "Check the path; a base model is fetched with: fishtune download",
        )


@refuse_missing_inputs.register
def _of_train(settings: TrainSettings) -> None:
    family_of(settings.base)
    if not settings.protos.exists():
        from ..shards.index_file import shard_states  # loads numpy

        shard_states(settings.protos)
    choose_checkpoint(settings, settings.results / settings.project)


@refuse_missing_inputs.register
def _of_merge(settings: MergeSettings) -> None:
    for checkpoint in settings.checkpoints:
        refuse_missing(checkpoint)
    family_of(settings.base_weight)


@refuse_missing_inputs.register
def _of_synth(settings: SynthSettings) -> None:
    given, base = settings.checkpoint, settings.base_weight
    for checkpoint in settings.average:
        refuse_missing(checkpoint)
    if given.suffix == CHECKPOINT_SUFFIX:
        refuse_missing(given)
    elif not given.is_file() and not (given / ADAPTER_CONFIG).is_file():
        family_of(given)
    if base is not None:
        family_of(base)
    for reference in (settings.ref_audio, settings.ref_codes):
        if reference is not None:
            check_voice(reference)


@refuse_missing_inputs.register
def _of_audition(settings: AuditionSettings) -> None:
    refuse_candidate(settings.checkpoint)
    if settings.base_weight is not None:
        family_of(settings.base_weight)
    if settings.reference is not None:
        check_voice(settings.reference)


@refuse_missing_inputs.register
def _of_judge(settings: JudgeSettings) -> None:
    if settings.reference is not None:
        check_voice(settings.reference)


@refuse_missing_inputs.register
def _of_prepare(settings: PrepareSettings) -> None:
    if settings.raw is not None:
        list_root(settings.raw)
    if settings.keep_voice is not None:
        check_voice(settings.keep_voice)
    if settings.edits is not None:
        check_regular(settings.edits)


def refuse_candidate(target: Path) -> None:
    """Raise CheckpointError where what is to speak is not there, or is a file of a model directory."""
    if not target.exists():
        raise CheckpointError(
            "{checkpoint} does not exist.",
            "Name a run, a checkpoint or a model directory.",
            checkpoint=target,
        )
    directory = model_directory_of(target)
    if directory is not None:
        raise CheckpointError(
            "{checkpoint} is a file of a model directory.",
            "Give the directory: {directory}",
            checkpoint=target,
            directory=directory,
        )


def choose_checkpoint(settings: TrainSettings, run_folder: Path) -> Path | None:
    """Return the checkpoint that a run goes on from, or None to begin at step 0.

    Raises:
        UsageError: the named checkpoint does not exist.
        TrainingError: `never`, and the run has checkpoints.
    """
    existing = list_checkpoints(run_folder)
    if settings.resume == "auto":
        return existing[-1] if existing else None
    if settings.resume == "never":
        if existing:
            raise TrainingError(
                "{folder} already has checkpoints up to step {step}.",
                "Choose another --project, or leave out --resume never to resume from the last one.",
                folder=existing[-1].parent,
                step=checkpoint_step(existing[-1]),
            )
        return None
    checkpoint = Path(settings.resume)
    if not checkpoint.is_file():
        raise UsageError(
            "The checkpoint {checkpoint} does not exist.",
            joined(
                [
                    Message("Correct the path given to --resume."),
                    Message("The newest there is {newest}.", newest=existing[-1]) if existing else NOTHING,
                ]
            ),
            checkpoint=checkpoint,
        )
    return checkpoint
