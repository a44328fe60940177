"""Weights files that are damaged or made to exhaust memory or time are refused at once, in a sentence."""

from __future__ import annotations

import collections
import errno
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from fishtune.core.compute import weights
from fishtune.core.compute.weights import (
    load_strict,
    read_archive,
    read_state_dict,
    refuse_not_finite,
    save_archive,
    system_error,
)
from fishtune.core.errors import CheckpointError, FishtuneError, StorageError
from fishtune.core.lora.files import read_adapter, read_training_state
from fishtune.core.model.containers.pth import locate_tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

_PROTO, _STOP = b"\x80\x02", b"."


def archive(file: Path, content: bytes, compression: int = zipfile.ZIP_STORED, **more: bytes) -> Path:
    """Write an archive as torch does, with `content` as its list of tensors and other entries."""
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("archive/data.pkl", content)
        for name, data in {"version": b"3\n", "byteorder": b"little"}.items():
            made.writestr(f"archive/{name}", more.pop(name, data))
        for name, data in more.items():
            made.writestr(f"archive/data/{name.removeprefix('_')}", data)
    return file


def doubled(levels: int) -> bytes:
    """Return instructions for tuples that hold one another twice: 2 ** levels leaves in a few bytes."""
    steps = (b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(levels))
    return b")q\x00" + b"".join(steps)


def call(name: str, *arguments: bytes) -> bytes:
    """Return instructions for a call."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def number(value: int) -> bytes:
    """Return the instruction for an integer."""
    size = (value.bit_length() + 8) // 8
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def text(value: str) -> bytes:
    """Return the instruction for a text."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


PICKLES = {
    "tuples as a key": b"}" + doubled(60) + b"K\x01s",
    "tuples as a value": b"}X\x01\x00\x00\x00a" + doubled(60) + b"s",
    "tuples that are called": doubled(60) + b")R",
    "tuples as a storage": doubled(60) + b"Q",
    "tuples as an argument": call("collections.OrderedDict", doubled(60)),
    "a list in itself": b"]q\x00h\x00a",
    "deep lists": b"]" * 5000 + b"a" * 4999,
    "deep tuples": b")" + b"\x85" * 100_000,
    "many values": b"](" + b"N" * 400_000 + b"e",
    "many instructions": b"N" * 2_000_000,
    "a long text, held often": b"](" + text("a" * 1_000_000) + b"q\x00" + b"h\x00" * 50_000 + b"e",
    "a gigantic array of bytes": call("builtins.bytearray", number(10**12)),
    "a gigantic tensor": call("torch.FloatTensor", number(10**12)),
    "a gigantic quantised tensor": call("torch._utils._rebuild_qtensor", b")", b")", number(10**12)),
    "a gigantic storage": b"("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("0")
    + text("cpu")
    + number(10**15)
    + b"tQ",
    "a quadratic encoding": call("_codecs.encode", text("a" * 100_000), text("idna")),
    "a dict that answers for itself": call("collections.OrderedDict") + b"}" + text("keys") + b"K\x01sb",
    "an unknown instruction": b"\xff",
    "nothing on the stack": b"R",
    "no end of a mark": b"t",
    "an unset memo": b"h\x07",
    "an array of NumPy": call("numpy.core.multiarray._reconstruct", b")"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_list_of_tensors_that_no_file_of_weights_has_is_refused_before_it_is_followed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", pytest.fail)
    with pytest.raises(CheckpointError) as caught:
        read_archive(archive(tmp_path / "model.pth", _PROTO + PICKLES[name] + _STOP))
    assert "model.pth" in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.hint


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused_by_its_directory(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "a.pth", bytes(64 << 20), zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match=r"a\.pth has compressed entries"):
        read_archive(bomb)
    for entry in ("version", "byteorder"):
        with pytest.raises(CheckpointError, match=f"The entry {entry} of .* has 100,000 bytes"):
            read_archive(archive(tmp_path / "b.pth", b"", **{entry: bytes(100_000)}))
    with pytest.raises(CheckpointError, match=r"The list of tensors in .*c\.pth has 20,000,000 bytes"):
        read_archive(archive(tmp_path / "c.pth", bytes(20_000_000)))


def test_a_directory_that_two_readers_may_read_differently_is_refused(golden: Path, tmp_path: Path) -> None:
    whole = (golden / "base/model.pth").read_bytes()
    (tmp_path / "model.pth").write_bytes(whole + b"behind")
    with pytest.raises(CheckpointError, match=r"cannot be read as weights"):
        read_archive(tmp_path / "model.pth")
    (tmp_path / "model.pth").write_bytes(b"before" + whole)
    with pytest.raises(CheckpointError, match=r"cannot be read as weights"):
        read_archive(tmp_path / "model.pth")
    with zipfile.ZipFile(tmp_path / "twice.pth", "w") as made:
        made.writestr("archive/data.pkl", _PROTO + b"}" + _STOP)
        made.writestr("archive/DATA.pkl", _PROTO + b"N" + _STOP)
    with pytest.raises(CheckpointError, match="has two entries of one name"):
        read_archive(tmp_path / "twice.pth")


def test_what_training_and_other_tools_store_beside_weights_is_read(tmp_path: Path) -> None:
    adam = torch.optim.AdamW(nn.Linear(3, 3).parameters())
    adam.step(lambda: torch.zeros(1))
    shared = (0.9, 0.999)
    content = {
        "state_dict": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).state_dict(),
        "weight": nn.Parameter(torch.ones(2)),
        "optimizer_states": [adam.state_dict()],
        "betas": [shared, shared],
        "counts": collections.Counter("aab"),
        "epochs": {1, 2},
        "dtype": torch.bfloat16,
        "size": torch.Size([1, 2]),
        "rate": 1e-4,
        "large": 2**70,
        "unsigned": torch.arange(3).to(torch.uint16),
        "empty": torch.zeros(0),
    }
    torch.save(content, tmp_path / "a.ckpt")
    read = read_archive(tmp_path / "a.ckpt")
    assert read.keys() == content.keys()
    assert read["counts"] == content["counts"]
    torch.testing.assert_close(read["state_dict"], content["state_dict"])


UNUSABLE = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "without numbers": lambda: torch.empty(3, 3, device="meta"),
    "share memory": lambda: torch.ones(1).expand(3, 3),
    "share memory ": lambda: torch.ones(5).as_strided((3, 3), (1, 1)),
    "negated": lambda: torch._neg_view(torch.ones(3, 3)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", UNUSABLE)
def test_a_tensor_that_no_weight_can_be_is_named(tmp_path: Path, what: str) -> None:
    torch.save({"good": torch.ones(2), "layers.0.bad": UNUSABLE[what]()}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=rf"layers\.0\.bad.*{what.strip()}"):
        read_state_dict(tmp_path / "model.pth")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.int8, torch.bool])
def test_a_weight_of_another_kind_of_number_is_named(tmp_path: Path, dtype: torch.dtype) -> None:
    module = nn.Linear(2, 2, bias=False)
    torch.save({"weight": torch.ones(2, 2).to(dtype)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="1 of another kind of number: weight"):
        load_strict(module, read_state_dict(tmp_path / "model.pth"), tmp_path / "model.pth")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_none_is_found_and_large_sums_are_not_taken_for_one(
    dtype: torch.dtype, value: float
) -> None:
    large = torch.full((300, 300), torch.finfo(dtype).max / 2, dtype=dtype)
    refuse_not_finite([("large", large)], Path("model.pth"))
    large[150, 7] = value
    with pytest.raises(CheckpointError, match="bad holds numbers that are infinite or not a number"):
        refuse_not_finite([("bad", large)], Path("model.pth"))


@pytest.mark.parametrize("names", [{1: torch.ones(1)}, {("a", "b"): torch.ones(1)}, {None: torch.ones(1)}])
def test_tensors_without_a_name_are_refused(tmp_path: Path, names: dict[Any, torch.Tensor]) -> None:
    torch.save(names, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="non-tensor values"):
        read_adapter(tmp_path / "a.ckpt")


@pytest.mark.parametrize("entry", ["preset", "identity", "settings"])
def test_a_nested_state_of_training_is_refused_at_once(tmp_path: Path, entry: str) -> None:
    content = text("state_dict") + b"}s" + text("fishtune") + b"}" + text(entry) + doubled(40) + b"ss"
    file = archive(tmp_path / "a.ckpt", _PROTO + b"}" + content + _STOP)
    with pytest.raises(CheckpointError, match=r"a\.ckpt holds more than [\d,]+ values beside its numbers"):
        read_training_state(file)


def test_storages_in_another_order_than_torch_writes_them_are_never_edited(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(4), "b": torch.zeros(4)}, tmp_path / "model.pth")
    assert locate_tensors(tmp_path / "model.pth").keys() == {"a", "b"}
    with zipfile.ZipFile(tmp_path / "model.pth") as made:
        entries = {name: made.read(name) for name in made.namelist()}
    with zipfile.ZipFile(tmp_path / "swapped.pth", "w") as made:
        for name in sorted(entries, reverse=True):
            made.writestr(name, entries[name])
    with pytest.raises(CheckpointError, match=r"swapped\.pth"):
        locate_tensors(tmp_path / "swapped.pth")


class _Full(io.RawIOBase):
    """A disk that fails after so many bytes."""

    def __init__(self, room: int, number: int) -> None:
        self.room, self.number = room, number

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.room -= len(content)
        if self.room < 0:
            raise OSError(self.number, os.strerror(self.number))
        return len(content)


@pytest.mark.parametrize("room", [0, 100, 5000])
@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "The disk is full"), (errno.EIO, "Input/output error")]
)
def test_a_full_or_failing_disk_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, number: int, message: str
) -> None:
    opened = Path.open

    def failing(self: Path, mode: str = "r", *more: Any, **keywords: Any) -> IO[Any]:
        if "w" in mode:
            opened(self, mode, *more, **keywords).close()
            return _Full(room, number)  # type: ignore[return-value]
        return opened(self, mode, *more, **keywords)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(StorageError, match=message):
        save_archive({"a": torch.ones(5000)}, tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("unable to mmap 1000 bytes from file <a>: Cannot allocate memory (12)", errno.ENOMEM),
        ("Error while serializing: I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ('IoError(Os { code: 28, kind: StorageFull, message: "No space left" })', errno.ENOSPC),
        ("PytorchStreamReader failed finding central directory", None),
    ],
)
def test_errors_of_the_system_are_known_in_the_words_of_libraries(said: str, number: int | None) -> None:
    found = system_error(RuntimeError(said))
    assert (found.errno if found is not None else None) == number


def test_too_little_memory_to_map_a_file_says_nothing_about_the_file(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise RuntimeError("unable to mmap 339161 bytes from file <model.pth>: Cannot allocate memory (12)")

    monkeypatch.setattr(weights.torch, "load", load)
    with pytest.raises(StorageError, match="there is not enough memory"):
        read_archive(golden / "base/model.pth")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("small") / "model.pth"
    torch.save(
        {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(3).bfloat16(), "c": [1, "x", (2.0,)]}, file
    )
    return file


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_is_changed_in_a_file_it_is_read_or_refused_in_a_sentence(
    small: Path, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(small.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    file = small.with_name("changed.pth")
    file.write_bytes(content)
    try:
        read_state_dict(file)
    except FishtuneError as error:
        assert "changed.pth" in error.message


@settings(max_examples=100, deadline=None)
@given(
    content=st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.tuples(inner, inner)
    )
)
def test_plain_values_of_any_kind_are_read_as_they_were_written(small: Path, content: Any) -> None:
    file = small.with_name("plain.pth")
    torch.save({"content": content}, file)
    assert read_archive(file) == {"content": content}


def test_no_pickle_alone_is_taken_for_an_archive(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(CheckpointError, match=r"no torch\.save archive"):
        read_archive(tmp_path / "model.pth")


def test_a_pipe_in_place_of_weights_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="is a named pipe, not a file"):
        read_archive(tmp_path / "model.pth")
