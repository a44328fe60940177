"""Synthesis: a text and a voice to codes, codes to a recording."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from pydantic import BaseModel

from ...audio.recordings import write_audio
from ...codec.checkpoint import load_codec
from ...codec.config import CodecConfig, check_codebooks, codec_config, residual_codebook_size
from ...codec.references import encode_reference
from ...compute.devices import resolve_device
from ...config.run_files import ADAPTER_CONFIG, CHECKPOINT_SUFFIX
from ...config.settings import CODEC_FILE, SynthSettings
from ...dataset.codes import read_codes, write_codes
from ...errors import CheckpointError, DataError, UsageError
from ...events import ProgressMeter, Reporter
from ...files import check_writable
from ...lora.unmerged import base_of, load_unmerged
from ...messages import Message
from ...model.checkpoint import load_model
from ...model.directory import ModelDirectory
from ...model.dual_ar import DualAR
from ...model.families import model_directory_of
from ...model.generate import generate
from ...model.sampling import Sampling
from ...ownership import is_remembered, remember
from ...reading import check_regular
from ...text.prompts import Turn
from ...text.transcripts import check_typed, transcript_beside

_TRAINED = {CHECKPOINT_SUFFIX, ".pth", ".pt", ".bin", ".safetensors"}
"""Endings of files that may be a checkpoint of training."""
_REFERENCE_HINT = Message(
    "Give what is said in the reference with --ref-text, or put it into a .lab file beside it."
)


class SynthResult(BaseModel):
    """Result of `run`."""

    out: Path
    codes_out: Path | None
    frames: int
    seconds: float
    """Length of the recording."""
    ended: bool
    """Whether the model ended by itself, before the limit."""
    frames_per_second: float
    """Speed of generation."""
    seed: int | None
    """The `--seed` that repeats this recording; None where nothing was drawn."""
    device: str


def run(settings: SynthSettings, reporter: Reporter) -> SynthResult:
    """Speak `settings.text` and write the recording (and the codes, where asked); return what was made.

    Raises:
        UsageError: settings that contradict each other, or a prompt longer than the model's sequences.
        DataError: the reference cannot be used, or the model ended before the first frame.
        CheckpointError: model or codec cannot be loaded.
        StorageError: an output cannot be written; found out before the model is loaded, if it can be.
        StopRequested: asked to stop; nothing was written.
    """
    directory, checkpoints = _model_of(settings)
    audio_format = _check(settings, directory)
    device = resolve_device(settings.device)
    codec_file = directory / CODEC_FILE
    base = ModelDirectory.open(directory)
    shape = codec_config(codec_file, settings.config_name)
    check_codebooks(shape, base.shape.num_codebooks, directory)
    if not codec_file.is_file():
        raise CheckpointError(
            "{file} does not exist.",
            "A checkpoint directory holds model and codec: download it again.",
            file=codec_file,
        )
    prompts = base.prompts  # read before a reference is encoded
    references = _references(settings, base, device, reporter)
    prompts.prompt(references, settings.text)  # refuses what cannot be said, before the model is loaded

    seed = secrets.randbelow(1 << 31) if settings.seed is None else settings.seed
    reporter.log(f"Loading the model of {settings.checkpoint} on {device}")
    if checkpoints:
        model = load_unmerged(directory, checkpoints, settings.strength, reporter).to(device)
    else:
        model = load_model(directory, device=device)
    codes, ended, speed = _generate(settings, base, model, seed, references, shape, reporter)
    frames = codes.shape[1]
    seconds = frames / shape.frame_rate
    if not ended:
        reporter.warn(
            "The model did not end by itself: the recording was cut at {frames} frames ({seconds:.1f} s).",
            "Raise --max-new-tokens for a long text; otherwise split the text, or try an earlier checkpoint.",
            frames=frames,
            seconds=seconds,
        )

    reporter.check_stop("Nothing was written.")
    audio = load_codec(codec_file, settings.config_name, device).decode(codes[None].to(device))
    write_audio(settings.out, audio[0, 0].cpu().numpy(), shape.sample_rate, audio_format)
    remember(settings.out)
    if settings.codes_out is not None:
        write_codes(settings.codes_out, codes.numpy())
        remember(settings.codes_out)
    return SynthResult(
        out=settings.out,
        codes_out=settings.codes_out,
        frames=frames,
        seconds=seconds,
        ended=ended,
        frames_per_second=speed,
        seed=None if settings.greedy else seed,
        device=str(device),
    )


def _model_of(settings: SynthSettings) -> tuple[Path, list[Path]]:
    """Return the model directory, and the checkpoints of training that speak on it unmerged.

    Raises:
        UsageError: there is nothing that a strength could be of, or the base of a checkpoint is not known.
    """
    given, base = settings.checkpoint, settings.base_weight
    is_file = given.is_file() and given.suffix in _TRAINED
    is_trained = is_file or (given / ADAPTER_CONFIG).is_file()
    own = model_directory_of(given)
    if own is not None:
        raise CheckpointError(
            "{checkpoint} is a file of a model directory.",
            "Give the directory: {directory}",
            checkpoint=given,
            directory=own,
        )
    if is_trained:
        checkpoints = {path.absolute(): path for path in (given, *settings.average)}
        return base_of(given, base), list(checkpoints.values())
    if settings.average:
        return given, settings.average
    if settings.strength != 1 or base is not None:
        raise UsageError(
            "{checkpoint} is not a checkpoint of training, so there is nothing to put on a base.",
            "Name a checkpoint (step_….ckpt) with --checkpoint, or leave out --strength and --base-weight.",
            checkpoint=given,
        )
    return given, []


def _check(settings: SynthSettings, directory: Path) -> str:
    """Return the format that the name of the output asks for; refuse settings that contradict each other."""
    if not settings.text.strip():
        raise UsageError("There is no text to speak.", "Give one with --text.")
    check_typed(settings.text, "--text")
    if settings.ref_text:
        check_typed(settings.ref_text, "--ref-text")
    if settings.ref_audio is not None and settings.ref_codes is not None:
        raise UsageError("--ref-audio and --ref-codes were both given.", "Give one of the two.")
    reference = settings.ref_audio or settings.ref_codes
    if settings.ref_text and reference is None:
        raise UsageError(
            "--ref-text was given without a reference.",
            "Give its recording with --ref-audio, or --ref-codes.",
        )
    outputs = [path for path in (settings.out, settings.codes_out) if path is not None]
    for path in outputs:
        if reference is not None and _same(path, reference):
            raise UsageError(
                "{reference} is the reference and cannot be the output.",
                "Choose another --out.",
                reference=reference,
            )
        if any(_same(path, file) for file in _read_files(directory, reference)):
            raise UsageError(
                "{file} is needed for the synthesis itself.", "Choose another output.", file=path
            )
    if settings.codes_out is not None and _same(settings.codes_out, settings.out):
        raise UsageError(
            "{out} cannot hold both sound and codes.", "Choose another --codes-out.", out=settings.out
        )
    for output, name in ((settings.out, "speech.wav"), (settings.codes_out, "speech.npy")):
        if output is not None and output.is_dir():
            raise UsageError(
                "{output} is a folder.", "Give a file name, such as {name}.", output=output, name=name
            )
    known = soundfile.available_formats()
    audio_format = settings.out.suffix.removeprefix(".").upper()
    if audio_format not in known:
        raise UsageError(
            "{out} has no ending that names an audio format.",
            "Use .wav, .flac, .ogg or .mp3.",
            out=settings.out,
        )
    for path in outputs:
        if os.path.lexists(path) and not settings.overwrite and not is_remembered(path):
            raise UsageError(
                "{file} exists already, and synthesis did not write it.",
                "Choose another name, or replace it with --overwrite.",
                file=path,
            )
        if path.exists():
            check_regular(path, UsageError)
        check_writable(path)
    return audio_format


def _same(path: Path, other: Path) -> bool:
    """Return whether two paths name one file, however they are spelled and through whatever links."""
    try:
        return path.samefile(other)
    except OSError:
        return path.resolve() == other.resolve()


def _read_files(directory: Path, reference: Path | None) -> list[Path]:
    """Return what the synthesis reads beside the reference itself."""
    beside = [] if reference is None else [reference.with_suffix(".lab")]
    inside = directory.iterdir() if directory.is_dir() else ()
    return [*beside, *inside]


def _references(
    settings: SynthSettings,
    base: ModelDirectory,
    device: torch.device,
    reporter: Reporter,
) -> list[Turn]:
    file = settings.ref_audio or settings.ref_codes
    if file is None:
        return []
    text = settings.ref_text or transcript_beside(file, _REFERENCE_HINT)
    if settings.ref_codes is not None:
        sizes = [base.shape.codebook_size] * base.shape.num_codebooks
        return [Turn(text, read_codes(settings.ref_codes, sizes))]
    codec = base.path / CODEC_FILE
    return [encode_reference(file, text, codec, settings.config_name, device, reporter)]


def _generate(
    settings: SynthSettings,
    base: ModelDirectory,
    model: DualAR,
    seed: int,
    references: list[Turn],
    shape: CodecConfig,
    reporter: Reporter,
) -> tuple[torch.Tensor, bool, float]:
    """Return the codes, whether the model ended each part by itself, and its frames per second."""
    rule = base.rule(_sampling(settings, base, reporter))
    parts = base.prompts.parts(settings.text)
    spoken: list[Turn] = []
    ended = True
    began = time.monotonic()
    for number, text in enumerate(parts):
        prompt = torch.from_numpy(base.prompts.prompt(references, text, spoken))
        generation = generate(
            model,
            prompt,
            rule,
            seed=seed + number,
            end_id=base.tokenizer.end_id,
            max_new_tokens=settings.max_new_tokens,
            residual_codebook_size=residual_codebook_size(settings.config_name),
            on_frame=_counter(settings, model.config.max_seq_len - prompt.shape[1], shape, reporter),
            log=reporter.log,
        )
        if generation.codes.shape[1] == 0:
            raise DataError(
                "The model ended before the first frame; there is nothing to hear.",
                "Try another --seed, a longer text or another reference.",
            )
        spoken.append(Turn(text, generation.codes.numpy()))
        ended &= generation.ended
    codes = torch.from_numpy(np.concatenate([turn.codes for turn in spoken], axis=1))
    return codes, ended, codes.shape[1] / (time.monotonic() - began)


def _sampling(settings: SynthSettings, base: ModelDirectory, reporter: Reporter) -> Sampling:
    """Return how codes are drawn: the family's usual values, and what was asked for in their place."""
    usual = base.family.sampling
    asked = settings.model_dump(
        include={"temperature", "top_p", "top_k", "repetition_penalty"}, exclude_none=True
    )
    if usual.repetition_penalty is None and asked.pop("repetition_penalty", None) is not None:
        reporter.warn(
            "The {family} has no repetition penalty, so --repetition-penalty changes nothing.",
            "It draws a repeated token a second time instead; a higher --temperature repeats less.",
            family=base.family.title,
        )
    return replace(usual, greedy=settings.greedy, **asked)


def _counter(
    settings: SynthSettings, room: int, shape: CodecConfig, reporter: Reporter
) -> Callable[[int], None]:
    """Return what counts the frames of a generation, and stops it when asked to."""
    limit = min(settings.max_new_tokens, room)
    meter = ProgressMeter(
        reporter, Message("generating, {limit} frames at most", limit=limit), limit, "frames"
    )

    def count(frames: int) -> None:
        reporter.check_stop("Nothing was written.")
        meter.advance(detail=Message("{frames:.1f} s of speech", frames=frames / shape.frame_rate))

    return count
