"""Codes on disk: `NAME.npy`, NumPy int64 `(K, frames)`, beside the recording (formats.md section 5)."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..files import atomic_open
from ..messages import Message
from ..reading import StrPath, read_beginning
from .headers import ArrayHeader, HeaderError, parse_header
from .origins import Origin, is_of_other_codec, is_stale, origin_of

Codes = npt.NDArray[np.int64]
LARGEST_FILE = 64 << 20
"""Bytes. The longest recording that the published codec takes has 330 kB of codes."""
_LETTERS_BEFORE = 32
"""Of a digest of codes as the version before made it."""
LARGEST_CODE = 65_535
"""What passes for a code where the codec is not known."""
_AGAIN = Message("Run fishtune extract again: it makes the codes anew.")
_NOT_REPLACED = Message(
    "It was not made by fishtune extract, which does not replace it: move it away and extract again."
)
_OTHER_CODEC = Message(
    "If these are codes of another codec, extract again with: fishtune extract --overwrite"
)


class CodesState(StrEnum):
    """Whether a recording's codes can be used."""

    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    """Made from another recording, or by another codec."""
    DAMAGED = "damaged"
    """Torn, or written by extraction and no longer what it wrote."""
    OTHER_CODEC = "other codec"
    """Integers in two dimensions that this codec does not give and that extraction did not write."""
    FOREIGN = "foreign"
    """Something else in the place of codes: never to be replaced."""


class TornCodesError(DataError):
    """The file is empty, or ends before it should."""


class NoCodesError(DataError):
    """The file cannot be understood as an array."""


class ForeignFileError(DataError):
    """The file is whole and holds something else than codes, or is no file."""


class OtherCodesError(DataError):
    """The codes are not those of this codec."""


def read_codes(
    path: StrPath, codebook_sizes: Sequence[int] | None = None, status: os.stat_result | None = None
) -> Codes:
    """Return the codes `(K, frames)` as int64, whichever integer type the file has.

    Args:
        codebook_sizes: entries of each of the K codebooks; None where the codec is not known, and then
            any number of codebooks and any code from 0 to 65,535 passes.
        status: of the file a moment ago, where it is known.

    Raises:
        DataError: unreadable, no integers, another shape, no frames, or a code out of range.
        StorageError: the system refused to read the file.
    """
    content = _read_whole(path, status)
    try:
        header = parse_header(content)
    except HeaderError as error:
        kind = TornCodesError if error.torn else NoCodesError
        raise kind(
            "{file} is not a readable .npy file ({reason}).", _AGAIN, file=path, reason=error
        ) from error
    if header.size != len(content):
        raise _wrong_size(path, header, len(content), codebook_sizes)
    if not header.is_codes:
        raise _other_array(path, header)
    if not math.prod(header.shape):
        raise TornCodesError(
            "{file} has shape {shape} instead of (codebooks, frames): it holds no codes.",
            _AGAIN,
            file=path,
            shape=header.shape,
        )
    values = np.frombuffer(content, _type_of(header.descr), offset=header.offset)
    codes = values.reshape(header.shape, order="F" if header.fortran_order else "C")
    # Seen without their signs, negative numbers are the largest.
    largest = np.maximum.reduce(values.view(_without_sign(header.descr)))
    if codebook_sizes is not None or largest > LARGEST_CODE:
        _check_range(path, codes, codebook_sizes)
    return np.ascontiguousarray(codes, dtype=np.int64)


@lru_cache
def _type_of(descr: str) -> np.dtype[np.integer]:
    return np.dtype(descr)


@lru_cache
def _without_sign(descr: str) -> np.dtype[np.integer]:
    return np.dtype(descr.replace("i", "u"))


def _read_whole(path: StrPath, status: os.stat_result | None) -> bytes:
    try:
        content = read_beginning(path, LARGEST_FILE + 1, ForeignFileError, status)
    except ForeignFileError as error:
        raise ForeignFileError(error.message, error.hint or _NOT_REPLACED) from error
    if len(content) > LARGEST_FILE:
        raise ForeignFileError(
            "{file} is larger than codes can be ({limit:,} bytes).",
            _NOT_REPLACED,
            file=path,
            limit=LARGEST_FILE,
        )
    return content


def _wrong_size(
    path: StrPath, header: ArrayHeader, size: int, codebook_sizes: Sequence[int] | None
) -> DataError:
    kind: type[DataError] = NoCodesError
    if not header.is_codes:
        kind = ForeignFileError
    elif header.size > size and (codebook_sizes is None or header.shape[0] == len(codebook_sizes)):
        kind = TornCodesError
    return kind(
        "{file} is not a readable .npy file (it has {size:,} bytes instead of {stated:,}).",
        _NOT_REPLACED if kind is ForeignFileError else _AGAIN,
        file=path,
        size=size,
        stated=header.size,
    )


def _other_array(path: StrPath, header: ArrayHeader) -> DataError:
    if len(header.shape) == 2:
        return ForeignFileError(
            "{file} holds {kind} instead of integers.",
            _NOT_REPLACED,
            file=path,
            kind=_type_name(header),
        )
    return ForeignFileError(
        "{file} has shape {shape} instead of (codebooks, frames).",
        _NOT_REPLACED,
        file=path,
        shape=header.shape,
    )


def _type_name(header: ArrayHeader) -> str:
    if "O" in header.descr:
        return Message("Python objects")
    try:
        return str(np.dtype(header.descr))
    except TypeError:  # a width that numpy has not
        return header.descr


def _check_range(path: StrPath, codes: npt.NDArray[np.integer], codebook_sizes: Sequence[int] | None) -> None:
    if codebook_sizes is not None and len(codes) != len(codebook_sizes):
        raise OtherCodesError(
            "{file} has {number} codebooks, the codec has {other}.",
            _OTHER_CODEC,
            file=path,
            number=len(codes),
            other=len(codebook_sizes),
        )
    limits = np.asarray(codebook_sizes if codebook_sizes is not None else [LARGEST_CODE + 1] * len(codes))
    wrong = (codes.min(axis=1) < 0) | (codes.max(axis=1) >= limits)
    if wrong.any():
        book = int(wrong.argmax())
        raise OtherCodesError(
            "{file}: codebook {book} holds codes from {lowest} to {highest}, allowed are 0 to {limit}.",
            _OTHER_CODEC,
            file=path,
            book=book,
            lowest=codes[book].min(),
            highest=codes[book].max(),
            limit=limits[book] - 1,
        )


def codes_digest(codes: Codes) -> str:
    """Return a digest of the values of codes from 0 to 65,535, in hex: the same whichever type a file has."""
    return _digest(codes, "<u2", 20)


def _digest(codes: Codes, form: str, size: int) -> str:
    digest = hashlib.blake2b(repr(codes.shape).encode(), digest_size=size)
    digest.update(np.ascontiguousarray(codes, dtype=form).data)
    return digest.hexdigest()


def _is_digest_of(digest: str, codes: Codes) -> bool:
    if len(digest) == _LETTERS_BEFORE:  # of the version before, four times as many bytes
        return digest == _digest(codes, "<i8", 16)
    return digest == codes_digest(codes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a recording's codes can be used, and why not."""

    state: CodesState
    error: DataError | None = None
    digest: str = ""
    """`codes_digest` of codes that can be used."""
    origin: Origin | None = None
    """What the codes were made from, where that is known of just these codes."""


def judge_codes(audio: Path, codes: Path, codebook_sizes: Sequence[int], codec: str = "") -> Verdict:
    """Return whether `codes` are the finished codes of the recording `audio`.

    Args:
        codec: identity of the codec that would make them; empty = any will do.

    Raises:
        DataError: there is no such recording.
        StorageError: the system refused to read a file.
    """
    if not os.path.lexists(codes):
        return Verdict(CodesState.MISSING)
    try:
        found = read_codes(codes, codebook_sizes)
    except DataError as error:
        return Verdict(_state_of(error, origin_of(codes) is not None), error)
    origin = known_origin(codes, found)
    digest = origin.codes if origin is not None else codes_digest(found)
    if origin is not None and is_of_other_codec(origin, codec):
        return Verdict(CodesState.STALE)
    stale = is_stale(audio, codes, origin)
    return Verdict(CodesState.STALE if stale else CodesState.DONE, None, digest, origin)


def known_origin(path: StrPath, codes: Codes) -> Origin | None:
    """Return what the codes of a file were made from, or None where the record is not about them."""
    origin = origin_of(path)
    return origin if origin is not None and _is_digest_of(origin.codes, codes) else None


def _state_of(error: DataError, ours: bool) -> CodesState:
    match error:
        case ForeignFileError():
            return CodesState.FOREIGN
        case TornCodesError():
            return CodesState.DAMAGED
        case OtherCodesError():
            return CodesState.DAMAGED if ours else CodesState.OTHER_CODEC
    return CodesState.DAMAGED if ours else CodesState.FOREIGN


def write_codes(path: Path, codes: npt.NDArray[np.integer]) -> None:
    """Write codes `(K, frames)` as int64, atomically.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with atomic_open(path) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(codes, dtype=np.int64), allow_pickle=False)
