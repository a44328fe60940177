"""Ways to damage a file: bytes of any kind, and fields of the formats that are read here.

A mutation takes the content of a whole file and a source of randomness and returns another content. Both
`hypothesis` and a seeded generator drive them, so whatever one finds the other can repeat.
"""

from __future__ import annotations

import json
import struct
import tomllib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import tomli_w

Mutation = Callable[[bytes, Random], bytes]

INTEGERS = (0, 1, -1, 2, 3, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 10**18)
_HUGE = (10**40, -(10**40), 10**400)
_FLOATS = (0.0, -0.5, 1e-300, 1e300, 1.5, float("nan"), float("inf"), float("-inf"))
_TEXTS = ("", "x", "\0", "../../x", "/", "~nobody/x", "9" * 5000, "\ud800", "\x1b]52;c;eA==\x07", "가" * 90)


def mutated(content: bytes, mutations: Sequence[Mutation], random: Random) -> bytes:
    """Return `content` after one of `mutations`, or after one of them and damage to its bytes."""
    content = random.choice(mutations)(content, random)
    if random.random() < 0.15:
        content = damaged_bytes(content, random)
    return content


def damaged_bytes(content: bytes, random: Random) -> bytes:
    """Flip bits, cut, double, overwrite or replace, without any idea of the format."""
    kind = random.randrange(9)
    where = _place(content, random)
    length = random.choice((1, 4, 16, 300))
    match kind:
        case 0 | 1:
            damaged = bytearray(content)
            for _ in range(random.choice((1, 1, 2, 8, 64)) if content else 0):
                damaged[_place(content, random)] ^= 1 << random.randrange(8)
            return bytes(damaged)
        case 2:
            return content[:where]
        case 3:
            return content[:where] + random.choice((b"\0", b"\xff", b"[", b"{")) * length + content[where:]
        case 4:
            return content[:where] + content[where + length :]
        case 5:
            return content[: where + length] + content[where:]
        case 6:
            return content[:where] + number_bytes(random) + content[where + 4 :]
        case 7:
            return content[:where] + bytes(len(content) - where)
    return random.choice((b"", b"\0" * 500, b"x", b"[" * 20_000, b'"x"', b"\xff\xfe\0", b"\x93NUMPY", b"PK"))


def number_bytes(random: Random) -> bytes:
    """Return a number at the edge of some width, as it would be stored."""
    width = random.choice("BHIQ")
    value = random.choice(INTEGERS) % 2 ** (8 * struct.calcsize(width))
    return struct.pack(random.choice("<>") + width, value)


def _place(content: bytes, random: Random) -> int:
    """Return a position, often near the beginning, where headers are."""
    if not content:
        return 0
    return random.randrange(min(len(content), random.choice((64, 512, len(content)))))


def hostile_value(random: Random) -> Any:
    """Return what no field of a table expects."""
    match random.randrange(6):
        case 0:
            return random.choice(INTEGERS)
        case 1:
            return random.choice(_HUGE)
        case 2:
            return random.choice(_FLOATS)
        case 3:
            return random.choice(_TEXTS)
        case 4:
            return random.choice((None, True, [], {}, [[]], {"x": 1}))
    deep: Any = 1
    for _ in range(random.choice((3, 70, 300))):
        deep = [deep] if random.random() < 0.5 else {"x": deep}
    return deep


def _change_somewhere(found: Any, random: Random) -> Any:
    """Replace, remove or add one value somewhere inside of lists and tables."""
    if not isinstance(found, dict | list) or not found or random.random() < 0.1:
        return hostile_value(random)
    keys: list[Any] = list(found) if isinstance(found, dict) else list(range(len(found)))
    key = random.choice(keys)
    match random.randrange(10):
        case 0:
            del found[key]
        case 1 if isinstance(found, dict):
            found[random.choice((*keys, *_TEXTS))] = hostile_value(random)
        case 1:
            found.append(hostile_value(random))
        case 2:
            found[key] = _like(found[key], random)
        case _:
            found[key] = _change_somewhere(found[key], random)
    return found


def _like(value: Any, random: Random) -> Any:
    """Return another value of the same type, which only its meaning can tell from a right one."""
    match value:
        case bool():
            return not value
        case int():
            return random.choice((value + 1, -value, value * 2, *INTEGERS))
        case float():
            return random.choice((-value, value * 1e9, value / 1e9, *_FLOATS))
        case str():
            return random.choice((value + "x", value.upper(), value * 40, *_TEXTS))
        case list():
            return random.choice((value * 2, value[:-1], value[::-1], value * 1000))
    return hostile_value(random)


def changed_json(content: bytes, random: Random) -> bytes:
    """Change a value of a JSON file."""
    try:
        found = json.loads(content)
    except ValueError:
        return damaged_bytes(content, random)
    if random.random() < 0.1:
        return b"\xef\xbb\xbf" + content
    for _ in range(random.choice((1, 1, 1, 3))):
        found = _change_somewhere(found, random)
    text = json.dumps(found, ensure_ascii=random.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def raw_json(content: bytes, random: Random) -> bytes:
    """Put text of JSON that no writer of tables makes in the place of a value."""
    hostile = (
        b"[" * 5000,
        b'{"x":' * 5000,
        b"NaN",
        b"-Infinity",
        b"9" * 5000,
        b"1e999",
        b'"\\ud800"',
        b"]",
        b"",
    )
    colons = [at for at, byte in enumerate(content) if byte in b":[,"]
    at = random.choice(colons) + 1 if colons else 0
    end = at + random.choice((0, 1, 3))
    return content[:at] + random.choice(hostile) + content[end:]


def changed_toml(content: bytes, random: Random) -> bytes:
    """Change a value of a TOML file."""
    try:
        found = tomllib.loads(content.decode())
        for _ in range(random.choice((1, 1, 1, 3))):
            found = _change_somewhere(found, random)
        return tomli_w.dumps(found).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, AttributeError, RecursionError):  # not a value that TOML has
        return raw_toml(content, random)


def raw_toml(content: bytes, random: Random) -> bytes:
    """Add text to a TOML file that no writer of tables makes."""
    hostile = (
        b"x = " + b"[" * 5000,
        b"x = " + b"{ x = " * 5000,
        b"x = " + b"9" * 5000,
        b"x = 1e999",
        b"x = 0001-01-01",
        b"x = 9999-12-31T23:59:60Z",
        b"[" + b"a." * 5000 + b"a]",
        b"a" + b".a" * 5000 + b" = 1",
        b"name = 'twice'",
        b"\n" * 200_000 + b"x = 1,5",
        b"x = " + b" " * 200_000 + b"1,5",
        b"x" + b".x" * 300_000 + b" = 1",
        b"\xff",
    )
    line = random.choice(hostile)
    return line + b"\n" + content if random.random() < 0.5 else content + b"\n" + line + b"\n"


def changed_lines(content: bytes, random: Random) -> bytes:
    """Change one line of a file of JSON lines, or which lines there are."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    match random.randrange(8):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[random.randrange(len(lines))])
        case 2:
            lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]
        case 3:
            lines[at] = raw_json(lines[at], random)
        case 4:
            lines = lines * random.choice((2, 100))
        case _:
            lines[at] = changed_json(lines[at], random)
    return b"\n".join(lines)


def changed_text(content: bytes, random: Random) -> bytes:
    """Put what does not belong into a text."""
    hostile = (
        *(text.encode("utf-8", "surrogatepass") for text in _TEXTS),
        b"{" * 20_000,
        b"<|" * 20_000,
        b"(" * 20_000,
        b"<|im_end|>",
        b"<|semantic:1|>",
        b"\xe2\x80\x8b\xc2\xad",
        "e\u0301\u202e".encode(),
        b"\n" * 300,
        b"\xa4\xcf",
        b"a" * 200_000,
    )
    match random.randrange(4):
        case 0:
            return random.choice((b"\xff\xfe", b"")) + content.decode("utf-8", "replace").encode("utf-16-le")
        case 1:
            return b"\xef\xbb\xbf" * random.choice((1, 2, 9)) + content
    at = random.randrange(len(content) + 1)
    return content[:at] + random.choice(hostile) + content[at:]


def changed_npy(content: bytes, random: Random) -> bytes:
    """Give an array another header, whatever its values are."""
    begin = 10 if content[6:7] == b"\x01" else 12
    end = begin + int.from_bytes(content[8:begin], "little")
    values = content[end:]
    descr = random.choice(
        ("<i8", "<i8", "<i4", "|u1", "<f8", "<i2", ">i8", "|O", "<U3", "|b1", "<i16", "i8", "<c16")
    )
    shapes = (
        "(10, 20)",
        "(10,)",
        "()",
        "(0, 0)",
        "(-1, 20)",
        "(10.0, 20)",
        "(10, 1e1)",
        "(20, 10)",
        "(1, 200)",
        "(9223372036854775807, 2)",
        "(4294967296, 4294967296)",
        "(10, 99999999999999999999999)",
        "(10, 20",
        "((10, 20))",
        "(10, 0)",
        "(True, 200)",
        "(2, 5, 20)",
        "[10, 20]",
        "(" * 900,
        "(" + "1," * 40 + "200)",
    )
    order = random.choice(("False", "False", "True", "None", "0"))
    shape = random.choice(shapes) if random.random() < 0.7 else f"({random.choice(INTEGERS)}, 20)"
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    if random.random() < 0.1:
        named = "{'descr': [('x', '<i8')], 'fortran_order': False, 'shape': (10, 20), }"
        header = random.choice(("{", header * 2, "", "9" * 5000, named, header.replace("shape", "s")))
    version = random.choice((1, 1, 1, 2, 3, 4))
    text = header.encode().ljust(118) + b"\n"
    length = len(text) if random.random() < 0.9 else random.choice(INTEGERS) % 65_536
    size = length.to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + values[: random.choice((None, None, 0, 7))]


def changed_safetensors(content: bytes, random: Random) -> bytes:
    """Change the header of a safetensors file: a number, a type, a place, or its length."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return damaged_bytes(content, random)
    values = content[8 + length :]
    names = [name for name in header if isinstance(header[name], dict) and "dtype" in header[name]]
    if not names:
        return damaged_bytes(content, random)
    entry = header[random.choice(names)]
    match random.randrange(7):
        case 0:
            entry["dtype"] = random.choice(
                ("F16", "BF16", "F64", "I64", "F8_E4M3", "F8_E5M2", "BOOL", "C64", "U8", "x")
            )
        case 1:
            entry["shape"] = random.choice(([], [0], [2**62, 4], entry["shape"][::-1], [*entry["shape"], 1]))
        case 2:
            entry["data_offsets"] = random.choice(([0, 0], [0, 2**63], [8, 4], entry["data_offsets"][::-1]))
        case 3:
            header[random.choice(("x", "__metadata__", "a.lora_A.weight", "\0"))] = header.pop(
                random.choice(names)
            )
        case 4:
            size = entry["data_offsets"][1] - entry["data_offsets"][0]
            special = random.choice(
                (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f")
            )  # NaN, infinite, largest
            at = entry["data_offsets"][0]
            values = values[:at] + (special * (size // 4 + 1))[:size] + values[at + size :]
        case _:
            header = _change_somewhere(header, random)
    text = json.dumps(header).encode()
    stated = len(text) if random.random() < 0.9 else random.choice(INTEGERS) % 2**64
    return stated.to_bytes(8, "little") + text + values


def changed_ranks(content: bytes, random: Random) -> bytes:
    """Change, remove, repeat or add tokens of a file of ranks."""
    lines = content.splitlines(keepends=True)
    at = random.randrange(len(lines)) if lines else 0
    hostile = (
        *(
            b"QQ== " + rank + b"\n"
            for rank in (b"-1", b"4294967296", b"1_0", b"x", b"9" * 20, b"65", b" 65", b"")
        ),
        *(b"= 7\n", b"Q 1\n", b"//// 271\n", b"\xff 3\n", b" 5\n", b"QQ==\n"),
    )
    match random.randrange(5):
        case 0:
            del lines[at : at + random.choice((1, 1, 20))]
        case 1:
            lines.insert(at, random.choice(lines or [b"\n"]))
        case 2 if lines:
            lines[at] = random.choice(hostile)
        case 3 if lines:
            token, _, _ = lines[at].partition(b" ")
            lines[at] = token + b" " + str(random.choice((*INTEGERS, random.randrange(300)))).encode() + b"\n"
        case _:
            lines.insert(at, random.choice(hostile))
    return b"".join(lines)
