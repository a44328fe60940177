"""Weights are read safely (nothing in a file is executed) and strictly (every name and shape must fit).

One gate for tensors: `unwrap_state_dict` lets dense tensors on the CPU pass, `load_strict` those of the
names, shapes and kinds of number that a module has, and `refuse_not_finite` those that are numbers.

Tensors are mapped from the file, not copied: pages are read when they are first used, and a model
loaded without change of dtype or device shares them.
"""

from __future__ import annotations

import contextlib
import errno
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config.settings import CODEC_FILE
from ..errors import CheckpointError, StorageError
from ..files import atomic_open
from ..messages import NOTHING, Message, first_of, joined
from ..reading import reading, system_error, unreadable
from .archives import inspect_archive
from .unpickling import damaged

_LISTED = 8
_GLOBAL = re.compile(r"GLOBAL (\S+)")
STATE_DICT = "state_dict"
"""Entry of a checkpoint that holds the tensors, where it holds other things, too."""
REAL_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""What a weight may be stored as."""


def read_archive(path: Path) -> Any:
    """Return what `torch.save` wrote to `path`, its tensors mapped from the file.

    Only tensors and plain containers are accepted, and no more of them than a file of weights has.

    Raises:
        CheckpointError: the file is missing, cut short, no `torch.save` file, or holds code or what would
            exhaust memory or time.
        StorageError: the system refused to read it.
    """
    if path.is_dir():
        raise CheckpointError(
            "{file} is a folder.",
            "Name the file of weights in it, such as {name}.",
            file=path,
            name=CODEC_FILE,
        )
    if not path.exists() and not path.is_symlink():
        raise CheckpointError(
            "{file} does not exist.",
            "Check the path; a base model is fetched with: fishtune download",
            file=path,
        )
    inspect_archive(path)
    with torch_reads(path):
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


@contextlib.contextmanager
def torch_reads(path: Path) -> Iterator[None]:
    """Turn whatever torch raises while it reads `path` into errors that can be met; see `read_archive`."""
    try:
        with reading(path, CheckpointError):
            yield
    except CheckpointError as error:
        cause = error.__cause__
        if isinstance(cause, pickle.UnpicklingError):
            wanted = _GLOBAL.search(str(cause))
            raise CheckpointError(
                (
                    Message(
                        "{file} holds more than weights; nothing in it was executed (it asks for {object}).",
                        file=path,
                        object=wanted[1],
                    )
                    if wanted
                    else Message("{file} holds more than weights; nothing in it was executed.", file=path)
                ),
                "Do not trust this file: get the weights from where they were published.",
            ) from cause
        system = system_error(cause) if isinstance(cause, RuntimeError) else None
        if system is not None:
            raise unreadable(path, system) from cause
        # torch reports a file that is cut short or not its own as RuntimeError, in several wordings.
        raise damaged(path) from cause
    except StorageError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EINVAL:
            raise damaged(path) from error  # torch sought before the start of a file that is cut short
        raise


def unwrap_state_dict(content: Any, source: Path) -> dict[str, Tensor]:
    """Return the tensors by name of what a weights file holds, out of `{"state_dict": …}` if wrapped.

    Raises:
        CheckpointError: it is not a state dict, or a tensor in it is none that a weight can be: sparse,
            quantised, nested, without memory of its own.
    """
    tensors = state_dict_of(content, source)
    refuse_unusable(tensors, source)
    return tensors


def state_dict_of(content: Any, source: Path) -> dict[str, Tensor]:
    """Return the tensors as `unwrap_state_dict`, whatever they are like."""
    tensors = content.get(STATE_DICT, content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not tensors:
        raise CheckpointError("{source} holds no state dict.", "Name a file of model weights.", source=source)
    wrong = [
        shown(name)
        for name, value in tensors.items()
        if not isinstance(name, str) or not isinstance(value, Tensor)
    ]
    if wrong:
        raise CheckpointError(
            "{source} contains non-tensor values: {tensors}.",
            "Name a file of model weights.",
            source=source,
            tensors=_list(wrong),
        )
    return dict(tensors)


def refuse_unusable(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Refuse tensors that are not dense numbers in memory of their own, on the CPU.

    Raises:
        CheckpointError: names all of them.
    """
    wrong = [
        Message("{name} ({fault})", name=shown(name), fault=fault)
        for name, tensor in tensors.items()
        if (fault := _unusable(tensor))
    ]
    if wrong:
        raise CheckpointError(
            "{source} holds tensors that cannot be used: {tensors}.",
            "Weights are dense tensors: load the file with torch, convert them, and save it again.",
            source=source,
            tensors=_list(wrong),
        )


def _unusable(tensor: Tensor) -> Message:
    """Return what is wrong with how a tensor is stored, or nothing."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return Message("a {kind}", kind=type(tensor).__name__)
    if tensor.is_nested:
        return Message("nested")
    if tensor.layout is not torch.strided:
        return Message("sparse")
    if tensor.is_quantized:
        return Message("quantised")
    if tensor.device.type != "cpu":
        return Message("on the device {device}", device=tensor.device)
    if tensor.is_conj() or tensor.is_neg():
        return Message("conjugated or negated")
    reach = 1
    for stride, count in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if count > 1:
            if stride < reach:
                return Message("its entries share memory")
            reach += stride * (count - 1)
    return NOTHING


def refuse_not_real(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Refuse tensors that are not stored as ordinary floating-point numbers.

    Raises:
        CheckpointError: names all of them.
    """
    wrong = [
        f"{shown(name)} ({str(tensor.dtype).removeprefix('torch.')})"
        for name, tensor in tensors.items()
        if tensor.dtype not in REAL_DTYPES
    ]
    if wrong:
        raise CheckpointError(
            "{source} holds numbers of a kind that cannot be used: {tensors}.",
            "Get the weights in bfloat16, float16 or float32.",
            source=source,
            tensors=_list(wrong),
        )


def refuse_not_finite(tensors: Iterable[tuple[str, Tensor]], source: Path) -> None:
    """Refuse weights among which are infinite numbers or NaN; under a second for the 860 million of a base.

    Raises:
        CheckpointError: names the first.
    """
    for name, tensor in tensors:
        values = tensor.detach()
        # The sum is infinite or NaN if any number is, and needs no second copy of the weight. It may also be
        # infinite because there are many numbers; only then the slower look decides.
        if not bool(values.sum().isfinite()) and not all(value.isfinite() for value in values.aminmax()):
            raise CheckpointError(
                "{source}: {name} holds numbers that are infinite or not a number.",
                "The file is damaged, or training diverged: download or merge it again.",
                source=source,
                name=shown(name),
            )


def save_archive(content: Any, target: Path) -> None:
    """Write `content` to `target` with `torch.save`, atomically.

    Raises:
        StorageError: the disk is full or failing, or the folder cannot be written.
    """
    # Into an open file: given a path, torch writes its random temporary name into the archive.
    with atomic_open(target) as file:
        torch.save(content, file)


def shown(value: Any) -> str:
    """Return a name of a file's own, short enough for a message."""
    text = str(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 120 else f"{text[:119]}…"


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
        Message(
            "{name} is {shape} instead of {expected}",
            name=name,
            shape=tuple(tensors[name].shape),
            expected=tuple(expected[name].shape),
        )
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    not_floating = sorted(
        name for name in expected.keys() & tensors.keys() if tensors[name].dtype not in REAL_DTYPES
    )
    problems = [
        Message("{number} {fault}: {tensors}", number=len(names), fault=what, tensors=_list(names))
        for what, names in (
            (Message("missing"), missing),
            (Message("unexpected"), unexpected),
            (Message("of another shape"), shapes),
            (Message("of another kind of number"), not_floating),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            "The weights in {source} do not fit the configuration: {problems}.",
            "Weights and configuration must come from the same model: download both again.",
            source=source,
            problems=joined(problems, "; "),
        )
    module.load_state_dict(dict(tensors), strict=True, assign=True)


def _list(names: Iterable[str]) -> Message:
    return first_of([shown(name) for name in names], _LISTED)
