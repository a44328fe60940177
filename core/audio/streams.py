"""Where the coded audio of a file lies, and whether its header may be believed about how much there is.

libsndfile believes a header, and estimates where there is none: it reads a wav that was never finished as
empty, stops an mp3 without an Info frame where the first frame's bit rate would end it, and stops a joined
mp3 where its first part ends. So a header is looked at here first. Where it does not say how much there is,
the decoder is given another one, which does not end before the audio does; the file is never changed.

Layouts: RIFF, RF64 and Wave64 chunks; FLAC's STREAMINFO; mp3 (`mpeg.py`); ID3v1, ID3v2 and APEv2 tags.
"""

from __future__ import annotations

import string
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal, NamedTuple

from ..errors import DataError
from .mpeg import find_frames

TOLERATED_LOSS_SECONDS = 0.1
"""A decoder's delay or a recorder's buffer may cost a recording its last moment; more is missing data."""
# Recorders that write to a pipe state 1 GiB or more, not knowing the length.
UNKNOWN_LENGTH = 1 << 30
"""Bytes."""
_MOST_CHUNKS = 1_000  # before the samples
_LARGEST_FORMAT = 4_096  # bytes that describe the samples
_UNCOMPRESSED = (1, 3)  # tags of integer and of floating-point samples
_MPEG_IN_WAVE = 0x55
_PLAIN_HEAD = struct.Struct("<4sI8sIHHIIHH4sI")
_MOST_PLAIN_CHANNELS = 8
_LETTERS = (string.ascii_letters + string.digits + " _-").encode()  # of the names of chunks
_FLAC_HEAD = 42  # bytes: the mark, and the block STREAMINFO
_FLAC_TOTAL = (1 << 36) - 1
_SHORTEST_FLAC_FRAME = 10  # bytes: header, one constant subframe, checksums
_LARGEST_FLAC_BLOCK = 65_535  # samples
_LONGEST_FLAC_HEADER = 16  # bytes of a frame
_SEARCHED = 1 << 16  # bytes behind the samples that are looked at
_WAVES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff")
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")


class PlainWave(NamedTuple):
    """What a wav says of itself that is laid out in the one way that nobody reads differently."""

    frames: int
    """Samples per channel."""
    rate: int
    """Hz."""
    channels: int
    bits: int
    """Of a sample: 8, 16, 24 or 32, integers."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What a decoder is given: `head`, then the file's bytes from `start` to `end`."""

    head: bytes
    start: int
    end: int
    is_trusted: bool = True
    """Whether the length that the decoder then states, or `frames`, may be believed; else count."""
    frames: int | None = None
    """Samples per channel by the file's header, where the decoder is not told them."""
    is_mpeg: bool = False
    plain: PlainWave | None = None
    """Where it is known what a decoder will say, without asking one."""


def find_stream(file: IO[bytes], path: Path, *, believe: bool = True) -> Stream:
    """Return where the audio of an open recording lies, and what to read in place of its header.

    Args:
        believe: whether a header that looks right may state the length.

    Raises:
        DataError: a header that looks right states clearly more than is there, or there is no audio.
    """
    head = _bytes_at(file, 0, _PLAIN_HEAD.size)
    whole = Stream(b"", 0, file.seek(0, 2))
    if (plain := _plain_wave(head, whole.end)) is not None:
        return Stream(b"", 0, whole.end, plain=plain)
    start = _behind_tags(file)
    magic = _bytes_at(file, start, 4)
    if start == 0 and magic in _WAVES:
        return _wave(file, whole, path, believe=believe)
    inner = replace(whole, start=start, end=_before_tags(file, whole.end))
    if magic in _WAVES:
        return replace(whole, start=start)  # the decoder would take the tag off the samples
    if magic == b"fLaC":
        return _flac(file, inner, believe=believe)
    if start or path.suffix.lower() == ".mp3" or magic[:1] == b"\xff":
        return _mpeg(file, inner, believe=believe) or whole
    return whole


def truncated(path: Path, present: float, stated: float) -> DataError:
    """Return the error for a recording of which only `present` of `stated` seconds are there."""
    return DataError(
        "{file} is truncated: {present:.1f} s of {stated:.1f} s are there.",
        "Copy it again from where it came, or cut the transcript to what is left.",
        file=path,
        present=present,
        stated=stated,
    )


def no_audio(path: Path) -> DataError:
    """Return the error for a recording in which there is nothing."""
    return DataError("{file} contains no audio.", "Record it again, or remove it.", file=path)


def _bytes_at(file: IO[bytes], offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


# Tags


def _behind_tags(file: IO[bytes]) -> int:
    """Return where what follows the ID3v2 tags begins; 0 where there are none."""
    offset = 0
    while len(tag := _bytes_at(file, offset, 10)) == 10 and tag[:3] == b"ID3":
        # Seven bits per byte; a footer of ten bytes where the flag says so.
        length = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        offset += 10 + length + (10 if tag[5] & 0x10 else 0)
    return offset


def _before_tags(file: IO[bytes], end: int) -> int:
    """Return where the tags at the end begin: ID3v1 behind an APEv2 tag, either or none."""
    if end >= 128 and _bytes_at(file, end - 128, 3) == b"TAG":
        end -= 128
    footer = _bytes_at(file, max(end - 32, 0), 32)
    if footer[:8] == b"APETAGEX":
        length = int.from_bytes(footer[12:16], "little")  # without the header, where there is one
        if footer[23] & 0x80:
            length += 32
        end = end - length if length <= end else end
    return end


# Wave


def _plain_wave(head: bytes, size: int) -> PlainWave | None:
    """Return what a wav of `size` bytes that begins with `head` says; None where anything is out of the way.

    Its chunks are RIFF, `fmt ` and `data`, whole numbers of integer samples, all sizes are right, and nothing
    follows: `_wave` would give it to the decoder as it is, and the decoder has nothing to interpret.
    """
    if len(head) < _PLAIN_HEAD.size:
        return None
    riff, riff_size, form, length, tag, channels, rate, per_second, block, bits, data, data_size = (
        _PLAIN_HEAD.unpack(head)
    )
    behind = size - _PLAIN_HEAD.size - data_size
    is_plain = (
        (riff, form, length, tag, data) == (b"RIFF", b"WAVEfmt ", 16, 1, b"data")
        and behind in (0, data_size % 2)
        and riff_size == size - 8
        and 1 <= channels <= _MOST_PLAIN_CHANNELS
        and bits in (8, 16, 24, 32)
        and (block, per_second) == (channels * bits // 8, rate * block)
        and data_size > 0 == data_size % block
    )
    return PlainWave(data_size // block, rate, channels, bits) if is_plain else None


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    begin: int
    """Offset of the first byte behind the chunk's own header."""
    size: int
    """Bytes, as stated."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a wave file is divided into chunks."""

    name: int
    """Bytes of a chunk's name; only the first four differ among those of interest."""
    width: int
    """Bytes of a size."""
    order: Literal["little", "big"]
    align: int
    own: int
    """Bytes of a chunk's header that its size includes."""


def _wave(file: IO[bytes], whole: Stream, path: Path, *, believe: bool) -> Stream:
    magic = _bytes_at(file, 0, 4)
    if magic == b"riff":
        layout = _Layout(name=16, width=8, order="little", align=8, own=24)
    else:
        layout = _Layout(name=4, width=4, order="big" if magic == b"RIFX" else "little", align=2, own=0)
    form, long_size = b"", None
    for chunk in _chunks(file, layout, whole.end):
        match chunk.name:
            case b"fmt ":
                form = _bytes_at(file, chunk.begin, min(chunk.size, _LARGEST_FORMAT))
            case b"ds64":
                long_size = int.from_bytes(_bytes_at(file, chunk.begin + 8, 8), "little")
            case b"data" if len(form) >= 16:
                if magic in (b"RF64", b"BW64") and chunk.size == 0xFFFFFFFF and long_size is not None:
                    chunk = replace(chunk, size=long_size)
                return _wave_data(file, whole, path, layout, form, chunk, believe=believe)
    return whole  # nothing to play, which the decoder says


def _chunks(file: IO[bytes], layout: _Layout, end: int) -> Iterator[_Chunk]:
    header = layout.name + layout.width
    begin = 12 + header if layout.width == 4 else 40 + header
    for _ in range(_MOST_CHUNKS):
        if begin > end:
            return
        found = _bytes_at(file, begin - header, header)
        if len(found) < header:
            return
        size = max(int.from_bytes(found[layout.name :], layout.order) - layout.own, 0)
        yield _Chunk(found[:4], begin, size)
        begin += size + -size % layout.align + header


def _wave_data(
    file: IO[bytes],
    whole: Stream,
    path: Path,
    layout: _Layout,
    form: bytes,
    data: _Chunk,
    *,
    believe: bool,
) -> Stream:
    tag, per_second, block = _wave_format(form, layout)
    size, present = data.size, whole.end - data.begin
    if size > present:
        if size < UNKNOWN_LENGTH and size - present > TOLERATED_LOSS_SECONDS * per_second:
            raise truncated(path, present / per_second, size / per_second)
        size = present
    elif size < present and _goes_on(file, path, layout, data, whole.end, per_second):
        size = present
    if not size:
        raise no_audio(path)
    if tag == _MPEG_IN_WAVE:
        return _mpeg(file, Stream(b"", data.begin, data.begin + size), believe=believe) or whole
    if size == data.size:
        return whole
    if tag in _UNCOMPRESSED:
        size -= size % block
    stated = min(size, 0xFFFFFFFF)
    magic = b"RIFX" if layout.order == "big" else b"RIFF"
    parts = [(magic, min(28 + len(form) + stated, 0xFFFFFFFF)), (b"WAVEfmt ", len(form)), (b"data", stated)]
    numbers = [name + number.to_bytes(4, layout.order) for name, number in parts]
    head = numbers[0] + numbers[1] + form + numbers[2]
    return Stream(head, data.begin, data.begin + size)


def _wave_format(form: bytes, layout: _Layout) -> tuple[int, int, int]:
    """Return the format's tag, bytes per second, and bytes of a sample of all channels; none is below 1."""

    def number(begin: int, end: int) -> int:
        return int.from_bytes(form[begin:end], layout.order)

    tag = number(0, 2)
    if tag == 0xFFFE and len(form) >= 26:
        tag = number(24, 26)
    rate, per_second = number(4, 8), number(8, 12)
    block = max(number(2, 4) * (-(-number(14, 16) // 8)), 1)
    return tag, max(rate * block if tag in _UNCOMPRESSED else per_second, 1), block


def _goes_on(file: IO[bytes], path: Path, layout: _Layout, data: _Chunk, end: int, per_second: int) -> bool:
    """Return whether the samples go on behind their stated end: a recorder died, or the size is wrong.

    Raises:
        DataError: they may, but nothing tells.
    """
    stated_end = data.begin + data.size
    rest = end - stated_end
    if data.size and rest <= TOLERATED_LOSS_SECONDS * per_second:
        return False
    tail = _bytes_at(file, stated_end, _SEARCHED)
    if any(_is_something_else(tail[skip:], layout, rest) for skip in (0, -data.size % layout.align, 1)):
        return False
    if not data.size:
        return True
    if not any(tail):
        return False
    if layout.width == 8:
        file_end = int.from_bytes(_bytes_at(file, 16, 8), "little")
    else:
        file_end = 8 + int.from_bytes(_bytes_at(file, 4, 4), layout.order)
    if file_end > stated_end + layout.align:
        return True  # the two sizes contradict each other
    raise DataError(
        "{file} continues past the end that its header states: {end:.1f} s, with {rest:.1f} s more after it.",
        "Listen to it in a player and export it again as wav, flac or mp3.",
        file=path,
        end=data.size / per_second,
        rest=rest / per_second,
    )


def _is_something_else(tail: bytes, layout: _Layout, rest: int) -> bool:
    """Return whether what follows the samples is a tag or another chunk."""
    if tail.startswith(_TAGS):
        return True
    name = tail[:4]
    if len(name) < 4 or not all(byte in _LETTERS for byte in name):
        return False
    size = int.from_bytes(tail[layout.name : layout.name + layout.width], layout.order)
    return size <= rest


# FLAC


def _flac(file: IO[bytes], inner: Stream, *, believe: bool) -> Stream:
    head = _bytes_at(file, inner.start, _FLAC_HEAD)
    if len(head) < _FLAC_HEAD or head[4] & 0x7F or int.from_bytes(head[5:8], "big") != 34:
        return inner
    fields = int.from_bytes(head[18:26], "big")
    total = fields & _FLAC_TOTAL
    largest_block = int.from_bytes(head[10:12], "big") or _LARGEST_FLAC_BLOCK
    most = (inner.end - inner.start) // _SHORTEST_FLAC_FRAME * largest_block
    # Told that the number is unknown, the decoder goes on to the end of the file.
    head = head[:18] + (fields & ~_FLAC_TOTAL).to_bytes(8, "big") + head[26:]
    stream = replace(inner, head=head, start=inner.start + _FLAC_HEAD)
    if believe and 0 < total <= most and total > _last_frame(file, inner, largest_block):
        return replace(stream, frames=total)
    return replace(stream, is_trusted=False)


def _last_frame(file: IO[bytes], inner: Stream, largest_block: int) -> int:
    """Return at which sample the last frame begins, by its own header; -1 if none was found."""
    begin = max(inner.start + _FLAC_HEAD, inner.end - _SEARCHED)
    tail = _bytes_at(file, begin, inner.end - begin)
    at = tail.rfind(b"\xff")
    while at >= 0:
        number = _frame_number(tail[at : at + _LONGEST_FLAC_HEADER])
        if number is not None:
            return number if tail[at + 1] & 1 else number * largest_block
        at = tail.rfind(b"\xff", 0, at)
    return -1


def _frame_number(header: bytes) -> int | None:
    """Return the number of the frame, or of its first sample, that a FLAC frame's header gives.

    None if it is no such header: the bits that are always the same and the checksum (CRC-8) tell.
    """
    if len(header) < 6 or header[1] & 0xFE != 0xF8 or header[3] & 1 or not header[2] >> 4:
        return None
    first = header[4]
    more = 0 if first < 0x80 else 7 - (first ^ 0xFF).bit_length()  # bytes that follow, coded as in UTF-8
    if first >= 0x80 and not 1 <= more <= 6:
        return None
    number = first & (0x7F if not more else 0x3F >> more)
    for byte in header[5 : 5 + more]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    length = 5 + more + {6: 1, 7: 2}.get(header[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    return number if len(header) > length and _crc8(header[:length]) == header[length] else None


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 & 0xFF ^ (0x07 if crc & 0x80 else 0)
    return crc


# MPEG audio


def _mpeg(file: IO[bytes], inner: Stream, *, believe: bool) -> Stream | None:
    found = find_frames(file, inner.start, inner.end, believe=believe)
    if found is None:
        return None
    return replace(inner, head=found.head, start=found.begin, is_trusted=found.is_trusted, is_mpeg=True)
