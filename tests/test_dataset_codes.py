"""Codes on disk: what counts as done, and that writing is whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.dataset import codes as module
from fishtune.core.dataset.codes import CodesState, codes_state, read_codes, write_codes
from fishtune.core.errors import DataError, StorageError

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
    assert codes_state(*clip, SIZES) is CodesState.DONE


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
    assert codes_state(*clip, SIZES) is CodesState.STALE
    os.utime(clip[0], ns=(written, written))
    assert codes_state(*clip, SIZES) is CodesState.DONE


def test_missing_codes_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    assert codes_state(tmp_path / "a.wav", tmp_path / "a.npy", SIZES) is CodesState.MISSING


def _truncated(path: Path) -> None:
    np.save(path, np.zeros((10, 400), np.int64))
    path.write_bytes(path.read_bytes()[:-1000])


def _boasting(path: Path) -> None:
    # A header that promises 80 TB must not be believed.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<i8", "fortran_order": False, "shape": (10, 10**12)}
        )


DAMAGE = {
    "empty": (lambda path: path.write_bytes(b""), "not a readable"),
    "text": (lambda path: path.write_text("hello"), "not a readable"),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04rest"), "not a readable"),
    "folder": (lambda path: path.mkdir(), "not a readable"),
    "truncated": (_truncated, "not a readable"),
    "boasting": (_boasting, "not a readable"),
    "pickle": (lambda path: np.save(path, np.array([{}], object), allow_pickle=True), "not a readable"),
    "floats": (lambda path: np.save(path, np.zeros((10, 3))), "float64 instead of integers"),
    "flat": (lambda path: np.save(path, np.zeros(10, int)), r"shape \(10,\)"),
    "no frames": (lambda path: np.save(path, np.zeros((10, 0), int)), "instead of"),
    "codebooks": (lambda path: np.save(path, np.zeros((9, 3), int)), "has 9 codebooks, the codec has 10"),
    "negative": (lambda path: np.save(path, np.full((10, 3), -1)), "codebook 0 holds codes from -1 to -1"),
    "range": (
        lambda path: np.save(path, np.full((10, 3), 32)),
        "codebook 1 holds codes from 32 to 32, allowed are 0 to 31",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_codes_are_never_taken_for_done(tmp_path: Path, kind: str) -> None:
    audio, path = tmp_path / "a.wav", tmp_path / "a.npy"
    audio.write_bytes(b"")
    damage, message = DAMAGE[kind]
    damage(path)
    os.utime(audio, ns=(0, 0))
    assert codes_state(audio, path, SIZES) is CodesState.DAMAGED
    with pytest.raises(DataError, match=message) as caught:
        read_codes(path, SIZES)
    assert str(path) in caught.value.message
    assert "extract again" in caught.value.hint


def test_a_full_disk_leaves_the_old_codes(clip: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = clip[1].read_bytes()

    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.np.lib.format, "write_array", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_codes(clip[1], np.zeros((10, 2), int))
    assert clip[1].read_bytes() == before
    assert sorted(path.name for path in clip[1].parent.iterdir()) == ["a.npy", "a.wav"]
