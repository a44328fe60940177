"""Settings of the stages after training: merge, synth and audition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ...messages import Message
from ..options import BASIC, FirstRunOnly, Option
from ..strict import Table
from .listen import ListenerSettings
from .types import CODEC_PRESET, MODELS_FOLDER, Device, Seed, UserPath, check_path_text

Strength = Annotated[float, Field(ge=0, le=1.5)]
"""Share of what a checkpoint changes: 0 is the base, 1 the checkpoint as it was trained."""


SPREAD = 6
"""Checkpoints of a run that an audition takes where not all are asked for."""


class MergeOptions(Table):
    """Which checkpoint is merged, and into what."""

    checkpoint: Annotated[
        Annotated[str, AfterValidator(check_path_text)] | None,
        Option("Checkpoint", unset="the recommended one"),
    ] = None
    """Checkpoint to merge, relative to the project."""
    audition: bool = True
    """Let fishtune run listen to checkpoints before it merges the recommended one, where the extra judge is
    installed."""
    output: Annotated[
        UserPath | None, Option("Merged directory", group=BASIC, unset=f"{MODELS_FOLDER}/NAME-merged")
    ] = None
    """The directory that is made; it can take the base's place wherever that is loaded."""
    lora_config: Annotated[str | None, Option("Preset of training", group=BASIC)] = None
    """Preset of the training; only checkpoints of fish-speech's own format need it, for alpha."""
    strength: Annotated[Strength, Option("Strength", group=BASIC)] = 1.0
    """How much of the training counts: 0 is the base, 1 all of it, more exaggerates it."""
    link: Annotated[bool, Option("Hard-link unchanged files", group=BASIC)] = False
    """Hard-link unchanged files instead of copying them (saves 1.9 GB)."""


class MergeSettings(Table):
    """`fishtune merge`."""

    base_weight: UserPath
    """Checkpoint directory of the base model."""
    lora_weight: Annotated[UserPath | None, Option(unset="the recommended one")] = None
    """A checkpoint (step_….ckpt), ours or of fish-speech's own format, or a PEFT adapter folder."""
    output: UserPath
    """The directory that is made; it can take the base's place wherever that is loaded."""
    average: Annotated[list[UserPath], Option(metavar="A B …")] = []
    """Checkpoints of one run: the mean of what they change is merged."""
    strength: Strength = 1.0
    """How much of the training counts: 0 is the base, 1 all of it, more exaggerates it."""
    lora_config: str | None = None
    """Preset of the training; only checkpoints of fish-speech's own format need it, for alpha."""
    lora_alpha: float | None = Field(default=None, gt=0)
    """Alpha as a number, instead of a preset."""
    link: bool = False
    """Hard-link unchanged files instead of copying them (saves 1.9 GB)."""
    overwrite: Annotated[bool, FirstRunOnly(then=False)] = False
    """Replace an output that fishtune merge wrote."""

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Self:
        if not self.checkpoints:
            raise ValueError(Message("--lora-weight is missing"))
        return self

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """What is merged: one checkpoint, or several of one run, each once."""
        given = [self.lora_weight] if self.lora_weight else []
        return tuple({path.absolute(): path for path in (*given, *self.average)}.values())


class SynthSettings(Table):
    """`fishtune synth`."""

    checkpoint: Annotated[UserPath, Option(unset="the project's merged model")]
    """Checkpoint directory, a base or a merged model; or a checkpoint of training (step_….ckpt) or adapter
    folder, which speaks unmerged."""
    text: str
    """What is to be said."""
    out: UserPath
    """The recording that is written; its ending names the format. A dash (-) writes WAV to standard output,
    for a player."""
    base_weight: Annotated[UserPath | None, Option(unset="the one it was trained on")] = None
    """Base of a checkpoint of training."""
    average: Annotated[list[UserPath], Option(metavar="A B …")] = []
    """More checkpoints of the run: the mean of what they change speaks."""
    strength: Strength = 1.0
    """How much of the training counts: 0 is the base, 1 all of it, more exaggerates it."""
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


class AuditionOptions(ListenerSettings):
    """What an audition asks, in whose voice, and what listens."""

    strengths: Annotated[list[Strength], Option("Strengths", flag="strength", group=BASIC, unset="1")] = []
    """How much of the training counts: 0 is the base, 1 all of it; may be repeated, each speaks."""
    reference: Annotated[
        UserPath | None, Option("Reference clip", group=BASIC, unset="a clip of the data set")
    ] = None
    """A recording whose voice is given, with what it says in a .lab file beside it."""
    text_source: Annotated[
        str | None,
        Option("Texts", flag="texts", metavar="FILE", group=BASIC, unset="the data set's language"),
    ] = None
    """What it says: a language with texts of ours (en), or a file, one text per line or TOML."""
    seeds: Annotated[Annotated[int, Field(ge=1, le=20)], Option("Times each", group=BASIC)] = 1
    """How often every text is said, each time with the next seed."""


class AuditionSettings(AuditionOptions):
    """`fishtune audition`."""

    checkpoint: Annotated[UserPath, Option(argument=True, metavar="RUN")]
    """A run, by folder or name; or a checkpoint (step_….ckpt), an adapter folder, or a model directory."""
    all: bool = False
    """Every checkpoint of the run, not only 6 spread over it."""
    with_base: bool = False
    """Beside a single checkpoint, too, judge its base; beside those of a run it always is."""
    base_weight: Annotated[UserPath | None, Option(unset="the one it was trained on")] = None
    """Base of the checkpoint."""
    protos: Annotated[UserPath | None, Option(unset="the one it was trained on")] = None
    """Packed data set that gives voice, language, speaking rate and held-out recordings."""
    texts: Annotated[
        list[str], Option(flag="text", unset="24 texts in the data set's language, and held-out transcripts")
    ] = []
    """What it says; may be repeated."""
    seed: Seed = 1
    """The same seed makes checkpoints comparable."""
    overwrite: bool = False
    """Replace recordings that are named like its own, too."""
    config_name: str = CODEC_PRESET
    """Codec preset, used where no codec_config.json lies beside the weights."""
