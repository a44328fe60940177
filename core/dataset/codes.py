"""Codes on disk: `NAME.npy`, NumPy int64 `(K, frames)`, beside the recording (formats.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..files import atomic_open

Codes = npt.NDArray[np.int64]
_AGAIN = "Run fishtune extract again: it makes the codes anew."


class CodesState(StrEnum):
    """Whether a recording's codes can be used."""

    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    """Older than the recording."""
    DAMAGED = "damaged"
    """Unreadable, of another shape, or out of range."""


def read_codes(path: Path, codebook_sizes: Sequence[int] | None = None) -> Codes:
    """Return the codes `(K, frames)` as int64, whichever integer type the file has.

    Args:
        codebook_sizes: entries of each of the K codebooks; None where the codec is not known, and then
            any number of codebooks and any code from 0 to 65,535 passes.

    Raises:
        DataError: unreadable, no integers, another shape, no frames, or a code out of range.
    """
    try:
        # Mapping refuses a header that promises more than the file holds before anything is allocated.
        stored = np.lib.format.open_memmap(path, mode="r")
        codes = np.array(stored)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is not a readable .npy file ({error}).", _AGAIN) from error
    if codes.dtype.kind not in "iu":
        raise DataError(f"{path} holds {codes.dtype} instead of integers.", _AGAIN)
    if codes.ndim != 2 or codes.shape[0] == 0 or codes.shape[1] == 0:
        raise DataError(f"{path} has shape {codes.shape} instead of (codebooks, frames).", _AGAIN)
    if codebook_sizes is not None and len(codes) != len(codebook_sizes):
        raise DataError(f"{path} has {len(codes)} codebooks, the codec has {len(codebook_sizes)}.", _AGAIN)
    limits = np.asarray(codebook_sizes if codebook_sizes is not None else [1 << 16] * len(codes))
    wrong = (codes.min(axis=1) < 0) | (codes.max(axis=1) >= limits)
    if wrong.any():
        book = int(wrong.argmax())
        raise DataError(
            f"{path}: codebook {book} holds codes from {codes[book].min()} to {codes[book].max()}, "
            f"allowed are 0 to {limits[book] - 1}.",
            _AGAIN,
        )
    return codes.astype(np.int64)


def is_stale(audio: Path, codes: Path) -> bool:
    """Return whether the code file is older than its recording. Raises OSError if either is missing."""
    return codes.stat().st_mtime_ns < audio.stat().st_mtime_ns


def codes_state(audio: Path, codes: Path, codebook_sizes: Sequence[int]) -> CodesState:
    """Return whether `codes` are the finished codes of the recording `audio`."""
    try:
        if is_stale(audio, codes):
            return CodesState.STALE
    except FileNotFoundError:
        return CodesState.MISSING
    except OSError:
        return CodesState.DAMAGED
    try:
        read_codes(codes, codebook_sizes)
    except DataError:
        return CodesState.DAMAGED
    return CodesState.DONE


def write_codes(path: Path, codes: npt.NDArray[np.integer]) -> None:
    """Write codes `(K, frames)` as int64, atomically.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with atomic_open(path) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(codes, dtype=np.int64), allow_pickle=False)
