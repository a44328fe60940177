"""Follows a pickle's instructions with sizes in place of objects, before torch follows them in earnest.

torch's list of allowed names keeps a pickle from running code. It does not keep it from taking all memory or
time: a list of tensors may allocate what it likes (`bytearray(10**12)`), and tuples that hold one another
twice, forty deep, are a tree of a million million leaves to everything that walks, compares or prints them.
No torch here.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from ..errors import CheckpointError
from ..messages import Message

_MOST_INSTRUCTIONS: Final = 1 << 19
_MOST_VALUES: Final = 1 << 18
"""Of a whole pickle, what is held twice counted twice. A checkpoint with optimizer state has some 30,000."""
_MOST_WORK: Final = 1 << 23
_DEEPEST: Final = 64

_ITEM_BYTES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "Untyped"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
_STORAGE = re.compile(r"torch\.(?:storage\.)?(\w+)Storage")
_DTYPE = re.compile(r"torch\.(?:b?float|u?int|complex|bool|double|half|long|short)\w*")
_PLAIN = {"builtins.complex", "torch.Size", "torch.device"}
_DICTS = {"collections.OrderedDict", "collections.Counter"}
_TENSOR = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")
_PARAMETER = "torch._utils._rebuild_parameter"
_UNUSABLE = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch.serialization._get_layout": "sparse",
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": Message("without numbers (on the meta device)"),
    "torch._utils._rebuild_wrapper_subclass": Message("of a class of its own"),
    "torch._utils._rebuild_parameter_with_state": Message("of a class of its own"),
    "torch._tensor._rebuild_from_type_v2": Message("of a class of its own"),
    "torch._utils._rebuild_device_tensor_from_numpy": Message("on another device"),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": Message("on another device"),
}
"""Ways in which a tensor may be stored that no weight is, in words."""


AGAIN = Message("Download or copy it again. A file from before torch 1.6 must be loaded and saved once more.")
_DISTRUST = Message("Do not trust this file: get the weights from where they were published.")


def damaged(path: Path) -> CheckpointError:
    """Return the error for a file that is no whole `torch.save` archive."""
    return CheckpointError(
        "{file} cannot be read as weights ({size:,} bytes): it is cut short, or no torch.save archive.",
        AGAIN,
        file=path,
        size=path.stat().st_size,
    )


def hostile(message: str) -> CheckpointError:
    """Return the error for a file that is made otherwise than any file of weights."""
    return CheckpointError(message, _DISTRUST)


@dataclass(slots=True, eq=False)
class _Value:
    """What an object would be."""

    kind: str
    content: Any = None
    """Of a tuple its values, of a dict its keys that are texts, of texts and integers themselves."""
    size: int = 1
    """Values in it, itself included, what is held twice counted twice."""
    depth: int = 0
    closed: bool = False
    """It lies in another one or in the memo's hands: nothing may be put into it any more."""


@dataclass
class Instructions:
    """Follows a pickle as torch would."""

    path: Path
    entries: dict[str, zipfile.ZipInfo]
    stack: list[_Value] = field(default_factory=list)
    below: list[list[_Value]] = field(default_factory=list)
    memo: dict[int, _Value] = field(default_factory=dict)
    storages: dict[str, None] = field(default_factory=dict)
    work: int = 0

    def follow(self, content: bytes) -> list[str]:
        """Return the keys of the storages, in the order in which torch meets them."""
        try:
            for number, (code, argument, _) in enumerate(pickletools.genops(content)):
                if number > _MOST_INSTRUCTIONS:
                    raise hostile(
                        Message(
                            "The list of tensors in {file} has over {limit:,} instructions.",
                            file=self.path,
                            limit=_MOST_INSTRUCTIONS,
                        )
                    )
                self._step(code.name, argument)
        except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
            raise damaged(self.path) from error
        return list(self.storages)

    def _step(self, code: str, argument: Any) -> None:
        match code:
            case "BINGET" | "LONG_BINGET":
                value = self.memo[argument]
                value.closed = True
                self.stack.append(value)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINUNICODE":
                self.stack.append(_Value("text", argument, 1 + len(argument) // 16))
            case "BININT" | "BININT1" | "BININT2" | "LONG1":
                self.stack.append(_Value("integer", argument))
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "BINFLOAT" | "SHORT_BINSTRING":
                self.stack.append(_Value("plain", code))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_SET":
                self.stack.append(_Value(code.removeprefix("EMPTY_").lower(), set()))
            case "EMPTY_TUPLE":
                self.stack.append(_Value("tuple", ()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._tuple([self.stack.pop() for _ in range(int(code[-1]))][::-1])
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "TUPLE":
                self._tuple(self._since_mark())
            case "APPEND" | "APPENDS":
                items = [self.stack.pop()] if code == "APPEND" else self._since_mark()
                self._put(self._top("list"), items)
            case "SETITEM" | "SETITEMS":
                items = (
                    [self.stack.pop(), self.stack.pop()][::-1] if code == "SETITEM" else self._since_mark()
                )
                self._set_items(items)
            case "GLOBAL":
                self._global(*argument.split(" ", 1))
            case "REDUCE" | "NEWOBJ":
                arguments, function = self.stack.pop(), self.stack.pop()
                if function.kind != "global" or arguments.kind != "tuple":
                    raise damaged(self.path)
                self.stack.append(self._call(function.content, arguments))
            case "BUILD":
                state = self.stack.pop()
                # Attributes of a dict: torch notes versions of modules there, and nothing else.
                if state.kind != "dict" or not state.content <= {"_metadata"}:
                    raise damaged(self.path)
                self._put(self._top("dict"), [state])
            case "BINPERSID":
                self._storage(self.stack.pop())
            case "STOP":
                self.stack.pop()
            case "PROTO" if argument == 2:
                pass
            case _:
                raise damaged(self.path)

    def _top(self, kind: str) -> _Value:
        value = self.stack[-1]
        if value.kind != kind:
            raise damaged(self.path)
        return value

    def _since_mark(self) -> list[_Value]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _tuple(self, items: Sequence[_Value]) -> None:
        value = _Value("tuple", tuple(items))
        self._put(value, items)
        self.stack.append(value)

    def _set_items(self, items: list[_Value]) -> None:
        value = self._top("dict")
        keys = items[::2]
        if len(items) % 2 or any(key.kind in ("dict", "list", "set") for key in keys):
            raise damaged(self.path)
        value.content |= {key.content for key in keys if key.kind == "text"}
        # A key of another kind leaves a trace too: a dict with such a key is not empty.
        value.content |= {key.kind for key in keys if key.kind != "text"}
        self._put(value, items)

    def _put(self, holder: _Value, items: Sequence[_Value]) -> None:
        if holder.closed:
            raise hostile(Message("{file} has a list or table that holds itself.", file=self.path))
        for item in items:
            item.closed = True
            holder.size += item.size
            holder.depth = max(holder.depth, item.depth + 1)
            self.work += item.size
        if holder.depth > _DEEPEST:
            raise hostile(
                Message(
                    "{file} has values that lie more than {limit} deep in one another.",
                    file=self.path,
                    limit=_DEEPEST,
                )
            )
        if holder.size > _MOST_VALUES or self.work > _MOST_WORK:
            raise hostile(
                Message(
                    "{file} holds more than {limit:,} values beside its numbers.",
                    file=self.path,
                    limit=_MOST_VALUES,
                )
            )

    def _global(self, module: str, name: str) -> None:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        storage = _STORAGE.fullmatch(full)
        if (
            full in {*_PLAIN, *_DICTS, *_TENSOR, _PARAMETER, *_UNUSABLE, "builtins.set", "_codecs.encode"}
            or (storage is not None and (storage[1] in _ITEM_BYTES or storage[1].startswith("Q")))
            or _DTYPE.fullmatch(full)
        ):
            self.stack.append(_Value("global", full))
            return
        raise CheckpointError(
            "{file} holds more than weights; nothing in it was executed (it asks for {object}).",
            _DISTRUST,
            file=self.path,
            object=full.removeprefix("builtins."),
        )

    def _call(self, name: str, arguments: _Value) -> _Value:
        """Return what torch would make of a call; refuse what no file of weights has."""
        values: tuple[_Value, ...] = arguments.content
        if name in _UNUSABLE:
            raise self._unusable(_UNUSABLE[name])
        if name in _TENSOR:
            hooks, *more = values[5:]
            if values[0].kind != "storage" or hooks.kind != "dict" or hooks.content:
                raise damaged(self.path)
            if any(value.kind == "dict" and value.content for value in more):
                raise self._unusable(Message("marked as negated or conjugated"))
            return _Value("tensor")
        if name == _PARAMETER:
            if (
                len(values) != 3
                or values[0].kind != "tensor"
                or values[2].kind != "dict"
                or values[2].content
            ):
                raise damaged(self.path)
            return _Value("tensor")
        if name in _DICTS:
            if values and name != "collections.Counter":
                raise damaged(self.path)
            made = _Value("dict", {"counts"} if values else set())
        elif name == "_codecs.encode":  # bytes, as old versions of the protocol write them
            if len(values) != 2 or values[1].content != "latin1":
                raise damaged(self.path)
            made = _Value("plain")
        elif name in _PLAIN or name == "builtins.set":
            made = _Value("plain")
        else:
            raise damaged(self.path)
        self._put(made, values)
        return made

    def _unusable(self, how: str) -> CheckpointError:
        texts = [
            value.content for level in (*self.below, self.stack) for value in level if value.kind == "text"
        ]
        name = texts[-1] if texts else Message("a tensor")
        return CheckpointError(
            "{file} stores {name} as a tensor that is {how}.",
            "Weights are dense tensors: load the file with torch, convert them, and save it again.",
            file=self.path,
            name=name,
            how=how,
        )

    def _storage(self, named: _Value) -> None:
        what, kind, key, _, count = named.content
        if (what.content, kind.kind, key.kind, count.kind) != ("storage", "global", "text", "integer"):
            self._refuse_storage()
        match = _STORAGE.fullmatch(kind.content)
        if match is not None and match[1] not in _ITEM_BYTES:
            raise self._unusable("quantised")
        entry = self.entries.get(f"data/{key.content}")
        if match is None or entry is None or count.content * _ITEM_BYTES[match[1]] != entry.file_size:
            self._refuse_storage()
        self.storages[key.content] = None
        self.stack.append(_Value("storage"))

    def _refuse_storage(self) -> NoReturn:
        raise CheckpointError(
            "{file} does not hold as many numbers as its list of tensors says.",
            "It is damaged: download or copy it again.",
            file=self.path,
        )
