"""Presets: named settings in TOML, ours in `presets/`, a user's own in the configuration folder.

    presets/lora/NAME.toml      what is trained: rank, alpha, targets; may bring training settings
    presets/codec/NAME.toml     shape of a codec (the keys of `codec_config.json`)
    presets/models/NAME.toml    where a base model comes from, its files, its shape
    presets/recognition/NAME.toml, presets/speaker/NAME.toml    models that listen: where they come from
    presets/texts/LANGUAGE.toml    what a voice is given to say

A user's own lie in `$XDG_CONFIG_HOME/fishtune/presets/KIND/NAME.toml` and win over ours of that name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ... import presets as ours
from ..errors import MalformedFileError, SettingsError, UsageError
from ..messages import Message, joined, near
from ..tables import read_toml
from ..units import parse_bytes
from ..user_folders import config_folder
from .settings import CODEC_PRESET, BasePrecision, TrainOptions
from .strict import Table, parse

LARGEST_RANK = 1 << 14
"""No matrix of a model has more rows or columns worth adapting."""
LARGEST_ALPHA = 1e6
Kind = Literal["lora", "codec", "models", "recognition", "speaker", "texts"]

_OURS = Path(ours.__path__[0])


class LoraPreset(Table):
    """What is trained.

    A target is a role that the model's family knows, such as `slow_attention`, or a regular expression that
    must match a module's whole name in the model, for example `layers\\.\\d+\\.attention\\.(wqkv|wo)`.
    """

    description: str
    """One line: when to use it."""
    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=0, ge=0, le=LARGEST_RANK)
    alpha: float = Field(default=0, ge=0, le=LARGEST_ALPHA)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] = []
    use_rslora: bool = False
    """Scale by alpha / √rank instead of alpha / rank."""
    use_dora: bool = False
    """Train magnitude and direction apart (DoRA)."""
    train: TrainOptions = Field(default_factory=TrainOptions)
    """Training settings that this preset brings."""

    @model_validator(mode="after")
    def _rank_fits(self) -> LoraPreset:
        if self.method == "lora" and not self.rank:
            raise ValueError(Message("rank must be at least 1 where method is lora"))
        return self

    @property
    def scaling(self) -> float:
        """Factor of B·A: alpha / rank, or alpha / √rank with rsLoRA."""
        return self.alpha / (self.rank**0.5 if self.use_rslora else self.rank)


def check_base_precision(preset: LoraPreset, precision: BasePrecision | None) -> None:
    """Refuse a quantised base where what is trained does not go with it.

    Raises:
        SettingsError: says why.
    """
    if precision is None:
        return
    if preset.method == "full":
        raise SettingsError(
            "Full fine-tuning trains the weights themselves, which a base in {precision} keeps only rounded.",
            "Choose a LoRA preset, or leave out --base-precision.",
            precision=precision,
        )
    if preset.use_dora:
        raise SettingsError(
            "DoRA learns the size of every row of the weights, which a base in {precision} keeps only "
            "rounded.",
            "Choose a preset without use_dora, or leave out --base-precision.",
            precision=precision,
        )


_DIGEST = r"^([0-9a-f]{64})?$"


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_bytes(value)
    except UsageError as error:
        raise ValueError(Message("write it like 4GiB")) from error


def _check_file_name(name: str) -> str:
    parts = name.split("/")
    if (
        "\\" in name
        or "\0" in name
        or any(part in ("", ".", "..") or part.startswith(".fishtune") for part in parts)
    ):
        raise ValueError(Message("it must be a path inside the model's folder"))
    return name


class ModelPreset(Table):
    """Where a base model comes from."""

    description: str
    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    """`owner/name` on the hub."""
    licence: str
    files: list[Annotated[str, AfterValidator(_check_file_name)]]
    """Files that are needed; nothing else is downloaded."""
    download_size: Annotated[int, BeforeValidator(_bytes)] = 0
    """What the files take together, about, "3.6GB"; 0 = not known."""
    config: dict[str, Any] = {}
    """Keys of `config.json`, for estimates before the download and for benchmarks."""
    codec: str = CODEC_PRESET
    """Codec preset."""


class HearingPreset(Table):
    """Where a model that listens comes from: recognition or a speaker encoder, pinned to what was tried."""

    description: str
    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    """`owner/name` on the hub."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """Commit."""
    licence: str
    files: Annotated[
        dict[Annotated[str, AfterValidator(_check_file_name)], Annotated[str, Field(pattern=_DIGEST)]],
        Field(min_length=1),
    ]
    """Files that are needed, each with its SHA-256; "" where the hub's own hash of the revision is enough."""
    gpu_memory: Annotated[int, BeforeValidator(_bytes)] = 0
    """Free memory that a GPU should have for it, "4GiB"."""


class TextsPreset(Table):
    """What a voice is given to say."""

    description: str = ""
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
    texts: Annotated[list[str], Field(min_length=1, max_length=1000)]


def user_presets_folder() -> Path:
    """Return the folder of a user's own presets."""
    return config_folder() / "presets"


def preset_names(kind: Kind) -> list[str]:
    """Return the names of all presets of a kind, ours and the user's own, in natural order."""
    names = {path.stem for path in (user_presets_folder() / kind).glob("*.toml")}
    names |= {path.stem for path in (_OURS / kind).glob("*.toml")}
    return sorted(names, key=_natural)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    # r_8 before r_16: runs of digits compare as numbers, and sort before letters.
    parts = re.split(r"(\d+)", name)
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def read_preset(kind: Kind, name: str) -> dict[str, Any]:
    """Return the raw content of a preset.

    Raises:
        UsageError: there is no such preset; the message names the near ones and lists all.
        SettingsError: it is not TOML.
    """
    names = preset_names(kind)
    own = user_presets_folder() / kind / f"{name}.toml"
    # Only names that a listing gave are opened, so no name leads out of the two folders.
    source = own if name in names and own.is_file() else _OURS / kind / f"{name}.toml"
    if name not in names:
        hint = Message("Choose one of: {names}.", names=", ".join(names))
        if kind == "lora":
            hint = Message("Choose one of: {names}. See them with: fishtune presets", names=", ".join(names))
        raise UsageError(
            joined(
                [
                    Message(
                        "There is no {kind} preset {name}.", kind=kind.removesuffix("s"), name=repr(name)
                    ),
                    near(name, names),
                ]
            ),
            hint,
        )
    try:
        return read_toml(source)
    except MalformedFileError as error:
        raise SettingsError(error.message, error.hint) from error


def lora_preset(name: str) -> LoraPreset:
    """Return the LoRA preset `name`; see `read_preset` for errors."""
    return parse(LoraPreset, read_preset("lora", name), Message("preset {name}", name=name))


def lora_presets() -> tuple[dict[str, LoraPreset], list[SettingsError]]:
    """Return all LoRA presets by name, and what is wrong with those of the user's own that cannot be used."""
    found, faults = {}, []
    for name in preset_names("lora"):
        try:
            found[name] = lora_preset(name)
        except SettingsError as error:
            faults.append(error)
    return found, faults


def model_preset(name: str) -> ModelPreset:
    """Return the model preset `name`; see `read_preset` for errors."""
    return parse(ModelPreset, read_preset("models", name), Message("preset {name}", name=name))


def hearing_preset(kind: Literal["recognition", "speaker"], name: str) -> HearingPreset:
    """Return the preset `name` of a model that listens; see `read_preset` for errors."""
    return parse(HearingPreset, read_preset(kind, name), Message("preset {name}", name=name))


def texts_preset(language: str) -> TextsPreset:
    """Return the texts of a language; see `read_preset` for errors."""
    return parse(TextsPreset, read_preset("texts", language), Message("preset {name}", name=language))
