"""Settings of the stages after training: merge, synth and audition."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ..options import BASIC, FirstRunOnly, Option
from ..strict import Table
from .types import CODEC_PRESET, MODELS_FOLDER, Device, Seed, UserPath, check_path_text


class MergeOptions(Table):
    """Which checkpoint is merged, and into what."""

    checkpoint: Annotated[
        Annotated[str, AfterValidator(check_path_text)] | None, Option(unset="the recommended one")
    ] = None
    """Checkpoint to merge, relative to the project."""
    output: Annotated[
        UserPath | None, Option("Merged directory", group=BASIC, unset=f"{MODELS_FOLDER}/NAME-merged")
    ] = None
    """The directory that is made; it can take the base's place wherever that is loaded."""
    lora_config: Annotated[str | None, Option("Preset of training", group=BASIC)] = None
    """Preset of the training; only checkpoints of fish-speech's own format need it, for alpha."""
    link: Annotated[bool, Option("Hard-link unchanged files", group=BASIC)] = False
    """Hard-link unchanged files instead of copying them (saves 1.9 GB)."""


class MergeSettings(Table):
    """`fishtune merge`."""

    base_weight: UserPath
    """Checkpoint directory of the base model."""
    lora_weight: Annotated[UserPath, Option(unset="the recommended one")]
    """A checkpoint (step_….ckpt), ours or of fish-speech's own format, or a PEFT adapter folder."""
    output: UserPath
    """The directory that is made; it can take the base's place wherever that is loaded."""
    lora_config: str | None = None
    """Preset of the training; only checkpoints of fish-speech's own format need it, for alpha."""
    lora_alpha: float | None = Field(default=None, gt=0)
    """Alpha as a number, instead of a preset."""
    link: bool = False
    """Hard-link unchanged files instead of copying them (saves 1.9 GB)."""
    overwrite: Annotated[bool, FirstRunOnly(then=False)] = False
    """Replace an output that fishtune merge wrote."""


class SynthSettings(Table):
    """`fishtune synth`."""

    checkpoint: Annotated[UserPath, Option(unset="the project's merged model")]
    """Checkpoint directory: a base or a merged model."""
    text: str
    """What is to be said."""
    out: UserPath
    """The recording that is written; its ending names the format."""
    ref_audio: UserPath | None = None
    """A recording whose voice is to be used (3 to 15 s)."""
    ref_codes: UserPath | None = None
    """The same as extracted codes (.npy), instead of --ref-audio."""
    ref_text: Annotated[str, Option(unset="the .lab file beside it")] = ""
    """What is said in the reference."""
    codes_out: UserPath | None = None
    """Also write the generated codes (.npy)."""
    max_new_tokens: Annotated[int, Option(unit="frames")] = Field(default=1024, ge=1)
    """Maximum frames; one second is 21.5 frames."""
    greedy: bool = False
    """Always take the most probable code; no drawing, no penalty."""
    temperature: Annotated[float | None, Option(unset="the model family's")] = Field(default=None, gt=0)
    """Below 1: safer and flatter; above: livelier, riskier."""
    top_p: Annotated[float | None, Option(unset="the model family's")] = Field(default=None, gt=0, le=1)
    """Draw among the most probable codes up to this share."""
    top_k: Annotated[int | None, Option(unset="the model family's")] = Field(default=None, ge=1)
    """Draw among at most this many of the most probable codes."""
    repetition_penalty: Annotated[float | None, Option(unset="the model family's")] = Field(
        default=None, ge=1
    )
    """Above 1: makes recent codes less probable. S2 has no such penalty."""
    seed: Annotated[Seed | None, Option(unset="random")] = None
    """The same seed gives the same recording."""
    overwrite: bool = False
    """Replace outputs that exist, whoever wrote them."""
    config_name: str = CODEC_PRESET
    """Codec preset, used where no codec_config.json lies beside the weights."""
    device: Device = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda or cuda:N."""


class AuditionSettings(Table):
    """`fishtune audition`."""

    checkpoint: Annotated[UserPath, Option(argument=True)]
    """A checkpoint (step_….ckpt), an adapter folder, or a model directory."""
    base_weight: Annotated[UserPath | None, Option(unset="the one it was trained on")] = None
    """Base of the checkpoint."""
    protos: Annotated[UserPath | None, Option(unset="the one it was trained on")] = None
    """Packed data set that gives voice, script and speaking rate."""
    texts: Annotated[list[str], Option(flag="text", unset="three sentences in the data set's script")] = []
    """What it says; may be repeated."""
    seed: Seed = 1
    """The same seed makes checkpoints comparable."""
    overwrite: bool = False
    """Replace recordings that are named like its own, too."""
    config_name: str = CODEC_PRESET
    """Codec preset, used where no codec_config.json lies beside the weights."""
    device: Device = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda or cuda:N."""
