"""Containers of weights: what each of them can do, and what in a file none of them believes."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.compute.safetensors_header import LARGEST_HEADER, inspect_safetensors
from fishtune.core.errors import CheckpointError, FishtuneError
from fishtune.core.files import sha256
from fishtune.core.model.containers.container import (
    Container,
    WeightsEditor,
    WeightsReader,
    combined_sha256,
    split_rows,
)
from fishtune.core.model.containers.pth import PthContainer
from fishtune.core.model.containers.safetensors import SafetensorsContainer, ShardedContainer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
INDEX = "model.safetensors.index.json"


def tensors() -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "a.weight": ((7, 5), torch.bfloat16),
        "a.bias": ((7,), torch.float32),
        "b.weight": ((3, 4, 2), torch.float16),
        "c.weight": ((64, 16), torch.float32),
        "empty": ((0, 4), torch.float32),
    }
    return {
        name: torch.randn(shape, generator=generator).to(dtype) for name, (shape, dtype) in shapes.items()
    }


def write_pth(folder: Path, content: Tensors) -> Container:
    torch.save({"state_dict": content}, folder / "model.pth")
    return PthContainer(folder, "model.pth")


def write_single(folder: Path, content: Tensors) -> Container:
    save_file(content, folder / "model.safetensors", metadata={"format": "pt"})
    return SafetensorsContainer(folder, "model.safetensors")


def write_shards(folder: Path, content: Tensors) -> Container:
    parts: list[Tensors] = [{}, {}]
    for number, (name, tensor) in enumerate(content.items()):
        parts[number % 2][name] = tensor
    weight_map = {}
    for number, part in enumerate(parts, start=1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file(part, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return ShardedContainer(folder, INDEX)


def read_independently(folder: Path) -> Tensors:
    if (folder / "model.pth").exists():
        with zipfile.ZipFile(folder / "model.pth") as archive:
            assert archive.testzip() is None
        found: Tensors = torch.load(folder / "model.pth")["state_dict"]
        return found
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    return found


every_container = pytest.mark.parametrize("write", [write_pth, write_single, write_shards])
Write = Callable[[Path, Tensors], Container]


@every_container
def test_names_shapes_and_types_are_known_without_reading_a_tensor(tmp_path: Path, write: Write) -> None:
    container = write(tmp_path, tensors())
    found = {name: (place.shape, place.dtype) for name, place in container.locations.items()}
    assert found == {name: (tensor.shape, tensor.dtype) for name, tensor in tensors().items()}


@every_container
def test_tensors_are_mapped_as_they_are_stored(tmp_path: Path, write: Write) -> None:
    found = write(tmp_path, tensors()).tensors()
    assert found.keys() == tensors().keys()
    assert all(found[name].dtype == t.dtype and found[name].equal(t) for name, t in tensors().items())


@every_container
def test_what_is_written_to_a_mapped_tensor_stays_in_memory(tmp_path: Path, write: Write) -> None:
    container = write(tmp_path, tensors())
    container.tensors()["a.weight"].zero_()
    assert read_independently(tmp_path)["a.weight"].equal(tensors()["a.weight"])


@every_container
def test_mapping_takes_no_memory_for_what_is_not_looked_at(tmp_path: Path, write: Write) -> None:
    container = write(tmp_path, {"large": torch.ones(1 << 24), "small": torch.ones(4)})
    before = resident_bytes()
    mapped = container.tensors()
    assert mapped["small"].sum() == 4
    assert resident_bytes() - before < 32 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@every_container
def test_rows_are_read_into_memory_of_their_own(tmp_path: Path, write: Write) -> None:
    with WeightsReader(write(tmp_path, tensors())) as reader:
        assert reader.read_rows("c.weight", 10, 3).equal(tensors()["c.weight"][10:13])
        assert reader.read_rows("b.weight", 2, 1).equal(tensors()["b.weight"][2:])


@every_container
def test_replaced_rows_are_all_that_changes_in_a_copy(tmp_path: Path, write: Write) -> None:
    (tmp_path / "base").mkdir()
    container = write(tmp_path / "base", tensors())
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in container.files:
        (copy / file.name).write_bytes(file.read_bytes())
    rows = torch.arange(10.0).view(2, 5)
    with WeightsEditor(container.of(copy)) as editor:
        editor.write_rows("a.weight", 3, rows)
        editor.write_rows("b.weight", 0, torch.zeros(3, 4, 2))
    expected = tensors()
    expected["a.weight"][3:5] = rows.bfloat16()
    expected["b.weight"].zero_()
    found = read_independently(copy)
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == t.dtype and found[name].equal(t) for name, t in expected.items())
    assert read_independently(tmp_path / "base")["a.weight"].equal(tensors()["a.weight"])
    for file in container.files:
        old, new = file.read_bytes(), (copy / file.name).read_bytes()
        changed = sum(one != other for one, other in zip(old, new, strict=True))
        assert changed <= 20 + 48 + (
            16 if file.suffix == ".pth" else 0
        )  # the rows, and checksums beside them
        if file.name == INDEX:
            assert old == new


@every_container
def test_the_hash_of_all_files_follows_each_of_them(tmp_path: Path, write: Write) -> None:
    container = write(tmp_path, tensors())

    def digest() -> str:
        return combined_sha256({file.name: sha256(file) for file in container.files})

    first = digest()
    if len(container.files) == 1:
        assert first == sha256(container.path)
    with WeightsEditor(container) as editor:
        editor.write_rows("c.weight", 0, torch.zeros(1, 16))
    assert digest() != first


def test_rows_of_one_tensor_are_dealt_to_the_parts_it_is_stored_in(tmp_path: Path) -> None:
    container = write_single(
        tmp_path, {"q": torch.zeros(4, 2), "k": torch.zeros(2, 2), "v": torch.zeros(2, 2)}
    )
    rows = torch.arange(10.0).view(5, 2)
    dealt = [
        (n, first, part[:, 0].tolist()) for n, first, part in split_rows(container.locations, "qkv", 2, rows)
    ]
    assert dealt == [("q", 2, [0, 2]), ("k", 0, [4, 6]), ("v", 0, [8])]


def write_header(path: Path, header: Any, content: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + content)


def entry(dtype: Any = "F32", shape: Any = (2,), begin: Any = 0, end: Any = 8, **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


HOSTILE: dict[str, tuple[Any, bytes, str]] = {
    "overlapping": ({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12), "over another tensor"),
    "the same place": ({"a": entry(), "b": entry()}, bytes(8), "over another tensor"),
    "a gap": ({"a": entry(), "b": entry(begin=16, end=24)}, bytes(24), "belong to no tensor"),
    "a gap in front": ({"a": entry(begin=8, end=16)}, bytes(16), "belong to no tensor"),
    "bytes at the end": ({"a": entry()}, bytes(9), "at its end"),
    "cut short": ({"a": entry()}, bytes(7), "is cut short"),
    "beyond the file": ({"a": entry(shape=(1 << 40,), end=4 << 40)}, bytes(8), "is cut short"),
    "another size": ({"a": entry(shape=(3,))}, bytes(8), "another number of bytes"),
    "an overflowing shape": (
        {"a": entry(shape=(1 << 62, 1 << 62, 2))}, bytes(8), "another number of bytes",
    ),
    "backwards": ({"a": entry(begin=8, end=0)}, bytes(8), "another number of bytes"),
    "negative": ({"a": entry(begin=-8, end=0)}, bytes(8), "shape or place"),
    "a negative size": ({"a": entry(shape=(-2, -1))}, bytes(8), "shape or place"),
    "a size that is a truth": ({"a": entry(shape=(True, 2))}, bytes(8), "shape or place"),
    "a size that is a fraction": ({"a": entry(shape=(2.0,))}, bytes(8), "shape or place"),
    "three offsets": ({"a": {**entry(), "data_offsets": [0, 4, 8]}}, bytes(8), "another number of bytes"),
    "very many dimensions": ({"a": entry(shape=[1] * 1000 + [2])}, bytes(8), "shape or place"),
    "an unknown type": ({"a": entry(dtype="F8_E4M3")}, bytes(8), "'F8_E4M3', a kind of number"),
    "a type that is no text": ({"a": entry(dtype=["F32"])}, bytes(8), "a kind of number"),
    "an odd place": (
        {"a": entry("U8", (1,), 0, 1), "b": entry("F32", (1,), 1, 5)}, bytes(5), "at an odd place",
    ),
    "a key twice": (
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
        b' "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8), "'a' stands twice",
    ),
    "an offset twice": (
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "data_offsets": [0, 8]}}',
        bytes(8), "'data_offsets' stands twice",
    ),
    "more keys": ({"a": entry(more=1)}, bytes(8), "does not describe a as a tensor"),
    "no table": ({"a": 3}, bytes(8), "does not describe a as a tensor"),
    "a list": ([1], b"", "does not list tensors"),
    "very deep": (b"[" * 100_000, b"", "deep in one another"),
    "no JSON": (b"\x80\x02}", b"", "is not valid JSON"),
    "a huge number": (b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b"]}}", b"", "digits"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_is_not_so_is_refused_before_torch_sees_a_byte(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, content, message = HOSTILE[name]
    write_header(tmp_path / "model.safetensors", header, content)
    monkeypatch.setattr(torch, "frombuffer", lambda *_, **__: pytest.fail("torch was given the file"))
    with pytest.raises(CheckpointError, match=message) as caught:
        SafetensorsContainer(tmp_path, "model.safetensors").tensors()
    assert "model.safetensors" in caught.value.message and len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (LARGEST_HEADER + 1, "cut short"),
        (2**63, "cut short"),
        (2**64 - 1, "cut short"),
        (9, "JSON|cut short"),
    ],
)
def test_a_header_of_a_length_that_no_file_has_is_refused(tmp_path: Path, length: int, message: str) -> None:
    write_header(tmp_path / "x", {"a": entry()}, bytes(8), length)
    with pytest.raises(CheckpointError, match=message):
        inspect_safetensors(tmp_path / "x")


def test_a_large_header_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.write(struct.pack("<Q", 1 << 40))
        file.truncate((1 << 40) + 8)  # sparse: takes no room
    with pytest.raises(CheckpointError, match="more than any file of weights"):
        inspect_safetensors(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_what_has_no_room_for_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match="is cut short or is not a safetensors file"):
        inspect_safetensors(tmp_path / "x")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="gone"):
        inspect_safetensors(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="is a folder"):
        inspect_safetensors(tmp_path)


BAD_INDEXES: dict[str, tuple[Any, str]] = {
    "a folder above": ({"weight_map": {"a": "../other.safetensors"}}, "not a shard beside it"),
    "an absolute path": ({"weight_map": {"a": "/etc/x.safetensors"}}, "not a shard beside it"),
    "a subfolder": ({"weight_map": {"a": "x/y.safetensors"}}, "not a shard beside it"),
    "a backslash": ({"weight_map": {"a": "..\\y.safetensors"}}, "not a shard beside it"),
    "another kind of file": ({"weight_map": {"a": "model.pth"}}, "not a shard beside it"),
    "itself": ({"weight_map": {"a": INDEX}}, "not a shard beside it"),
    "no map": ({"metadata": {}}, "does not say which tensor"),
    "an empty map": ({"weight_map": {}}, "does not say which tensor"),
    "a number": ({"weight_map": {"a": 1}}, "does not say which tensor"),
    "a list": ([1], "does not say which tensor"),
    "very many": ({"weight_map": {f"{n}": f"{n}.safetensors" for n in range(1001)}}, "1,001 shards"),
    "a missing shard": ({"weight_map": {"a": "gone.safetensors"}}, "gone.safetensors"),
    "a tensor that is not there": (
        {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}},
        "disagree on where tensors lie: c",
    ),
    "a tensor that is elsewhere": (
        {"weight_map": {"a": "two.safetensors", "b": "one.safetensors"}}, "tensors lie: a, b",
    ),
    "a tensor left out": ({"weight_map": {"b": "two.safetensors"}}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INDEXES)
def test_an_index_that_is_not_so_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_INDEXES[name]
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "two.safetensors")
    (tmp_path / INDEX).write_text(json.dumps(content))
    container = ShardedContainer(tmp_path, INDEX)
    if message is None:  # a shard that the index does not name is not part of it
        assert container.locations.keys() == {"b"}
        return
    with pytest.raises(CheckpointError, match=message):
        container.tensors()


def test_a_tensor_that_lies_in_two_shards_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "c": torch.ones(2)}, tmp_path / "one.safetensors")
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "two.safetensors")
    weight_map = {"c": "one.safetensors", "b": "two.safetensors"}
    for first in ("one", "two"):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map | {"a": f"{first}.safetensors"}}))
        with pytest.raises(CheckpointError, match="tensors lie: a"):
            ShardedContainer(tmp_path, INDEX).tensors()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), content=st.binary(min_size=1, max_size=12))
def test_damage_anywhere_gives_tensors_or_one_kind_of_error(
    tmp_path: Path, place: int, content: bytes
) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(3, 2), "b": torch.ones(5)}, file, metadata={"format": "pt"})
    damaged = bytearray(file.read_bytes())
    damaged[place : place + len(content)] = content
    file.write_bytes(damaged)
    try:
        found = SafetensorsContainer(tmp_path, file.name).tensors()
    except FishtuneError as error:
        assert str(file) in error.message
        return
    assert sum(tensor.numel() * tensor.element_size() for tensor in found.values()) <= len(damaged)
