"""Running an audition: the checkpoint on its base speaks, unmerged, in a voice of its data set."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ...audio.recordings import write_audio
from ...codec.checkpoint import load_codec
from ...codec.codec import Codec
from ...codec.config import check_codebooks, codec_config, residual_codebook_size
from ...compute.devices import empty_cache, is_out_of_memory, resolve_device
from ...config.settings import CODEC_FILE, AuditionSettings
from ...errors import CheckpointError, UsageError
from ...events import ProgressMeter, Reporter
from ...files import atomic_folder, recover_folder
from ...judge.record import (
    RECORD_FILE,
    AuditionedText,
    AuditionResult,
    audition_folder,
    read_record,
    write_record,
)
from ...judge.rules import BYTES_PER_SECOND, expected_seconds, find_faults
from ...lora.attach import apply_checkpoint
from ...lora.files import check_fit, read_adapter, read_training_state
from ...messages import Message, plural
from ...model.checkpoint import load_model
from ...model.directory import ModelDirectory
from ...model.dual_ar import DualAR
from ...model.families import is_model_directory, model_directory_of
from ...model.generate import Generation, Request, generate_all
from ...ownership import describe, strangers
from ...shards.index import ShardIndex
from ...text.prompts import Turn
from ...text.transcripts import check_typed
from .texts import texts_like

T = TypeVar("T")

_REFERENCE_SECONDS = 6.0
_PATIENCE = 3.0
"""A text may take this many times its expected length before it counts as endless."""
_LOOKED_AT = 200
"""Transcripts that tell the script of a data set."""
_STOPPED = Message("Nothing was written.")


@dataclass(frozen=True)
class _Voice:
    """What a data set tells: a reference utterance, texts to speak, and how fast its speakers are."""

    texts: tuple[str, ...]
    reference: Turn | None = None
    name: str = ""
    bytes_per_second: float = BYTES_PER_SECOND


def run(settings: AuditionSettings, reporter: Reporter) -> AuditionResult:
    """Let a checkpoint speak, write recordings and record beside it, and return what was found.

    The same seed, reference and texts are used for every checkpoint of a run, so that they compare.

    Raises:
        UsageError: its base is not known, its audition's folder holds something else, or a text cannot be
            spoken.
        CheckpointError: checkpoint, base or codec cannot be read or do not fit together.
        StopRequested: asked to stop; nothing was written.
    """
    checkpoint, folder = settings.checkpoint, audition_folder(settings.checkpoint)
    for text in settings.texts:
        check_typed(text, "--text")
    recover_folder(folder)
    _check_folder(folder, settings)
    if not checkpoint.exists():
        raise CheckpointError(
            "{checkpoint} does not exist.", "Name a checkpoint or a model directory.", checkpoint=checkpoint
        )
    directory = model_directory_of(checkpoint)
    if directory is not None:
        raise CheckpointError(
            "{checkpoint} is a file of a model directory.",
            "Give the directory: {directory}",
            checkpoint=checkpoint,
            directory=directory,
        )
    modified = checkpoint.stat().st_mtime
    is_model = is_model_directory(checkpoint)
    noted = {} if is_model else read_training_state(checkpoint).get("settings")
    trained = noted if isinstance(noted, dict) else {}
    base = checkpoint if is_model else _known_folder(settings.base_weight, trained, "base")
    if base is None:
        raise UsageError(
            "The base of {checkpoint} is not known or gone.",
            "Give its directory with --base-weight.",
            checkpoint=checkpoint,
        )
    device = resolve_device(settings.device)
    shape = codec_config(base / CODEC_FILE, settings.config_name)
    voice = _voice(_known_folder(settings.protos, trained, "protos"), shape.frame_rate)
    texts = tuple(settings.texts) or voice.texts

    reporter.log(f"Loading {checkpoint} on {device}")
    model = load_model(base)
    if not is_model:
        source = read_adapter(checkpoint)
        shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        check_fit(source, shapes, model.config.tie_word_embeddings, base)
        apply_checkpoint(model, source)
    check_codebooks(shape, model.config.num_codebooks, base)
    speaker = _Speaker(
        settings=settings,
        model=model,
        codec=load_codec(base / CODEC_FILE, settings.config_name, torch.device("cpu")),
        base=ModelDirectory.open(base),
        voice=voice,
        reporter=reporter,
    )
    speaker.attempt(lambda: speaker.move(device))
    generations = speaker.generate(texts)
    with atomic_folder(folder) as temporary:
        spoken = [
            speaker.listen(text, generation, temporary / f"{number}.wav")
            for number, (text, generation) in enumerate(zip(texts, generations, strict=True), start=1)
        ]
        result = AuditionResult(
            checkpoint=checkpoint,
            checkpoint_modified=modified,
            reference=voice.name,
            texts=spoken,
            healthy=2 * sum(bool(text.findings) for text in spoken) < len(spoken),
        )
        result = result.model_copy(update={"files": describe(temporary)})
        write_record(result, temporary)
        _check_folder(folder, settings)  # minutes have passed
    return result


def _check_folder(folder: Path, settings: AuditionSettings) -> None:
    """Refuse a folder that holds what would be lost with it.

    Raises:
        UsageError: names it.
    """
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    record = read_record(folder) if folder.is_dir() else None
    if record is None:
        raise UsageError(
            "{folder} exists and holds no audition.",
            "Move it away: the audition's recordings go there.",
            folder=folder,
        )
    own = {RECORD_FILE, *(text.audio for text in record.texts)}
    found = [name for name in strangers(folder, record.files) if name != RECORD_FILE]
    # Records of earlier versions do not describe the recordings.
    added = [name for name in found if name not in own]
    changed = [name for name in found if name in own and record.files]
    if added or (changed and not settings.overwrite):
        hint = Message("Move it away.") if added else Message("Move it away, or replace it with --overwrite.")
        raise UsageError(
            "{folder} did not come from the audition.", hint, folder=folder / [*added, *changed][0]
        )


@dataclass(frozen=True)
class _Speaker:
    settings: AuditionSettings
    model: DualAR
    codec: Codec
    base: ModelDirectory
    voice: _Voice
    reporter: Reporter

    def move(self, device: torch.device) -> None:
        """Compute on another device from now on."""
        self.model.to(device)
        self.codec.to(device)

    def attempt(self, work: Callable[[], T]) -> T | None:
        """Return `work()`; None after moving to the CPU where the device's memory did not suffice for it."""
        try:
            return work()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).strip().splitlines()[0]
        # Outside of the handler, whose traceback still holds the tensors of the failed attempt.
        self.move(torch.device("cpu"))
        empty_cache()
        self.reporter.warn(
            "Out of GPU memory: the audition continues on the CPU. {reason}",
            "It is slower there. fishtune gpus shows what else uses the device.",
            reason=reason,
        )
        return None

    def generate(self, texts: Sequence[str]) -> list[Generation]:
        """Return what the model says to each text; on the CPU where the device's memory does not suffice."""
        return self.attempt(lambda: self._generate(texts)) or self._generate(texts)

    def _generate(self, texts: Sequence[str]) -> list[Generation]:
        base, frame_rate = self.base, self.codec.config.frame_rate
        references = [] if self.voice.reference is None else [self.voice.reference]
        task = plural(len(texts), "{number} text", "{number} texts")
        meter = ProgressMeter(self.reporter, task, None, "frames")

        def count(frames: int) -> None:
            self.reporter.check_stop(_STOPPED)
            meter.advance(detail=Message("{frames:.1f} s of speech", frames=frames / frame_rate))

        return generate_all(
            self.model,
            [
                Request(
                    prompt=torch.from_numpy(base.prompts.prompt(references, text)),
                    seed=self.settings.seed,
                    max_new_tokens=math.ceil(_PATIENCE * self._expected_seconds(text) * frame_rate),
                )
                for text in texts
            ],
            base.rule(base.family.sampling),
            end_id=base.tokenizer.end_id,
            residual_codebook_size=residual_codebook_size(self.settings.config_name),
            on_frame=count,
            log=self.reporter.log,
        )

    def _expected_seconds(self, text: str) -> float:
        return expected_seconds(text, self.voice.bytes_per_second)

    def listen(self, text: str, generation: Generation, audio: Path) -> AuditionedText:
        """Write the recording of what was generated to `audio`, and return what is wrong with it.

        Where the device's memory does not suffice, this one and those that follow are decoded on the CPU.
        """
        return self.attempt(lambda: self._listen(text, generation, audio)) or self._listen(
            text, generation, audio
        )

    def _listen(self, text: str, generation: Generation, audio: Path) -> AuditionedText:
        shape, expected = self.codec.config, self._expected_seconds(text)
        samples = np.zeros(0, dtype=np.float32)
        if generation.codes.shape[1]:
            codes = generation.codes[None].to(self.codec.device)
            samples = self.codec.decode(codes)[0, 0].cpu().numpy()
            write_audio(audio, samples, shape.sample_rate)
        return AuditionedText(
            text=text,
            audio=audio.name if len(samples) else "",
            seconds=len(samples) / shape.sample_rate,
            expected_seconds=expected,
            ended=generation.ended,
            findings=find_faults(
                generation.codes.numpy(),
                samples,
                sample_rate=shape.sample_rate,
                ended=generation.ended,
                expected=expected,
            ),
        )


def _known_folder(given: Path | None, trained: dict[str, Any], name: str) -> Path | None:
    """Return a folder that was given, or the one that training noted if it is still there."""
    if given is not None:
        return given
    noted = trained.get(name)
    return Path(noted) if isinstance(noted, str) and os.path.isdir(noted) else None  # noqa: PTH112 - never raises


def _voice(protos: Path | None, frame_rate: float) -> _Voice:
    if protos is None:
        return _Voice(texts_like([]))
    index = ShardIndex.open(protos)
    frames, text_bytes = np.asarray(index.frames, float), np.asarray(index.text_bytes, float)
    busiest = np.bincount(index.speaker_ids, weights=frames).argmax()
    own = np.flatnonzero(index.speaker_ids == busiest)
    chosen = int(own[np.abs(frames[own] / frame_rate - _REFERENCE_SECONDS).argmin()])
    sentence = index.read(chosen)
    step = max(1, len(index) // _LOOKED_AT)
    transcripts = [index.read(number).texts[0] for number in range(0, len(index), step)]
    return _Voice(
        texts=texts_like(transcripts),
        reference=Turn(sentence.texts[0], sentence.codes),
        name=index.name(chosen),
        bytes_per_second=float(np.median(text_bytes[own] / frames[own]) * frame_rate),
    )
