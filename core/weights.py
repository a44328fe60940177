"""Weights are read safely (nothing in a file is executed) and strictly (every name and shape must fit).

Tensors are mapped from the file, not copied: pages are read when they are first used, and a model
loaded without change of dtype or device shares them.
"""

from __future__ import annotations

import errno
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError

_LISTED = 8
_GLOBAL = re.compile(r"GLOBAL (\S+)")


def read_archive(path: Path) -> Any:
    """Return what `torch.save` wrote to `path`, its tensors mapped from the file.

    Only tensors and plain containers are accepted.

    Raises:
        CheckpointError: the file is missing, cut short, no `torch.save` file, or holds code.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder.", "Name the file of weights in it, such as codec.pth.")
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist.", "Check the path; a base model is fetched with: fishtune download"
        )
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _GLOBAL.search(str(error))
        raise CheckpointError(
            f"{path} holds more than weights; nothing in it was executed"
            + (f" (it asks for {wanted[1]})." if wanted else "."),
            "Do not trust this file: get the weights from where they were published.",
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, UnicodeDecodeError) as error:
        # torch reports a file that is cut short or not its own as RuntimeError, in several wordings.
        raise _damaged(path) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # torch sought before the start of a file that is cut short
            raise _damaged(path) from error
        raise CheckpointError(f"{path} cannot be read: {error}.", "Check its permissions.") from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read as weights ({path.stat().st_size:,} bytes): "
        "it is cut short, or no torch.save archive.",
        "Download or copy it again. A file from before torch 1.6 must be loaded and saved once more.",
    )


def unwrap_state_dict(content: Any, source: Path) -> dict[str, Tensor]:
    """Return the tensors by name of what a weights file holds, out of `{"state_dict": …}` if wrapped.

    Raises:
        CheckpointError: it is not a state dict.
    """
    tensors = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not tensors:
        raise CheckpointError(f"{source} holds no state dict.", "Name a file of model weights.")
    wrong = [str(name) for name, value in tensors.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(
            f"{source} holds things that are no tensors: {_list(wrong)}.", "Name a file of model weights."
        )
    return dict(tensors)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors by name of a weights file; see `read_archive` and `unwrap_state_dict`."""
    return unwrap_state_dict(read_archive(path), path)


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Make `tensors` the parameters of `module` (no copy; the module may be on the meta device).

    Raises:
        CheckpointError: names all missing, unexpected and mis-shaped tensors at once.
    """
    expected = module.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    shapes = [
        f"{name} is {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    not_floating = sorted(
        name
        for name in expected.keys() & tensors.keys()
        if expected[name].is_floating_point() != tensors[name].is_floating_point()
    )
    problems = [
        f"{len(names)} {what}: {_list(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
            ("of another kind of number", not_floating),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"The weights in {source} do not fit the configuration: {'; '.join(problems)}.",
            "Weights and configuration must come from the same model: download both again.",
        )
    module.load_state_dict(dict(tensors), strict=True, assign=True)


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
