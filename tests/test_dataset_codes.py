"""Codes on disk: what counts as done, and that writing is whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import re
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.dataset import codes as module
from fishtune.core.dataset import origins as origins_module
from fishtune.core.dataset.codes import CodesState, judge_codes, read_codes, write_codes
from fishtune.core.dataset.headers import whole_codes_shape
from fishtune.core.dataset.origins import RECORD_FILE, FileState, Origin, append_origins, origin_of
from fishtune.core.errors import DataError, StorageError
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = (64, *[32] * 9)


@pytest.fixture
def clip(tmp_path: Path) -> tuple[Path, Path]:
    audio, codes = tmp_path / "a.wav", tmp_path / "a.npy"
    audio.write_bytes(b"sound")
    write_codes(codes, np.arange(50).reshape(10, 5) % 32)
    return audio, codes


def test_written_codes_are_int64_and_read_back(clip: tuple[Path, Path]) -> None:
    stored = np.load(clip[1])
    assert stored.dtype == np.int64
    assert (read_codes(clip[1], SIZES) == np.arange(50).reshape(10, 5) % 32).all()
    assert judge_codes(*clip, SIZES).state is CodesState.DONE


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "uint32", ">i4"])
def test_every_integer_type_is_read(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(np.arange(20).reshape(10, 2)).astype(dtype))
    codes = read_codes(tmp_path / "a.npy", SIZES)
    assert codes.dtype == np.int64
    assert (codes == np.arange(20).reshape(10, 2)).all()


def test_golden_codes_are_in_range(golden: Path) -> None:
    assert read_codes(golden / "data/SPK1/21.15-26.44.npy", SIZES).shape == (10, 11)


def test_codes_older_than_their_recording_are_stale(clip: tuple[Path, Path]) -> None:
    written = clip[1].stat().st_mtime_ns
    os.utime(clip[0], ns=(written + 1, written + 1))
    assert judge_codes(*clip, SIZES).state is CodesState.STALE
    os.utime(clip[0], ns=(written, written))
    assert judge_codes(*clip, SIZES).state is CodesState.DONE


def test_missing_codes_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    assert judge_codes(tmp_path / "a.wav", tmp_path / "a.npy", SIZES).state is CodesState.MISSING


def _truncated(path: Path) -> None:
    np.save(path, np.zeros((10, 400), np.int64))
    path.write_bytes(path.read_bytes()[:-1000])


def _boasting(path: Path) -> None:
    # A header that promises 80 TB must not be believed.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<i8", "fortran_order": False, "shape": (10, 10**12)}
        )


def _garbled(path: Path) -> None:
    np.save(path, np.zeros((10, 4), np.int64))
    path.write_bytes(path.read_bytes().replace(b"'shape'", b"'shope'"))


DAMAGE = {
    "empty": (lambda path: path.write_bytes(b""), "not a readable", "damaged"),
    "zeros": (lambda path: path.write_bytes(bytes(900)), "not a readable", "damaged"),
    "text": (lambda path: path.write_text("hello"), "not a readable", "foreign"),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04rest"), "not a readable", "foreign"),
    "folder": (lambda path: path.mkdir(), "is a folder, not a file", "foreign"),
    "pipe": (os.mkfifo, "is a named pipe, not a file", "foreign"),
    "truncated": (_truncated, "not a readable", "damaged"),
    "boasting": (_boasting, "not a readable", "damaged"),
    "garbled": (_garbled, "not a readable", "foreign"),
    "odd width": (
        lambda path: path.write_bytes(
            b"\x93NUMPY\x01\0\x3c\0{'descr': '<f7', 'fortran_order': False, 'shape': (2, 10), }" + bytes(140)
        ),
        "holds <f7 instead",
        "foreign",
    ),
    "pickle": (
        lambda path: np.save(path, np.array([[{}]], object), allow_pickle=True),
        "not a readable",
        "foreign",
    ),
    "floats": (lambda path: np.save(path, np.zeros((10, 3))), "float64 instead of integers", "foreign"),
    "flat": (lambda path: np.save(path, np.zeros(10, int)), r"shape \(10,\)", "foreign"),
    "no frames": (lambda path: np.save(path, np.zeros((10, 0), int)), "instead of", "damaged"),
    "codebooks": (
        lambda path: np.save(path, np.zeros((9, 3), int)),
        "has 9 codebooks, the codec has 10",
        "other codec",
    ),
    "negative": (
        lambda path: np.save(path, np.full((10, 3), -1)),
        "codebook 0 holds codes from -1 to -1",
        "other codec",
    ),
    "range": (
        lambda path: np.save(path, np.full((10, 3), 32)),
        "codebook 1 holds codes from 32 to 32, allowed are 0 to 31",
        "other codec",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_codes_are_never_taken_for_done(tmp_path: Path, kind: str) -> None:
    audio, path = tmp_path / "a.wav", tmp_path / "a.npy"
    audio.write_bytes(b"")
    damage, message, state = DAMAGE[kind]
    damage(path)
    os.utime(audio, ns=(0, 0))
    assert judge_codes(audio, path, SIZES).state == state
    with pytest.raises(DataError, match=message) as caught:
        read_codes(path, SIZES)
    assert str(path) in caught.value.message
    assert caught.value.hint


LYING_HEADERS = {
    "a float in the shape": b"{'descr': '<i8', 'fortran_order': False, 'shape': (10.0, 20), }",
    "a truth in the shape": b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 200), }",
    "a negative side": b"{'descr': '<i8', 'fortran_order': False, 'shape': (10, -200), }",
    "zeros in the middle": b"{'descr': '<i8', 'fortran_order': False, 'shape" + bytes(20),
    "signs only": b"-" * 8052,
    "2^64": b"{'descr': '<i8', 'fortran_order': False, 'shape': (18446744073709551616, 1), }",
    "10^14 frames": b"{'descr': '<i8', 'fortran_order': False, 'shape': (10, 100000000000000), }",
    "a call": b"{'descr': '<i8', 'fortran_order': False, 'shape': (exit(), 1), }",
    "twice": b"{'descr': '<i8', 'descr': '<i4', 'fortran_order': False, 'shape': (10, 1), }",
    "nothing": b"{}",
    "deep": b"(" * 4000,
}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("kind", LYING_HEADERS)
def test_lying_headers_are_refused_in_a_sentence_and_without_memory(
    tmp_path: Path, kind: str, version: int
) -> None:
    header, path = LYING_HEADERS[kind], tmp_path / "a.npy"
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + header + bytes(1600))
    assert whole_codes_shape(path) is None
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.npy is not a readable \.npy file \(.*\)\."):
        read_codes(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_header_of_2_gib_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x03\0" + b"\0\0\0\x7f" + b"\xff" * 100)
    with pytest.raises(DataError, match="its header has no plausible length"):
        read_codes(tmp_path / "a.npy")
    with (tmp_path / "b.npy").open("wb") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(DataError, match=r"b\.npy is larger than codes can be"):
        read_codes(tmp_path / "b.npy")


@given(
    flips=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400),
    dtype=st.sampled_from(["<i8", "<i4", "|u1", ">i2", "<f4", "|b1", "<U3"]),
    shape=st.sampled_from([(2, 5), (5, 2), (7,), (2, 0), (1, 2, 3)]),
    order=st.sampled_from("CF"),
)
@settings(max_examples=300, deadline=None)
def test_the_header_is_believed_only_where_numpy_reads_the_same(
    flips: list[tuple[int, int]], cut: int, dtype: str, shape: tuple[int, ...], order: str
) -> None:
    with io.BytesIO() as file:
        np.save(file, np.asarray(np.zeros(shape, dtype), order=order))
        content = bytearray(file.getvalue())
    for position, value in flips:
        content[position % len(content)] = value
    content = content[: len(content) - cut] if cut < 20 else content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        path.write_bytes(content)
        try:
            codes = read_codes(path)
        except DataError as error:
            assert error.message.startswith(str(path))
            return
        assert whole_codes_shape(path) == codes.shape
        assert np.array_equal(np.load(path), codes)


def test_what_is_recorded_of_codes_by_the_version_before_counts(clip: tuple[Path, Path]) -> None:
    codes = read_codes(clip[1])
    content = repr(codes.shape).encode() + codes.astype("<i8").tobytes()
    before = hashlib.blake2b(content, digest_size=16).hexdigest()
    state = FileState.of(clip[0])
    for digest, is_known in ((before, True), (module.codes_digest(codes), True), ("0" * 32, False)):
        append_origins(clip[1].parent, [(clip[1].name, Origin(state, "a", digest))])
        found = module.known_origin(clip[1], codes)
        assert (found is not None) == is_known
    assert module.codes_digest(codes.astype(np.uint16)) == module.codes_digest(codes)


def test_a_line_about_codes_is_the_same_to_the_pattern_and_to_the_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = {
        f"{number}.npy": Origin(FileState(*state), *texts)
        for number, (state, texts) in enumerate(
            itertools.product(
                [(0, 0, 0), (5, 1_764_158_888_123_456_789, 2**63 - 1), (5, -1, 1), (1, 10**18, 10**19)],
                [("aa", "0f", ""), ("", "", "c0dec"), ("a", "b", "유나"), ("a", 'b"', "\\")],
            )
        )
    }
    append_origins(tmp_path, origins.items())
    with (tmp_path / RECORD_FILE).open("ab") as file:  # of another writer, and changed ones
        for content in (b'[[1, 2, 3], "a", "b", ""]', b'[[1,2,3],"a","b",""]', b'[[01, 2, 3], "a", "b", ""]'):
            file.write(origins_module._sealed(origins_module._key(content.hex()), content) + b"\n")
            origins[content.hex()] = Origin(FileState(1, 2, 3), "a", "b")
    found = [origin_of(tmp_path / name) for name in origins]
    monkeypatch.setattr(origins_module, "_PLAIN", re.compile("(?!)"))
    origins_module._parse.cache_clear()
    assert [origin_of(tmp_path / name) for name in origins] == found
    assert found[:4] == list(origins.values())[:4]
    assert found[-3:] == [Origin(FileState(1, 2, 3), "a", "b")] * 2 + [None]


def test_a_full_disk_leaves_the_old_codes(clip: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = clip[1].read_bytes()

    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.np.lib.format, "write_array", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_codes(clip[1], np.zeros((10, 2), int))
    assert clip[1].read_bytes() == before
    assert sorted(path.name for path in clip[1].parent.iterdir()) == ["a.npy", "a.wav"]
