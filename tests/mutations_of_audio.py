"""Ways to damage recordings, and headers that lie about recordings that are whole.

A lie leaves every sample in place: a reader that gives fewer, or more, was taken in by it.
"""

from __future__ import annotations

import struct
from random import Random

from .mutations import INTEGERS, Mutation, damaged_bytes

_RATES = (0, 1, 3_999, 8_000, 22_050, 48_000, 192_000, 2**31 - 1, 2**32 - 1)


def lying_wav(content: bytes, random: Random) -> bytes:
    """State another length of the file or of its samples: none, endless, or too much."""
    lie = bytearray(content)
    size = random.choice((0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFE))
    if random.random() < 0.6:
        struct.pack_into("<I", lie, _chunk(content, b"data") + 4, size)
    if random.random() < 0.6:
        struct.pack_into("<I", lie, 4, random.choice((size, 0, 36, 0xFFFFFFFF)))
    return bytes(lie)


def damaged_wav(content: bytes, random: Random) -> bytes:
    """Change what the format chunk says, the chunks' sizes, or what lies between them."""
    lie = bytearray(content)
    form, data = _chunk(content, b"fmt ") + 8, _chunk(content, b"data")
    match random.randrange(8):
        case 0:
            struct.pack_into(
                "<H", lie, form, random.choice((0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x55, 0xFFFE, 0xFFFF))
            )
        case 1:
            struct.pack_into("<H", lie, form + 2, random.choice((0, 1, 2, 3, 255, 1024, 65_535)))
        case 2:
            struct.pack_into("<I", lie, form + 4, random.choice(_RATES))
        case 3:
            struct.pack_into("<H", lie, form + 12, random.choice((0, 1, 3, 4, 65_535)))
        case 4:
            struct.pack_into("<H", lie, form + 14, random.choice((0, 1, 8, 12, 24, 32, 64, 65_535)))
        case 5:
            struct.pack_into("<I", lie, form - 4, random.choice((0, 1, 14, 17, 40, 2**31, 2**32 - 1)))
        case 6:
            name = random.choice((b"LIST", b"JUNK", b"fact", b"data", b"fmt ", b"\0\0\0\0", b"ds64"))
            chunk = name + struct.pack("<I", random.choice((0, 1, 5, 8, 2**31, 2**32 - 1))) + b"\1" * 8
            return content[:data] + chunk * random.choice((1, 1, 2000)) + content[data:]
        case 7:
            return content[: data + 8 + random.choice((0, 1, 2, 3, 100))]
    return bytes(lie)


def _chunk(content: bytes, name: bytes) -> int:
    found = content.find(name)
    assert found > 0
    return found


def lying_flac(content: bytes, random: Random) -> bytes:
    """State another number of samples in STREAMINFO."""
    lie = bytearray(content)
    bits = int.from_bytes(lie[18:26], "big")
    total = bits & (1 << 36) - 1
    wrong = random.choice((0, 1, total // 2, total + 5000, total * 100, 1 << 35, (1 << 36) - 1))
    lie[18:26] = (bits & ~((1 << 36) - 1) | wrong).to_bytes(8, "big")
    if random.random() < 0.5:
        lie[26:42] = bytes(16)  # the checksum of the samples: not known
    return bytes(lie)


def damaged_flac(content: bytes, random: Random) -> bytes:
    """Change a field of STREAMINFO, a block's length, or a frame's header."""
    lie = bytearray(content)
    match random.randrange(6):
        case 0:  # sample rate (20 bits), channels (3), bits a sample (5)
            bits = int.from_bytes(lie[18:21], "big")
            changed = random.choice((0, 1, 0xFFFFFF, bits ^ 1 << random.randrange(24)))
            lie[18:21] = changed.to_bytes(3, "big")
        case 1:
            struct.pack_into(">HH", lie, 8, *(random.choice((0, 1, 15, 16, 65_535)) for _ in range(2)))
        case 2:
            lie[5:8] = (random.choice(INTEGERS) % (1 << 24)).to_bytes(3, "big")
        case 3:
            length = random.choice((0, 8, 2**24 - 1)).to_bytes(3, "big")
            block = bytes((random.choice((1, 3, 4, 6, 0x81, 0xFF)),)) + length + bytes(8)
            return content[:42] + block * random.choice((1, 1, 300)) + content[42:]
        case 4:
            at = content.find(b"\xff\xf8", 42)
            at = at if at > 0 else 42
            lie[at + random.randrange(1, 6)] ^= 1 << random.randrange(8)
        case 5:
            return content[: random.randrange(4, len(content))]
    return bytes(lie)


def lying_mp3(content: bytes, random: Random) -> bytes:
    """State another number of frames or bytes, take the statement away, or put tags around the frames."""
    lie = bytearray(content)
    at = max(content.find(b"Info"), content.find(b"Xing"))
    match random.randrange(4):
        case 0 if at > 0:
            struct.pack_into(">I", lie, at + 8, random.choice((0, 1, 10_000, 2**31, 2**32 - 1)))
        case 1 if at > 0:
            struct.pack_into(">I", lie, at + 12, random.choice((0, 1, 2**31, 2**32 - 1)))
        case 2:
            picture = b"APIC" + struct.pack(">I", 60_000)
            return b"ID3\4\0\0" + _syncsafe(60_010) + picture + bytes(2) + bytes(60_000) + content
        case _:
            tag = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
            return content + tag + b"TAG" + b" " * 125
    return bytes(lie)


def damaged_mp3(content: bytes, random: Random) -> bytes:
    """Change a frame's header, mix frames, or put broken tags around them."""
    lie = bytearray(content)
    frames = [at for at in range(len(content) - 4) if content[at] == 0xFF and content[at + 1] & 0xE0 == 0xE0]
    at = random.choice(frames[:200] or [0])
    match random.randrange(5):
        case 0:
            lie[at + random.choice((1, 2, 2, 3))] ^= 1 << random.randrange(8)
        case 1:
            return content[at:] + content[:at]
        case 2:
            size = random.choice((_syncsafe(0), _syncsafe(5), _syncsafe(2**28 - 1), b"\xff\xff\xff\xff"))
            return (
                b"ID3"
                + bytes((random.choice((2, 3, 4, 255)), 0, random.choice((0, 0x10, 0xFF))))
                + size
                + content
            )
        case 3:
            return content + content[random.randrange(len(content)) :]
        case 4:
            return content[:at]
    return bytes(lie)


def _syncsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


LIES: dict[str, Mutation] = {".wav": lying_wav, ".flac": lying_flac, ".mp3": lying_mp3}
DAMAGE: dict[str, tuple[Mutation, ...]] = {
    ".wav": (damaged_wav, damaged_wav, damaged_bytes),
    ".flac": (damaged_flac, damaged_flac, damaged_bytes),
    ".mp3": (damaged_mp3, damaged_mp3, damaged_bytes),
}
