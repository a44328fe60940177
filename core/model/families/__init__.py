"""The model families, and which of them a directory is of: nobody else knows what its files are called."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...codec.config import CONFIG_FILE as CODEC_CONFIG_FILE
from ...config.presets import ModelPreset, model_preset
from ...config.run_files import ADAPTER_CONFIG, CHECKPOINT_SUFFIX
from ...config.settings import CODEC_FILE
from ...errors import CheckpointError, FishtuneError, MalformedFileError, StorageError, UsageError
from ...messages import Message, joined
from ...tables import read_json
from ..shape import Shape
from .family import LARGEST_CONFIG, Family
from .s1 import S1
from .s2 import S2

_DEFAULT = S1()
FAMILIES: list[Family] = [S2(), _DEFAULT]
"""All that are known; a directory belongs to the first that owns it."""
_MERGE_FIRST = Message(
    "Merge it into its base first, with fishtune merge; or hear it without merging: fishtune audition"
)


def default_family() -> Family:
    """Return the family that counts where nothing says otherwise."""
    return _DEFAULT


@dataclass(frozen=True)
class Configuration:
    """The configuration of a checkpoint directory, unchecked, and whose it is."""

    family: Family
    content: Mapping[str, Any]
    file: Path

    def read_shape(self) -> Shape:
        """Return the shape that it describes; see `Family.read_shape` for errors."""
        return self.family.read_shape(self.content, str(self.file))


def read_configuration(directory: Path) -> Configuration:
    """Return the configuration of a checkpoint directory and the family that it belongs to.

    Raises:
        CheckpointError: it is missing, broken, or of a model that no family here knows; where the directory
            is none, which one is meant.
        StorageError: the system refused to read it.
    """
    file = _config_of(directory)
    content = _read(file)
    known = [family for family in FAMILIES if family.config_file == file.name]
    return Configuration(_owner(known, content, str(file), directory), content, file)


def directory_family(directory: Path) -> Family | None:
    """Return the family of a folder that may be empty or damaged; None where it cannot be told."""
    try:
        return family_of(directory)
    except (CheckpointError, StorageError):
        return None


def family_of(directory: Path) -> Family:
    """Return the family of a checkpoint directory; see `read_configuration` for errors."""
    return read_configuration(directory).family


def family_of_config(config: Mapping[str, Any], source: str) -> Family:
    """Return the family of a configuration without a directory.

    Raises:
        CheckpointError: no family here knows it.
    """
    return _owner(FAMILIES, config, source, None)


def preset_family(preset: ModelPreset) -> Family:
    """Return the family of a model preset: by its configuration, where it has one.

    Raises:
        CheckpointError: no family here knows it.
    """
    if not preset.config:
        return default_family()
    return family_of_config(
        preset.config, Message("The preset of {repository}", repository=preset.repository)
    )


def family_of_name(name: str) -> Family:
    """Return the family of a model preset; the default for any other name."""
    try:
        return preset_family(model_preset(name))
    except FishtuneError:
        return _DEFAULT


def base_model(directory: Path, name: str) -> tuple[Family, Shape]:
    """Return family and shape of a base model: from its directory, or before the download from its preset.

    Args:
        name: of the preset.

    Raises:
        CheckpointError: no family knows it, or its configuration makes no model.
        UsageError: there is no such preset, or it does not tell the shape.
    """
    if is_model_directory(directory):
        found = read_configuration(directory)
        return found.family, found.read_shape()
    config, source = model_preset(name).config, Message("The model preset {name}", name=name)
    if not config:
        raise UsageError(
            "{source} does not tell the model's shape.",
            "Download the model first, or add [config] to the preset.",
            source=source,
        )
    family = family_of_config(config, source)
    return family, family.read_shape(config, source)


def config_file(directory: Path) -> Path | None:
    """Return the file by which a folder may be a checkpoint directory; None where it has none."""
    names = dict.fromkeys(family.config_file for family in FAMILIES)
    return next((directory / name for name in names if (directory / name).exists()), None)


def is_model_directory(path: Path) -> bool:
    """Return whether `path` looks like a checkpoint directory of a whole model."""
    return config_file(path) is not None


def model_directory_of(path: Path) -> Path | None:
    """Return the checkpoint directory that `path` is a file of, or None."""
    inside = path.is_file() and path.suffix != CHECKPOINT_SUFFIX and is_model_directory(path.parent)
    return path.parent if inside else None


def check_codec_file(path: Path) -> None:
    """Refuse a file of a checkpoint directory that is named in the place of its codec.

    Raises:
        CheckpointError: names the codec's file beside it.
    """
    right = path.with_name(CODEC_FILE)
    others = {CODEC_CONFIG_FILE, *(name for family in FAMILIES for name in family.files)} - {CODEC_FILE}
    if path.name in others and right.is_file():
        raise CheckpointError(
            "{path} does not hold the codec.", "Give the file beside it: {file}", path=path, file=right
        )


def _owner(families: list[Family], config: Mapping[str, Any], source: str, directory: Path | None) -> Family:
    for family in families:
        if family.owns(config, directory):
            return family
    types = ", ".join(sorted(repr(name) for family in FAMILIES for name in family.model_types))
    kind = reprlib.repr(config.get("model_type"))
    raise CheckpointError(
        "{source} describes a model of the type {kind}, not {types}.",
        "Use a checkpoint of the {families}.",
        source=source,
        kind=kind,
        types=types,
        families=supported(),
    )


def supported() -> Message:
    """Return what models there are, in words: "S1 family (model_type dual_ar), such as openaudio-s1-mini"."""
    return joined(
        (
            Message("{family}, such as {name}", family=family.title, name=family.model_preset)
            for family in FAMILIES
        ),
        Message(" or the "),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file, LARGEST_CONFIG)
    except MalformedFileError as error:
        raise CheckpointError(error.message, "Download the checkpoint again.") from error
    if not isinstance(content, dict):
        raise CheckpointError("{file} does not hold settings.", "Download the checkpoint again.", file=file)
    return content


def _config_of(path: Path) -> Path:
    """Return the configuration in a directory; where there is none, say which directory is meant."""
    found = config_file(path)
    if found is not None:
        return found
    directory = model_directory_of(path)
    if directory is not None:
        raise CheckpointError(
            "{file} is a file of a model directory.",
            "Give the directory: {directory}",
            file=path,
            directory=directory,
        )
    if path.suffix == CHECKPOINT_SUFFIX and path.is_file():
        raise CheckpointError(
            "{file} is a checkpoint of training, not a whole model.", _MERGE_FIRST, file=path
        )
    if (path / ADAPTER_CONFIG).is_file():
        raise CheckpointError("{file} is an adapter, not a whole model.", _MERGE_FIRST, file=path)
    inside = [entry for entry in path.glob("*/") if is_model_directory(entry)] if path.is_dir() else []
    meant = Message("Did you mean {name}?", name=inside[0]) if len(inside) == 1 else name_a_directory()
    if path.is_file():
        raise CheckpointError("{file} is a file, and a model is a directory.", meant, file=path)
    missing = path / default_family().config_file
    raise CheckpointError("{file} cannot be read: there is no such file.", meant, file=missing)


def name_a_directory() -> str:
    """Return the hint for who named something else than a checkpoint directory."""
    return Message(
        "Name a checkpoint directory; one is fetched with: fishtune download {name}",
        name=default_family().model_preset,
    )
