"""The settings of every stage: one model a stage, from flag, project file and job alike.

`…Options` are the choices a project file holds; `…Settings` add the resolved paths and are what an
engine call takes and what `job.json` records. Batch sizes in clips, lengths in tokens (columns of the
token matrix) or seconds as the field says, learning rates per optimizer step.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ..file_names import is_text
from .strict import Table

Device = str  # "auto", "cpu", "cuda", "cuda:1"


_LONGEST_NAME = 200
"""Bytes. File systems take 255; names of records and temporary files are longer than the run's."""


def _check_run_name(name: str) -> str:
    if not name or name in (".", "..") or any(mark in "/\\" or ord(mark) < 32 for mark in name):
        raise ValueError("it names a folder, and may not be empty or hold / or \\")
    if not is_text(name):
        raise ValueError("it names a folder, and is not UTF-8")
    if len(name.encode("utf-8")) > _LONGEST_NAME:
        raise ValueError(f"it names a folder, and is longer than {_LONGEST_NAME} bytes")
    return name


def _check_path(path: Path) -> Path:
    text = str(path)
    _encoded(text)
    if "\0" in text:
        raise ValueError("a path cannot hold a NUL character")
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise ValueError("a part of the path is longer than file systems allow (255 bytes)")
    try:
        path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"there is no home folder for {path.parts[0]}") from error
    return path


def _check_path_text(text: str) -> str:
    return str(_check_path(Path(text)))


def _check_address(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as https://mirror.example")
    return address


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("it has bytes that are not UTF-8") from error


_HUB_PART = r"[A-Za-z0-9][\w.-]*"


def _check_model_name(name: str) -> str:
    if not re.fullmatch(rf"({_HUB_PART}/)?{_HUB_PART}", name, re.ASCII):
        raise ValueError("it is neither a model preset nor a hub repository, owner/name")
    return name


ModelName = Annotated[str, AfterValidator(_check_model_name)]
"""A preset of `presets/models`, or a hub repository `owner/name`."""
RunName = Annotated[str, AfterValidator(_check_run_name)]
UserPath = Annotated[Path, AfterValidator(_check_path)]
"""A path as a user writes it; `~` is allowed."""
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]  # what generators take


@dataclass(frozen=True)
class FirstRunOnly:
    """Marks a field that is meant for a first run: repeated, it would undo what that run has done."""

    then: Any
    """The value of a run that goes on."""


T = TypeVar("T", bound=Table)


def for_another_run(settings: T) -> T:
    """Return the settings with which a stage goes on from what an earlier run with `settings` has done."""
    then = {
        name: mark.then
        for name, field in type(settings).model_fields.items()
        for mark in field.metadata
        if isinstance(mark, FirstRunOnly)
    }
    return settings.model_copy(update=then)


class ValidateSettings(Table):
    """`fishtune validate`."""

    data: UserPath
    text_extension: str = ".lab"
    exclude: list[str] = []
    """Utterances left out, as `SPEAKER/NAME`."""
    num_workers: int = Field(default=0, ge=0)
    """Processes; 0 = one a core."""


class LoudnessNormSettings(Table):
    """`fishtune loudness-norm`."""

    source: UserPath
    """Folder of recordings; never written."""
    target: UserPath
    """Folder that receives the normalised copies and the transcripts."""
    text_extension: str = ".lab"
    loudness: float = Field(default=-23.0, ge=-70, le=-5)
    """Integrated loudness after normalisation, LUFS (BS.1770)."""
    peak: float = Field(default=-1.0, le=0)
    """Highest sample peak allowed after normalisation, dBFS."""
    clean: Annotated[bool, FirstRunOnly(then=False)] = False
    """Empty the target first."""
    num_workers: int = Field(default=0, ge=0)
    """Processes; 0 = one a core."""


class ModelOptions(Table):
    """Which base model, and where it lies."""

    name: ModelName = "openaudio-s1-mini"
    """A preset of `presets/models`, or a hub repository `owner/name`."""
    path: UserPath = Path("checkpoints/openaudio-s1-mini")
    """Checkpoint directory."""
    revision: str | None = None
    """Hub revision; None = the newest."""


class DownloadSettings(Table):
    """`fishtune download`."""

    name: ModelName
    local_dir: UserPath
    revision: str | None = None
    endpoint: Annotated[str, AfterValidator(_check_address)] | None = None
    """Hub address; None = the hub's own (`HF_ENDPOINT` counts)."""


class ExtractOptions(Table):
    """How semantic tokens are extracted."""

    config_name: str = "modded_dac_vq"
    """Codec preset, used where the checkpoint has no `codec_config.json`."""
    num_workers: int = Field(default=1, ge=1)
    """Decoding threads or processes that feed the codec."""
    batch_size: int = Field(default=16, ge=1)
    """Clips a batch, at most."""
    batch_seconds: float | None = Field(default=None, gt=0)
    """Seconds of audio a batch, padding included, at most; None = 15 on a CPU, otherwise no limit."""
    device: Device = "auto"


class ExtractSettings(ExtractOptions):
    """`fishtune extract`."""

    data: UserPath
    checkpoint_path: UserPath
    """`codec.pth`."""
    overwrite: Annotated[bool, FirstRunOnly(then=False)] = False
    exclude: list[str] = []
    """Utterances left out, as `SPEAKER/NAME`."""


class PackOptions(Table):
    """How codes and transcripts are packed."""

    text_extension: str = ".lab"
    num_workers: int = Field(default=0, ge=0)
    """Processes; 0 = one a core."""
    shard_size: int = Field(default=10_000_000, gt=0)
    """A new shard is begun once the current one exceeds this many bytes."""


class PackSettings(PackOptions):
    """`fishtune pack`."""

    input: UserPath
    output: UserPath
    exclude: list[str] = []
    allow_fewer: bool = False
    """Replace shards that hold many more clips."""


class TrainOptions(Table):
    """How training runs. A LoRA preset may bring its own values; the project file and flags win."""

    lora_config: str = "r_16_alpha_16"
    """Preset of `presets/lora`: rank, alpha, targets, or `full` for full fine-tuning."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; None = no limit of this kind."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training clips; None = no limit of this kind."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Wall-clock limit, minutes."""
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup_steps: int = Field(default=10, ge=0)
    """Optimizer steps of linear warm-up."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning rate after the warm-up."""
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest norm of all gradients together."""
    batch_tokens: int = Field(default=8192, ge=16)
    """Columns of one micro-batch, padding included, at most."""
    accumulation: int = Field(default=1, ge=1)
    """Micro-batches an optimizer step."""
    max_length: int = Field(default=4096, ge=16)
    """Longest training sequence in columns; a longer clip is refused by name."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Of the frozen base and the arithmetic; adapters are always float32.

    auto = bf16 on a GPU that has it, float32 on a CPU.
    """
    checkpointing: Literal["none", "blocks"] = "blocks"
    """Activation checkpointing: recompute each block in the backward pass, or keep everything."""
    prompt: Literal["inference", "legacy"] = "inference"
    reference_probability: float = Field(default=0.8, ge=0, le=1)
    """How often a training sample carries a reference utterance of its speaker."""
    semantic_loss_weight: float = Field(default=1.0, ge=0)
    """loss = base_loss + semantic_loss_weight · semantic_loss."""
    held_out: float = Field(default=0.05, ge=0, lt=1)
    """Share of utterances kept for validation; at least one a speaker unless 0."""
    validate_every: int = Field(default=100, ge=1)
    """Optimizer steps between validations."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints."""
    keep_last: int | None = Field(default=None, ge=1)
    """Checkpoints kept; None = all."""
    early_stopping: int | None = Field(default=None, ge=1)
    """Stop after so many validations without improvement; None = never."""
    gate: bool = True
    """Check at step 0 that the set-up would train the right thing."""
    seed: Seed = 1
    device: Device = "auto"
    devices: int = Field(default=1, ge=1)
    num_nodes: int = Field(default=1, ge=1)
    num_workers: int = Field(default=0, ge=0)
    """Data-loading processes; 0 = load in the training process."""
    loggers: list[Literal["tensorboard", "csv", "wandb"]] = ["tensorboard", "csv"]


class TrainSettings(TrainOptions):
    """`fishtune train`."""

    project: RunName
    """Name of the run: files go to `results/NAME`."""
    results: UserPath
    """Folder of all runs, usually `results`."""
    base: UserPath
    """Checkpoint directory of the base model."""
    protos: UserPath
    """Packed data set."""
    resume: Annotated[UserPath | Literal["auto", "never"], FirstRunOnly(then="auto")] = "auto"
    """A checkpoint, or `auto`: the newest of this run, if any; `never` refuses to start where one exists."""


class MergeOptions(Table):
    """Which checkpoint is merged, and into what."""

    checkpoint: Annotated[str, AfterValidator(_check_path_text)] | None = None
    """Checkpoint to merge, relative to the project; None = not chosen yet."""
    output: UserPath | None = None
    """Merged directory; None = `checkpoints/NAME-merged`."""
    lora_config: str | None = None
    """Preset that gives alpha where the checkpoint is of the reference format."""
    link: bool = False
    """Hard-link files that do not change instead of copying them."""


class MergeSettings(Table):
    """`fishtune merge`."""

    base_weight: UserPath
    """Checkpoint directory of the base model."""
    lora_weight: UserPath
    """Our `.ckpt`, a PEFT adapter folder, or a checkpoint of the reference format."""
    output: UserPath
    lora_config: str | None = None
    """Preset that gives alpha for the reference format."""
    lora_alpha: float | None = Field(default=None, gt=0)
    link: bool = False
    overwrite: Annotated[bool, FirstRunOnly(then=False)] = False
    """Replace an existing output that fishtune wrote."""


class SynthSettings(Table):
    """`fishtune synth`."""

    checkpoint: UserPath
    text: str
    out: UserPath
    ref_audio: UserPath | None = None
    ref_codes: UserPath | None = None
    ref_text: str = ""
    codes_out: UserPath | None = None
    max_new_tokens: int = Field(default=1024, ge=1)
    greedy: bool = False
    temperature: float = Field(default=0.8, gt=0)
    top_p: float = Field(default=0.8, gt=0, le=1)
    repetition_penalty: float = Field(default=1.1, ge=1)
    seed: Seed | None = None
    overwrite: bool = False
    """Replace outputs that exist and that synthesis did not write."""
    config_name: str = "modded_dac_vq"
    device: Device = "auto"


class AuditionSettings(Table):
    """`fishtune audition`."""

    checkpoint: UserPath
    """A checkpoint of training, an adapter folder, or a model directory."""
    base_weight: UserPath | None = None
    """Base of a checkpoint; None = the one it was trained on."""
    protos: UserPath | None = None
    """Packed data set that gives voice, script and speaking rate; None = the one it was trained on."""
    texts: list[str] = []
    """Empty = fixed sentences in the data set's script."""
    seed: Seed = 1
    overwrite: bool = False
    """Replace recordings in its folder that have the names of its own and are not."""
    config_name: str = "modded_dac_vq"
    device: Device = "auto"
