"""Kinds of values that several stages take, and the checks that only they need."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ...file_names import is_text
from ...messages import Message

Checkpointing = Literal["none", "selective", "blocks"]
"""What training computes again in the backward pass instead of keeping it, fastest first: nothing, all but
matrix products, or whole blocks."""
BasePrecision = Literal["int8", "nf4"]
"""In what training keeps the frozen weights of the slow stack, where that is less than bfloat16."""
Device = str  # "auto", "cpu", "cuda", "cuda:1"
CODEC_PRESET = "modded_dac_vq"
MODELS_FOLDER = "checkpoints"
"""Folder of base and merged models inside a project."""
DEFAULT_MODEL = "openaudio-s1-mini"
"""Model preset of a new project."""
CODEC_FILE = "codec.pth"
"""The codec's weights in a checkpoint directory; all families have the same codec."""

_LONGEST_NAME = 200
"""Bytes. File systems take 255; names of records and temporary files are longer than the run's."""


def _check_run_name(name: str) -> str:
    if not name or name in (".", "..") or any(mark in "/\\" or ord(mark) < 32 for mark in name):
        raise ValueError(Message("it is used as a folder name: it must not be empty or contain / or \\"))
    if not is_text(name):
        raise ValueError(Message("it is used as a folder name, and is not UTF-8"))
    if len(name.encode("utf-8")) > _LONGEST_NAME:
        raise ValueError(
            Message("it is used as a folder name, and is longer than {limit} bytes", limit=_LONGEST_NAME)
        )
    return name


def _check_path(path: Path) -> Path:
    text = str(path)
    _encoded(text)
    if "\0" in text:
        raise ValueError(Message("a path cannot hold a NUL character"))
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise ValueError(Message("a part of the path is longer than file systems allow (255 bytes)"))
    try:
        path.expanduser()
    except RuntimeError as error:
        raise ValueError(Message("there is no home folder for {user}", user=path.parts[0])) from error
    return path


def check_path_text(text: str) -> str:
    """Return a path that is kept as text.

    Raises:
        ValueError: no path can be so.
    """
    return str(_check_path(Path(text)))


def check_address(address: str) -> str:
    """Return the address of a hub.

    Raises:
        ValueError: it is not one.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(Message("write it as https://mirror.example"))
    return address


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(Message("it has bytes that are not UTF-8")) from error


_HUB_PART = r"[A-Za-z0-9][\w.-]*"


def _check_model_name(name: str) -> str:
    if not re.fullmatch(rf"({_HUB_PART}/)?{_HUB_PART}", name, re.ASCII):
        raise ValueError(Message("it is neither a model preset nor a hub repository, owner/name"))
    return name


ModelName = Annotated[str, AfterValidator(_check_model_name)]
"""A preset of `presets/models`, or a hub repository `owner/name`."""
RunName = Annotated[str, AfterValidator(_check_run_name)]
UserPath = Annotated[Path, AfterValidator(_check_path)]
"""A path as a user writes it; `~` is allowed."""
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]  # what generators take
