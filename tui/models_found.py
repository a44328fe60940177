"""Base models that lie on this machine already, told by their configuration; nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import FishtuneError
from ..core.files import TEMPORARY_PREFIX
from ..core.model.families import read_configuration
from .catalogue import _

_MOST = 50


@dataclass(frozen=True)
class FoundModel:
    """A checkpoint directory, and what it holds in a few words.

    Attributes:
        is_base: whether all of its files are there and it was not merged here.
    """

    path: Path
    what: str
    is_base: bool


def models_in(parents: Iterable[Path]) -> list[FoundModel]:
    """Return the model directories that lie directly in one of `parents`."""
    found: dict[Path, FoundModel] = {}
    for parent in dict.fromkeys(parents):
        try:
            with os.scandir(parent) as entries:
                folders = sorted(Path(entry.path) for entry in entries if _may_be_one(entry))
        except OSError:
            continue
        for folder in folders[:_MOST]:
            model = _model_of(folder)
            if model is not None:
                found[folder] = model
    return list(found.values())[:_MOST]


def _may_be_one(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a folder, and not one that is still being written."""
    return entry.is_dir() and not entry.name.startswith(TEMPORARY_PREFIX)


def _model_of(folder: Path) -> FoundModel | None:
    try:
        found = read_configuration(folder)
        shape = found.read_shape()
    except FishtuneError:
        return None
    parts = [_("{layers} layers of {dim}").format(layers=shape.n_layer, dim=shape.dim)]
    merged = folder.with_name(f"{folder.name}.fishtune.json").is_file()
    if merged:
        parts.append(_("merged by fishtune"))
    wanted = [name for name in found.family.needed_files(folder) if name not in found.family.optional_files]
    lacking = [name for name in wanted if not (folder / name).is_file()]
    if lacking:
        parts.append(_("lacks {files}").format(files=", ".join(lacking)))
    return FoundModel(folder, ", ".join(parts), not merged and not lacking)
