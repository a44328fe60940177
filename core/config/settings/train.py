"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..options import ADVANCED, BASIC, FirstRunOnly, Option
from ..strict import Table
from .types import BasePrecision, Checkpointing, Device, RunName, Seed, UserPath

_LENGTH = "How long"
_LEARNING = "What is learnt"
_BATCHES = "Batches and memory"
_WATCH = "Watching and saving"
_MACHINE = "Devices"


class TrainOptions(Table):
    """How training runs. A LoRA preset may bring its own values; the project file and flags win."""

    lora_config: Annotated[str, Option("LoRA preset", group=BASIC)] = "r_16_alpha_16"
    """Preset: what is trained, or full for all weights. See: fishtune presets"""
    max_steps: Annotated[
        int | None, Option("Steps", unit="optimizer steps", group=ADVANCED, panel=_LENGTH, unset="no limit")
    ] = Field(default=None, ge=1)
    """Maximum optimizer steps."""
    epochs: Annotated[
        float | None, Option("Epochs", unit="epochs", group=BASIC, panel=_LENGTH, unset="no limit")
    ] = Field(default=None, gt=0)
    """Passes over the training clips. 250–400 are typical for small data sets; beyond 600 quality drops."""
    max_minutes: Annotated[float | None, Option(unit="minutes", panel=_LENGTH, unset="no limit")] = Field(
        default=None, gt=0
    )
    """Wall-clock limit, minutes."""
    learning_rate: Annotated[float, Option("Learning rate", group=ADVANCED, panel=_LEARNING)] = Field(
        default=1e-4, gt=0
    )
    """Learning rate after warm-up.

    The base models were tuned by reinforcement learning and drift easily: rather too low than too high.
    """
    warmup_steps: Annotated[int, Option(unit="optimizer steps", panel=_LEARNING)] = Field(default=10, ge=0)
    """Optimizer steps of linear warm-up."""
    schedule: Annotated[Literal["constant", "cosine", "linear"], Option(panel=_LEARNING)] = "constant"
    """Learning rate after warm-up: constant, cosine or linear."""
    weight_decay: Annotated[float, Option(panel=_LEARNING)] = Field(default=0.0, ge=0)
    """AdamW weight decay."""
    gradient_clip: Annotated[float, Option(panel=_LEARNING)] = Field(default=1.0, gt=0)
    """Maximum norm of all gradients together."""
    batch_tokens: Annotated[
        int, Option("Tokens per micro-batch", unit="tokens", group=ADVANCED, panel=_BATCHES)
    ] = Field(default=8192, ge=16)
    """Tokens per micro-batch including padding; sets GPU memory. One second is 21.5 tokens."""
    accumulation: Annotated[
        int, Option("Micro-batches per step", unit="micro-batches", group=ADVANCED, panel=_BATCHES)
    ] = Field(default=1, ge=1)
    """Micro-batches whose gradients are summed before each optimizer step."""
    max_length: Annotated[int, Option("Longest sequence", unit="tokens", group=ADVANCED, panel=_BATCHES)] = (
        Field(default=4096, ge=16)
    )
    """Longest training sequence in tokens; longer clips are left out, by name."""
    precision: Annotated[
        Literal["auto", "bf16", "float32"], Option("Precision", group=ADVANCED, panel=_BATCHES)
    ] = "auto"
    """Precision of the frozen weights and of all computation; adapters are always float32.

    auto: bf16 on a GPU that has it, else float32.
    """
    base_precision: Annotated[
        BasePrecision | None,
        Option("Quantised base", group=ADVANCED, panel=_BATCHES, unset="no: as Precision says"),
    ] = None
    """For cards that are too small otherwise: the frozen weights of the slow stack in 8 or 4 bits.

    int8 halves them and changes little; nf4 makes a quarter of them and changes more (it needs the package
    bitsandbytes). Training takes longer with either. The merge goes into the base as it is, and says how far
    the two agree.
    """
    checkpointing: Annotated[
        Literal["auto", Checkpointing], Option("Recompute activations", group=ADVANCED, panel=_BATCHES)
    ] = "blocks"
    """What is kept for the backward pass: none computes nothing again and is fastest, selective keeps matrix
    products, blocks needs least memory and a third more time; auto: the fastest that fits the free memory."""
    prompt: Annotated[Literal["inference", "legacy"], Option(panel=_LEARNING)] = "inference"
    """inference: what generation will build; legacy: what fish-speech's own training built."""
    reference_probability: Annotated[float, Option(panel=_LEARNING)] = Field(default=0.8, ge=0, le=1)
    """How often a clip comes with a reference of its speaker, so that cloning keeps working."""
    semantic_loss_weight: Annotated[float, Option(panel=_LEARNING)] = Field(default=1.0, ge=0)
    """Weight of the codebooks' loss beside that of the semantic tokens."""
    held_out: Annotated[float, Option(panel=_WATCH)] = Field(default=0.05, ge=0, lt=1)
    """Share of clips kept for validation; at least one per speaker unless 0."""
    validate_every: Annotated[
        int, Option("Check held-out every", unit="optimizer steps", group=ADVANCED, panel=_WATCH)
    ] = Field(default=100, ge=1)
    """Optimizer steps between two validations on the held-out clips."""
    checkpoint_every: Annotated[
        int, Option("Checkpoint every", unit="optimizer steps", group=BASIC, panel=_WATCH)
    ] = Field(default=100, ge=1)
    """Optimizer steps between checkpoints.

    The earliest that sounds good enough usually generalises best.
    """
    keep_last: Annotated[int | None, Option(unit="checkpoints", panel=_WATCH, unset="all")] = Field(
        default=None, ge=1
    )
    """Checkpoints kept."""
    early_stopping: Annotated[int | None, Option(unit="validations", panel=_LENGTH, unset="never")] = Field(
        default=None, ge=1
    )
    """Stop after so many validations without improvement."""
    gate: Annotated[bool, Option("Preflight check", group=ADVANCED, panel=_WATCH)] = True
    """Check first that the base is a trained model and the set-up sound. Off only for random weights."""
    seed: Annotated[Seed, Option(panel=_LEARNING)] = 1
    """Order of the clips, references and dropout follow from it."""
    device: Annotated[Device, Option("Device", group=ADVANCED, panel=_MACHINE)] = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda or cuda:N."""
    devices: Annotated[int, Option("Devices", unit="GPUs", group=ADVANCED, panel=_MACHINE)] = Field(
        default=1, ge=1
    )
    """GPUs of this machine that work together."""
    num_nodes: Annotated[int, Option(unit="machines", panel=_MACHINE)] = Field(default=1, ge=1)
    """Machines that train together."""
    num_workers: Annotated[int, Option(unit="processes", panel=_MACHINE)] = Field(default=0, ge=0)
    """Data-loading processes; 0 = load in the training process."""
    loggers: Annotated[
        list[Literal["tensorboard", "csv", "wandb"]], Option(flag="logger", metavar="NAME", panel=_WATCH)
    ] = ["tensorboard", "csv"]
    """tensorboard, csv or wandb; may be repeated."""


class TrainSettings(TrainOptions):
    """`fishtune train`."""

    project: Annotated[RunName, Option(unset="the project file's")]
    """Name of the run: files go to results/NAME."""
    results: UserPath
    """Folder of all runs."""
    base: UserPath
    """Checkpoint directory of the base model."""
    protos: UserPath
    """Packed data set."""
    resume: Annotated[UserPath | Literal["auto", "never"], FirstRunOnly(then="auto")] = "auto"
    """auto: continue from the newest checkpoint of this run, if any; never: refuse to; or a .ckpt to continue
    from: those after it are moved to results/NAME/abandoned."""
