"""The frames of an mp3, and the tag in the first of them that says how many there are.

Layer III alone: no other has such a tag. Names as in the Xing, Info and LAME tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

_SEARCHED = 1 << 16  # bytes looked through for the first frame
# Bytes by which a tag may be off: it may or may not count itself.
_TAG_SLACK = 4_096
_MANY_FRAMES = 1 << 24  # stated where the number is not known: five days
_DECODER_DELAY = 529  # samples that mpg123 takes off the beginning, with what a LAME tag says
# Bit rates (kbit/s) by their number: MPEG 1, and MPEG 2 and 2.5.
_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = (44_100, 48_000, 32_000)  # of MPEG 1; half of it in MPEG 2, a quarter in 2.5


@dataclass(frozen=True, slots=True)
class Frames:
    """Where the frames of an mp3 begin."""

    head: bytes
    """To be read in front of them."""
    begin: int
    is_trusted: bool
    """Whether the length that a decoder then states may be believed; else count."""


def find_frames(file: IO[bytes], start: int, end: int, *, believe: bool) -> Frames | None:
    """Return where the frames between `start` and `end` begin; None if there are none of layer III.

    Args:
        believe: whether a tag that looks right may state the length.
    """
    file.seek(start)
    window = file.read(min(_SEARCHED, max(end - start, 0)))
    offset = _first_frame(window, end - start)
    frame = _frame(window[offset : offset + 4]) if offset is not None else None
    if offset is None or frame is None:
        return None
    begin, behind = start + offset, offset + frame.size
    tag = _info_tag(frame, window[offset:behind])
    if tag is None:
        return Frames(_endless(frame, None), begin, is_trusted=False)
    next_frame = _frame(window[behind : behind + 4]) or frame
    if believe and _is_plausible(tag, next_frame, end - begin):
        return Frames(b"", begin, is_trusted=True)
    return Frames(_endless(frame, tag.delay), begin + frame.size, is_trusted=False)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame's header."""

    header: bytes
    is_mpeg_1: bool
    rate: int
    """Hz."""
    bit_rate: int
    """kbit/s."""

    @property
    def samples(self) -> int:
        """Per channel."""
        return 1_152 if self.is_mpeg_1 else 576

    @property
    def size(self) -> int:
        """Bytes, header included."""
        return self.samples // 8 * 1_000 * self.bit_rate // self.rate + (self.header[2] >> 1 & 1)

    @property
    def side(self) -> int:
        """Bytes between header and main data."""
        is_mono = self.header[3] >> 6 == 3
        return (17 if is_mono else 32) if self.is_mpeg_1 else (9 if is_mono else 17)

    def alike(self, least: int) -> _Frame:
        """Return a frame without checksum of at least `least` bytes, as small as may be."""
        for index in range(1, 15):
            frame = _frame(
                bytes([0xFF, self.header[1] | 1, index << 4 | self.header[2] & 0x0C, self.header[3]])
            )
            if frame is not None and frame.size >= least:
                return frame
        raise AssertionError(least)


def _frame(header: bytes) -> _Frame | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    divisor = {3: 1, 2: 2, 0: 4}[version]
    bit_rates = _BIT_RATES_1 if version == 3 else _BIT_RATES_2
    return _Frame(header, version == 3, _RATES[rate] // divisor, bit_rates[bits])


def _follows(frame: _Frame, header: bytes) -> bool:
    """Return whether another frame of the same stream begins with `header`."""
    other = _frame(header)
    return other is not None and (other.is_mpeg_1, other.rate) == (frame.is_mpeg_1, frame.rate)


@dataclass(frozen=True, slots=True)
class _InfoTag:
    """What the first frame says of the others."""

    frames: int
    size: int
    """Bytes of all frames; 0 = not said."""
    is_constant: bool
    delay: int | None
    """Samples that the encoder put in front; None = not said."""


def _first_frame(window: bytes, length: int) -> int | None:
    offset = window.find(b"\xff")
    while offset >= 0:
        frame = _frame(window[offset : offset + 4])
        if frame is not None:
            end = offset + frame.size
            if end == length or _follows(frame, window[end : end + 4]):
                return offset
        offset = window.find(b"\xff", offset + 1)
    return None


def _info_tag(frame: _Frame, content: bytes) -> _InfoTag | None:
    if content[36:40] == b"VBRI":
        return _InfoTag(0, 0, is_constant=False, delay=None)
    for begin in (4 + frame.side, 6 + frame.side):  # with a checksum
        name = content[begin : begin + 4]
        if name in (b"Xing", b"Info"):
            break
    else:
        return None
    flags = content[begin + 7] if len(content) > begin + 7 else 0
    at = begin + 8
    numbers = []
    for flag, width in ((1, 4), (2, 4), (4, 100), (8, 4)):
        numbers.append(int.from_bytes(content[at : at + width], "big") if flags & flag else 0)
        at += width if flags & flag else 0
    delay = None
    if len(content) >= at + 24 and content[at]:
        delay = int.from_bytes(content[at + 21 : at + 24], "big") >> 12
    return _InfoTag(numbers[0], numbers[1], name == b"Info", delay)


def _is_plausible(tag: _InfoTag, frame: _Frame, present: int) -> bool:
    """Return whether a tag's numbers fit each other, the file, and the bit rate of its first frame."""
    if not tag.frames or not tag.size or present > tag.size + _TAG_SLACK:
        return False
    rates = _BIT_RATES_1 if frame.is_mpeg_1 else _BIT_RATES_2
    lowest, highest = (frame.bit_rate, frame.bit_rate) if tag.is_constant else (rates[1], rates[-1])
    per_kilobit = tag.frames * frame.samples * 125 / frame.rate  # bytes at 1 kbit/s
    slack = _TAG_SLACK + 0.02 * tag.size
    return per_kilobit * lowest - slack <= tag.size <= per_kilobit * highest + slack


def _endless(frame: _Frame, delay: int | None) -> bytes:
    """Return frames to put in front of a stream, so that the decoder does not stop before its end.

    The first, a tag, states very many frames. The decoder takes such a stream to begin with a delay; a silent
    frame of just that length is therefore put in between, and nothing of the recording is taken for it.
    """
    tag = b"Xing" + (1).to_bytes(4, "big") + _MANY_FRAMES.to_bytes(4, "big")
    skipped = frame.samples + (0 if delay is None else delay + _DECODER_DELAY)
    lame = b"LAME3.100" + bytes(12) + (min(skipped - _DECODER_DELAY, 0xFFF) << 12).to_bytes(3, "big")
    content = bytes(frame.side) + tag + lame + bytes(12)
    first, silent = frame.alike(4 + len(content)), frame.alike(4 + frame.side)
    return (first.header + content).ljust(first.size, b"\0") + silent.header.ljust(silent.size, b"\0")
