"""Ways to damage files of weights: foreign tensors, hostile pickles, archives whose entries lie."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor

from .mutations import INTEGERS, hostile_value


def changed_weights(content: bytes, random: Random) -> bytes:
    """Replace, remove, rename or add one value of what `torch.save` wrote."""
    found = torch.load(io.BytesIO(content), weights_only=True)
    tables = [found, *(value for value in found.values() if isinstance(value, dict))]
    table = random.choice(tables[:2])
    key = random.choice(list(table))
    match random.randrange(8):
        case 0:
            del table[key]
        case 1:
            table[random.choice((5, ("a", 1), None, "x", "a" * 9000, f"{key}x", b"x"))] = table.pop(key)
        case 2:
            value = hostile_value(random)
            table[key] = value if not _too_deep(value) else 0
        case _:
            table[key] = foreign(table[key], random)
    return _saved(found)


def _too_deep(value: Any) -> bool:
    return isinstance(value, dict | list) and str(value).count("[") + str(value).count("{") > 100


def foreign(value: Any, random: Random) -> Any:
    """Return a tensor that is not what a weight is; of a table, a table in which one value is hostile."""
    if isinstance(value, dict) and value:
        key = random.choice(list(value))
        return {**value, key: foreign(value[key], random)}
    if not isinstance(value, Tensor) or value.numel() == 0:
        changed = hostile_value(random)
        return 0 if _too_deep(changed) else changed
    dense = value.detach().float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return random.choice(_FOREIGN)(dense)


def _with(value: float) -> Callable[[Tensor], Tensor]:
    def change(dense: Tensor) -> Tensor:
        changed = dense.clone()
        changed.view(-1)[0] = value
        return changed

    return change


_FOREIGN: tuple[Callable[[Tensor], Any], ...] = (
    lambda t: t.to_sparse(),
    lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    lambda t: torch.nested.nested_tensor([t, t]),
    lambda t: torch.empty(t.shape, device="meta"),
    lambda t: t.to(torch.float8_e4m3fn),
    lambda t: t.to(torch.complex64),
    lambda t: t.to(torch.int64),
    lambda t: t.to(torch.bool),
    lambda t: t.half(),
    lambda t: t.bfloat16(),
    lambda t: t.double(),
    lambda t: t.reshape(-1),
    lambda t: t.reshape(1, *t.shape),
    lambda t: t[:0],
    lambda t: t.reshape(-1)[0],
    lambda t: t.reshape(-1)[:1].expand(t.numel()).reshape(t.shape),
    lambda t: torch.zeros(1).expand(2**40),
    lambda t: t.T if t.dim() == 2 else t.flip(0),
    lambda t: torch.nn.Parameter(t),
    lambda t: torch.nn.Buffer(t),
    lambda t: t.to(torch.complex64).conj(),
    lambda t: t * 1e38,
    _with(float("nan")),
    _with(float("inf")),
)


def _saved(content: Any) -> bytes:
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(content, file)
    except (
        RuntimeError,
        RecursionError,
        NotImplementedError,
        OverflowError,
    ):  # what torch itself does not save
        return pickle.dumps(str(content)[:1000])
    return file.getvalue()


def changed_archive(content: bytes, random: Random) -> bytes:
    """Change an entry of the archive: its pickle, its length, its compression, or whether it is there."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    names = list(entries)
    script = next((name for name in names if name.endswith("data.pkl")), names[0])
    stored = zipfile.ZIP_STORED
    match random.randrange(7):
        case 0:
            entries[script] = random.choice(_SCRIPTS)
        case 1:
            del entries[random.choice(names)]
        case 2:
            name = random.choice(names)
            entries[name] = entries[name][: random.choice((0, 1, 5, len(entries[name]) // 2))]
        case 3:
            entries[script] = _renumbered(entries[script], random)
        case 4:
            stored = zipfile.ZIP_DEFLATED
            entries[script] = entries[script] + bytes(random.choice((10, 50_000_000)))
        case 5:
            entries[random.choice(names)] = random.choice((b"", b"big", b"little", b"x" * 99))
        case 6:
            entries[script.replace("data.pkl", "data/99")] = b"\0" * 64
            entries["../../x"] = b"x"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", stored) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return file.getvalue()


def _renumbered(script: bytes, random: Random) -> bytes:
    """Change one of the numbers of a pickle: sizes, strides, offsets, places in the memo."""
    marks = [at for at, byte in enumerate(script[:-5]) if byte in b"KMJ"]
    if not marks:
        return script
    at = random.choice(marks)
    width = {b"K": 1, b"M": 2, b"J": 4}[script[at : at + 1]]
    value = random.choice(INTEGERS) % 2 ** (8 * width)
    return script[: at + 1] + value.to_bytes(width, "little") + script[at + 1 + width :]


_NESTED = b"\x80\x02" + b"(" * 200 + b"K\x01" + b"t" * 200 + b"."
_DOUBLED = (
    b"\x80\x02K\x01" + b"\x86".join(b"q" + bytes((i,)) + b"h" + bytes((i,)) for i in range(200)) + b"\x86."
)
_SCRIPTS = (
    b"",
    b".",
    b"\x80\x02N.",
    b"\x80\x02}.",
    b"\x80\x02K\x05.",
    _NESTED,
    _DOUBLED,
    b"cos\nsystem\n(S'true'\ntR.",
    b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".",
    b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b".",
    b"\x80\x02r" + (2**32 - 1).to_bytes(4, "little") + b".",
    b"\x80\x02K\x01" + b"0" * 5 + b".",
)
