"""Extraction: every usable recording gets its codes, nothing done is lost, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fishtune.core.audio.mixing import Mixing
from fishtune.core.codec.checkpoint import load_encoder
from fishtune.core.codec.codec import CodecEncoder
from fishtune.core.codec.config import codec_config
from fishtune.core.config.settings import ExtractSettings
from fishtune.core.dataset.codes import read_codes
from fishtune.core.errors import CheckpointError, DataError, DeviceError, StopRequested, StorageError
from fishtune.core.events import Event, ItemFailed, Progress, Reporter, Warned
from fishtune.core.files import TEMPORARY_PREFIX
from fishtune.core.hardware.memory.measured import MeasurementCache
from fishtune.core.hardware.memory.needs import EncodingNeeds
from fishtune.core.hardware.memory.setups import EncodingBatch
from fishtune.core.stages.extract import clip_encoder
from fishtune.core.stages.extract import run as extract
from fishtune.core.stages.extract.run import ExtractResult, run

from .accounting_kit import made_up_memory  # noqa: F401 - fixture
from .extract_kit import CODEC, SIZES, noise, write_clip
from .recorder import Recorder


class Collector(Recorder):
    """Keeps events, and knows what failed."""

    @property
    def failed(self) -> dict[str, str]:
        """What failed, and why."""
        return {event.item: event.message for event in self.events if isinstance(event, ItemFailed)}


_load_once = cache(load_encoder)


@pytest.fixture(autouse=True)
def _golden_codec_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder keeps nothing of what it encodes. A codec at another place is loaded each time."""
    monkeypatch.setattr(
        extract,
        "load_encoder",
        lambda path, *rest: (_load_once if path == CODEC else load_encoder)(path, *rest),
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `data` is a copy of; read only."""
    root = tmp_path_factory.mktemp("recordings")
    for number, (name, seconds, rate) in enumerate(
        (
            ("민지/첫 번째.wav", 0.5, 44_100),
            ("민지/두 번째.flac", 0.2, 48_000),
            ("민지/세 번째.mp3", 0.9, 22_050),
            ("Speaker Two/21.15-26.44.wav", 0.3, 16_000),
            ("Speaker Two/a b.mp3", 0.7, 44_100),
            ("Speaker Two/c.FLAC", 0.05, 44_100),
        )
    ):
        write_clip(root / name, seconds, number, rate)
    return root


@pytest.fixture
def data(recordings: Path, tmp_path: Path) -> Path:
    """A data set of six clips by two speakers, in three formats, with spaces and Hangul in the paths."""
    return Path(shutil.copytree(recordings, tmp_path / "내 데이터 set", copy_function=shutil.copyfile))


def settings(data: Path, **changes: Any) -> ExtractSettings:
    """Return settings for the golden codec on the CPU."""
    return ExtractSettings(**{"data": data, "checkpoint_path": CODEC, "device": "cpu", **changes})


def codes_of(data: Path) -> dict[str, np.ndarray]:
    """Return all valid codes by path; every .npy must be valid."""
    return {str(path.relative_to(data)): read_codes(path, SIZES) for path in sorted(data.rglob("*.npy"))}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def expected(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The codes of an undisturbed run on a copy; read only."""
    copy = tmp_path_factory.mktemp("undisturbed") / "copy"
    shutil.copytree(recordings, copy)
    run(settings(copy), Reporter())
    return codes_of(copy)


def test_golden_audio_gives_the_golden_codes(tmp_path: Path, golden: Path) -> None:
    with np.load(golden / "codec.npz") as reference:
        for clip in range(3):
            path = tmp_path / f"SPK/{clip}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, reference[f"audio{clip}"], 44_100, "FLOAT")
        result = run(settings(tmp_path), Reporter())
        for clip in range(3):
            codes = np.load(tmp_path / f"SPK/{clip}.npy")
            assert codes.dtype == np.int64
            assert np.array_equal(codes, reference[f"codes{clip}"])
    assert (result.clips, result.encoded, result.already_done, result.failed) == (3, 3, 0, [])


def test_every_format_rate_and_name_is_encoded_beside_its_recording(data: Path) -> None:
    reporter = Collector()
    result = run(settings(data, num_workers=2), reporter)
    codes = codes_of(data)
    assert [Path(name).stem for name in codes] == ["21.15-26.44", "a b", "c", "두 번째", "세 번째", "첫 번째"]
    frames = {Path(name).stem: array.shape for name, array in codes.items()}
    assert frames["첫 번째"] == (10, 11) and frames["c"] == (10, 2) and frames["21.15-26.44"] == (10, 7)
    assert result.encoded == 6
    assert result.audio_seconds == pytest.approx(2.65, abs=0.1)  # mp3 may add some
    assert result.speed == pytest.approx(result.audio_seconds / result.elapsed)
    clips = [event for event in reporter.events if isinstance(event, Progress) and event.task == "clips"]
    audio = [event for event in reporter.events if isinstance(event, Progress) and event.task == "audio"]
    assert (clips[-1].done, clips[-1].total) == (6, 6)
    assert audio[-1].done == pytest.approx(audio[-1].total) and audio[-1].unit == "s"
    assert audio[-1].detail.endswith("× real time")


def test_the_number_of_workers_and_the_batch_change_nothing(
    data: Path, tmp_path: Path, expected: dict[str, np.ndarray]
) -> None:
    for number, changes in enumerate(
        ({"num_workers": 3, "batch_size": 1}, {"batch_size": 4}, {"batch_seconds": 1.0})
    ):
        copy = tmp_path / f"copy {number}"
        shutil.copytree(data, copy)
        run(settings(copy, **changes), Reporter())
        assert same(codes_of(copy), expected)


def test_what_is_done_and_valid_is_not_touched(data: Path) -> None:
    run(settings(data), Reporter())
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.npy")}
    result = run(settings(data), Reporter())
    assert (result.already_done, result.encoded) == (6, 0)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.npy")} == before


def damage_text(path: Path) -> None:
    path.write_text("no array", encoding="utf-8")


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def damage_range(path: Path) -> None:
    codes = np.load(path)
    codes[4, 1] = 32
    np.save(path, codes)


def damage_shape(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def damage_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def damage_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"'shape'", b"'sh\0pe'"))


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [damage_text, damage_cut, damage_range, damage_shape, damage_zeros, damage_header, damage_empty]


def test_codes_that_are_not_valid_are_made_anew(data: Path) -> None:
    write_clip(data / "민지/네 번째.wav", 0.1)
    run(settings(data), Reporter())
    before = codes_of(data)
    for damage, name in zip(DAMAGES, before, strict=True):
        damage(data / name)
    result = run(settings(data), Reporter())
    assert (result.already_done, result.encoded) == (0, 7)
    assert same(codes_of(data), before)


FOREIGN = {
    "features": lambda path: np.save(path, np.zeros((80, 120), np.float32)),
    "features of the codes' shape": lambda path: np.save(path, np.zeros((10, 11), np.float16)),
    "flags": lambda path: np.save(path, np.zeros((10, 11), bool)),
    "a waveform": lambda path: np.save(path, np.zeros(4410, np.int16)),
    "an image": lambda path: np.save(path, np.zeros((4, 4, 3), np.uint8)),
    "objects": lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
    "a table": lambda path: np.save(path, np.zeros(3, [("a", "i4"), ("b", "f4")])),
    "torn features": lambda path: (
        np.save(path, np.zeros((80, 120))),
        path.write_bytes(path.read_bytes()[:999]),
    ),
    "text": lambda path: path.write_text("notes"),
    "an archive": lambda path: path.write_bytes(b"PK\x03\x04rest"),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_extraction_did_not_write_is_not_replaced(tmp_path: Path, overwrite: bool) -> None:
    places = {kind: write_clip(tmp_path / f"민지/{kind}.wav", 0.1).with_suffix(".npy") for kind in FOREIGN}
    write_clip(tmp_path / "민지/한 번.wav", 0.1)
    before = {}
    for kind, path in places.items():
        FOREIGN[kind](path)
        os.utime(path, (1, 1))
        before[kind] = path.read_bytes() if path.is_file() else None
    result = run(settings(tmp_path, overwrite=overwrite), Reporter())
    failed = {failure.clip: failure for failure in result.failed}
    assert (result.encoded, len(result.failed), len(failed)) == (1, len(FOREIGN), len(FOREIGN))
    for kind, path in places.items():
        refused = failed[f"민지/{kind}"]
        refusal = "is a folder, though it is named like" if kind == "a folder" else "does not replace it"
        assert str(path) in refused.message and refusal in refused.message
        assert ("remove it" if kind == "a folder" else "Move it away") in refused.hint
        assert (path.read_bytes() if path.is_file() else None) == before[kind]


def test_what_took_the_place_of_our_codes_is_not_replaced_either(data: Path) -> None:
    run(settings(data), Reporter())
    places = {"민지/두 번째": "a waveform", "민지/세 번째": "a folder", "민지/첫 번째": "features"}
    for clip, kind in places.items():
        path = data / f"{clip}.npy"
        path.unlink()
        FOREIGN[kind](path)
    result = run(settings(data), Reporter())
    assert (result.already_done, sorted(failed.clip for failed in result.failed)) == (3, sorted(places))


def test_codes_of_another_codec_are_replaced_when_it_is_asked_for(data: Path) -> None:
    path = data / "민지/첫 번째.npy"
    np.save(path, np.zeros((8, 11), int))
    result = run(settings(data), Reporter())
    assert "has 8 codebooks, the codec has 10" in result.failed[0].message
    assert "--overwrite" in result.failed[0].hint
    assert np.load(path).shape == (8, 11)
    assert run(settings(data, overwrite=True), Reporter()).encoded == 6
    assert np.load(path).shape == (10, 11)


# What the codes were made from


def encoded(data: Path, **changes: Any) -> int:
    result = run(settings(data, **changes), Reporter())
    assert not result.failed
    return result.encoded


@pytest.mark.parametrize("later", ["codes", "recordings"])
def test_a_copied_folder_is_not_encoded_again(data: Path, tmp_path: Path, later: str) -> None:
    run(settings(data), Reporter())
    copy = tmp_path / "copy"
    shutil.copytree(data, copy, copy_function=shutil.copyfile)
    for path in copy.rglob("*.*"):
        old = (path.suffix == ".npy") == (later == "recordings")
        os.utime(path, (1000, 1000) if old else (2000, 2000))
    assert encoded(copy) == 0
    assert encoded(copy) == 0


def test_a_recording_of_the_future_is_encoded_once(data: Path) -> None:
    future = time.time() + 10**8
    for path in [*data.rglob("*.wav"), *data.rglob("*.mp3"), *data.rglob("*.[fF]*")]:
        os.utime(path, (future, future))
    assert encoded(data) == 6
    assert encoded(data) == 0


def test_codes_of_another_tool_for_a_recording_of_the_future_are_used(data: Path) -> None:
    run(settings(data), Reporter())
    for record in data.rglob(".fishtune-codes"):
        record.unlink()
    future = time.time() + 10**8
    os.utime(data / "민지/첫 번째.wav", (future, future))
    assert encoded(data) == 0


@pytest.mark.parametrize("when", ["earlier", "kept", "later"])
def test_another_recording_of_the_same_length_is_encoded_whatever_its_time(data: Path, when: str) -> None:
    run(settings(data), Reporter())
    path = data / "민지/첫 번째.wav"
    before, size = path.stat().st_mtime, path.stat().st_size
    old = np.load(path.with_suffix(".npy"))
    write_clip(path, 0.5, 77)
    assert path.stat().st_size == size
    moment = before + {"earlier": -1000, "kept": 0, "later": 0.001}[when]
    os.utime(path, (moment, moment))
    assert encoded(data) == 1
    assert not np.array_equal(np.load(path.with_suffix(".npy")), old)


def test_another_format_of_the_recording_is_another_recording(data: Path) -> None:
    run(settings(data), Reporter())
    (data / "민지/첫 번째.wav").unlink()
    write_clip(data / "민지/첫 번째.flac", 0.5, 5)
    os.utime(data / "민지/첫 번째.flac", (1, 1))
    assert encoded(data) == 1


def test_codes_of_another_codec_file_are_made_anew(data: Path, tmp_path: Path) -> None:
    run(settings(data), Reporter())
    other = tmp_path / "other"
    shutil.copytree(CODEC.parent, other)
    assert encoded(data, checkpoint_path=other / "codec.pth") == 0
    weights = torch.load(CODEC, weights_only=True)
    torch.save({name: tensor * 1.01 for name, tensor in weights.items()}, other / "codec.pth")
    assert encoded(data, checkpoint_path=other / "codec.pth") == 6


def test_codes_of_another_tool_are_known_from_then_on(data: Path, tmp_path: Path) -> None:
    run(settings(data), Reporter())
    for record in data.rglob(".fishtune-codes"):
        record.unlink()
    assert encoded(data) == 0
    copy = tmp_path / "copy"
    shutil.copytree(data, copy, copy_function=shutil.copyfile)
    for path in copy.rglob("*.npy"):
        os.utime(path, (1, 1))
    assert encoded(copy) == 0


def test_a_damaged_record_is_no_record(data: Path) -> None:
    run(settings(data), Reporter())
    generator = np.random.default_rng(1)
    for record in data.rglob(".fishtune-codes"):
        whole = record.read_bytes()
        for damage in (
            b"",
            b"\0" * 100,
            b"[" * 5000,
            whole[:-20],
            whole[:50] + b"x" + whole[51:],
            whole[::-1],
        ):
            record.write_bytes(damage + generator.bytes(20))
            assert encoded(data) == 0
    record.unlink()
    record.symlink_to(data / "victim")
    with pytest.raises(StorageError, match="is not the file that fishtune extract keeps there"):
        run(settings(data), Reporter())
    assert not (data / "victim").exists()


def test_codes_that_the_system_refuses_to_read_end_the_stage(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings(data), Reporter())
    before = {path: path.read_bytes() for path in data.rglob("*.npy")}
    opened = os.open
    for number in (errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOMEM):

        def refuse(path: Any, *arguments: Any, number: int = number, **keywords: Any) -> int:
            if str(path).endswith("첫 번째.npy"):
                raise OSError(number, os.strerror(number), str(path))
            return opened(path, *arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            with pytest.raises(StorageError, match="첫 번째.npy cannot be read"):
                run(settings(data), Reporter())
    assert {path: path.read_bytes() for path in data.rglob("*.npy")} == before


def test_overwrite_makes_all_anew(data: Path) -> None:
    run(settings(data), Reporter())
    (data / "민지/첫 번째.npy").write_bytes(b"")
    assert run(settings(data, overwrite=True), Reporter()).encoded == 6


def test_excluded_clips_are_left_out(data: Path) -> None:
    result = run(settings(data, exclude=["민지/첫 번째", "Speaker Two/c"]), Reporter())
    assert (result.clips, result.encoded) == (4, 4)
    assert not (data / "민지/첫 번째.npy").exists()


# Bad input


def test_bad_recordings_are_named_and_the_others_are_encoded(
    data: Path, expected: dict[str, np.ndarray]
) -> None:
    bad = data / "나쁜 파일"
    write_clip(bad / "cut.mp3", 3.0)
    (bad / "cut.mp3").write_bytes((bad / "cut.mp3").read_bytes()[:12_000])
    (bad / "text.wav").write_text("this is text", encoding="utf-8")
    (bad / "empty.flac").touch()
    (bad / "folder.wav").mkdir()
    soundfile.write(bad / "long.wav", np.zeros(191 * 8_000, np.float32), 8_000, "PCM_U8")
    soundfile.write(bad / "nothing.wav", np.zeros(0, np.float32), 44_100)
    soundfile.write(bad / "nan.wav", np.full(4_410, np.nan, np.float32), 44_100, "FLOAT")
    write_clip(bad / "twice.wav", 0.1)
    write_clip(bad / "twice.mp3", 0.1)
    (bad / "memo.m4a").write_bytes(b"xx")
    soundfile.write(bad / "odd.wav", noise(0.1, 0, 44_101), 44_101)
    reporter = Collector()
    result = run(settings(data), reporter)
    wanted = {
        "나쁜 파일/cut": "cut.mp3 is truncated",
        "나쁜 파일/text": "text.wav cannot be read as audio",
        "나쁜 파일/empty": "empty.flac is empty (0 bytes)",
        str(bad / "folder.wav"): "folder.wav is a folder",
        "나쁜 파일/odd": "odd.wav has a sample rate, 44101 Hz, that cannot be brought to 44100 Hz",
        "나쁜 파일/long": "long.wav is 191 s long; the codec takes at most 190 s",
        "나쁜 파일/nothing": "nothing.wav contains no audio",
        "나쁜 파일/nan": "nan.wav has samples that are not numbers",
        str(bad / "twice.wav"): "2 recordings",
        str(bad / "memo.m4a"): "memo.m4a is not used",
    }
    assert reporter.failed.keys() == wanted.keys()
    for item, part in wanted.items():
        assert part in reporter.failed[item]
    assert all(failed.hint for failed in result.failed)
    assert {failed.clip for failed in result.failed} == wanted.keys()
    assert (result.clips, result.encoded, len(result.failed)) == (16, 6, 10)
    assert same(codes_of(data), expected)


def test_a_recording_that_the_system_refuses_ends_extraction(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: Any, *arguments: Any, **keywords: Any) -> int:
        if Path(path).name == "두 번째.flac":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="두 번째.flac cannot be read: Input/output error"):
        run(settings(data), Reporter())


def test_channels_without_the_voice_are_left_out_and_said(data: Path) -> None:
    speech = noise(0.5, 1)
    soundfile.write(data / "민지/mono.wav", speech, 44_100)
    soundfile.write(data / "민지/left.wav", np.stack([speech, 0 * speech], 1), 44_100)
    soundfile.write(data / "민지/swapped.wav", np.stack([speech, -speech], 1), 44_100)
    reporter = Collector()
    result = run(settings(data), reporter)
    assert (result.one_sided, result.opposite_phase) == (["민지/left"], ["민지/swapped"])
    first, second = (event.message for event in reporter.events if isinstance(event, Warned))
    assert first == "민지/left: only the channels that carry the voice are used."
    assert second == "민지/swapped: the channels cancel each other, so one of them is used."
    codes = codes_of(data)
    assert np.array_equal(codes["민지/left.npy"], codes["민지/mono.npy"])
    assert np.array_equal(codes["민지/swapped.npy"], codes["민지/mono.npy"])


def test_a_batch_in_which_nothing_can_be_decoded_costs_the_others_nothing(data: Path) -> None:
    for number in range(5):
        path = write_clip(data / f"민지/bad{number}.mp3", 3.0 + number)
        path.write_bytes(path.read_bytes()[:9_000])
    result = run(settings(data, batch_size=2), Reporter())
    assert (result.encoded, len(result.failed)) == (6, 5)


def test_no_usable_recording_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "SPK").mkdir()
    (tmp_path / "SPK/a.wav").write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match="No recording in .* could be encoded; the first: .*a.wav"):
        run(settings(tmp_path), Reporter())


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no recordings"):
        run(settings(tmp_path), Reporter())
    with pytest.raises(DataError, match="does not exist"):
        run(settings(tmp_path / "gone"), Reporter())


def test_a_missing_codec_and_a_missing_gpu_end_the_run_before_it_begins(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        run(settings(data).model_copy(update={"checkpoint_path": data / "codec.pth"}), Reporter())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="The device cuda:0 cannot be used"):
        run(settings(data).model_copy(update={"device": "cuda:0"}), Reporter())
    assert not list(data.rglob("*.npy"))


# Trouble on the way


def test_a_full_disk_ends_the_run_and_what_was_written_is_kept(
    data: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, np.ndarray]
) -> None:
    written = 0
    write = np.lib.format.write_array

    def fill(file: Any, array: np.ndarray, **keywords: Any) -> None:
        nonlocal written
        written += 1
        if written > 2:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, array, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array", fill)
        with pytest.raises(StorageError, match=r"The disk is full: .*\.npy could not be written") as caught:
            run(settings(data, batch_size=1), Reporter())
    assert caught.value.hint.startswith("Free some space")
    assert len(codes_of(data)) == 2
    assert not [path for path in data.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]
    assert run(settings(data), Reporter()).already_done == 2
    assert same(codes_of(data), expected)


def test_a_data_set_that_vanishes_is_one_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = CodecEncoder.encode

    def vanish(codec: CodecEncoder, *arguments: Any) -> Any:
        data.rename(data.with_name("elsewhere"))
        return encode(codec, *arguments)

    monkeypatch.setattr(CodecEncoder, "encode", vanish)
    with pytest.raises(StorageError, match="The data set .* is gone"):
        run(settings(data), Reporter())


def test_a_recording_that_changes_gets_no_codes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = data / "민지/첫 번째.wav"
    encode = CodecEncoder.encode

    def change(codec: CodecEncoder, *arguments: Any) -> Any:
        write_clip(changed, 0.4, 99)
        return encode(codec, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(CodecEncoder, "encode", change)
        reporter = Collector()
        run(settings(data), reporter)
    assert list(reporter.failed) == ["민지/첫 번째"]
    assert "changed while it was being encoded" in reporter.failed["민지/첫 번째"]
    assert run(settings(data), Reporter()).encoded == 1


def limited(monkeypatch: pytest.MonkeyPatch, fits: Callable[[torch.Tensor], bool]) -> list[tuple[int, ...]]:
    """Make batches run out of memory unless they fit; return the list of the shapes that are encoded."""
    encode = CodecEncoder.encode
    shapes: list[tuple[int, ...]] = []

    def encode_if_it_fits(codec: CodecEncoder, audio: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        if not fits(audio):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        shapes.append(tuple(audio.shape))
        return encode(codec, audio, lengths)

    monkeypatch.setattr(CodecEncoder, "encode", encode_if_it_fits)
    return shapes


def test_out_of_memory_halves_the_batch_and_loses_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, np.ndarray]
) -> None:
    shapes = limited(monkeypatch, lambda audio: len(audio) <= 2)
    reporter = Collector()
    result = run(settings(data, batch_size=16), reporter)
    assert (result.encoded, result.failed, result.batch_size) == (6, [], 2)
    assert same(codes_of(data), expected)
    assert max(shape[0] for shape in shapes) == 2 and sum(shape[0] for shape in shapes) == 6
    warnings = [event.message for event in reporter.events if isinstance(event, Warned)]
    assert warnings[0].startswith("cpu has too little free memory for 6 clips of up to 0.9 s at once")
    assert warnings[0].endswith("continuing with 3.") and len(warnings) == 3


class FixedMeter:
    """Stands in for a GPU's meter."""

    device_name = "Test GPU"

    def __init__(self, peak: int) -> None:
        self._peak, self.resets = peak, 0

    def reset(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        assert self.resets == 1, "what was there before counts too"
        return self._peak


def test_the_measured_peak_of_the_largest_batch_corrects_later_estimates(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    made_up_memory: None,  # noqa: F811
) -> None:
    config = codec_config(settings(data).checkpoint_path, "modded_dac_vq")
    needs = EncodingNeeds(config, FixedMeter.device_name)
    needs.prepare()
    shapes = limited(monkeypatch, lambda audio: True)
    run(settings(data, batch_size=4), Reporter())
    assert MeasurementCache().factor(needs.setting) == 1, "without a GPU nothing is measured"
    clips, _, samples = max(shapes, key=lambda shape: shape[0] * shape[2])
    predicted = needs.predicted(EncodingBatch.of(config, clips, samples / config.sample_rate))
    peak = predicted.reserved + predicted.varying // 4
    monkeypatch.setattr(extract, "peak_meter", lambda device: FixedMeter(peak))
    run(settings(data, batch_size=4, overwrite=True), Reporter())
    assert MeasurementCache().factor(needs.setting) == pytest.approx(1.25, abs=0.01)


def test_the_peak_of_batches_that_did_not_fit_is_not_kept(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, lambda audio: len(audio) <= 2)
    monkeypatch.setattr(extract, "peak_meter", lambda device: FixedMeter(1 << 30))
    run(settings(data, batch_size=16), Reporter())
    assert MeasurementCache().read() == []


def test_a_clip_that_does_not_fit_alone_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, np.ndarray]
) -> None:
    limited(monkeypatch, lambda audio: audio.shape[-1] < 0.8 * 44_100)
    reporter = Collector()
    result = run(settings(data), reporter)
    assert (result.encoded, result.batch_size) == (5, 1)
    assert list(reporter.failed) == ["민지/세 번째"]
    assert "세 번째.mp3 (0.9 s) alone needs more memory than cpu has free" in reporter.failed["민지/세 번째"]
    assert same(
        codes_of(data), {name: codes for name, codes in expected.items() if name != "민지/세 번째.npy"}
    )


def test_batches_hold_clips_of_like_length_within_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5, 0.15, 0.25, 0.35]
    for number, seconds in enumerate(lengths):
        write_clip(tmp_path / f"SPK/{number}.wav", seconds, number)
    shapes = limited(monkeypatch, lambda audio: True)
    run(settings(tmp_path, batch_size=4, batch_seconds=1.5), Reporter())
    assert sum(shape[0] for shape in shapes) == 12
    assert all(clips <= 4 and clips * samples <= 1.5 * 44_100 for clips, _, samples in shapes)
    longest = [samples for _, _, samples in shapes]
    assert longest == sorted(longest, reverse=True)
    assert [clips for clips, _, _ in shapes] == [1, 1, 2, 3, 4, 1]


def test_a_clip_longer_than_the_limit_of_a_batch_goes_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = limited(monkeypatch, lambda audio: True)
    assert run(settings(data, batch_seconds=0.1), Reporter()).encoded == 6
    assert [shape[0] for shape in shapes] == [1] * 6


def test_audio_is_decoded_beside_the_model_and_only_a_batch_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        write_clip(tmp_path / f"SPK/{number:02}.wav", 0.1, number)
    decoded: list[str] = []
    waiting: list[int] = []
    all_ahead = threading.Event()
    decode = clip_encoder.read_mono

    def watch_decode(path: Path, rate: int) -> tuple[np.ndarray, Mixing]:
        decoded.append(threading.current_thread().name)
        if len(decoded) == 2 + 3:
            all_ahead.set()
        return decode(path, rate)

    monkeypatch.setattr(clip_encoder, "read_mono", watch_decode)
    encode = CodecEncoder.encode

    def watch_encode(codec: CodecEncoder, audio: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        assert all_ahead.wait(30)  # while this batch computes, the next one is decoded
        time.sleep(0.02)
        waiting.append(len(decoded))
        return encode(codec, audio, lengths)

    monkeypatch.setattr(CodecEncoder, "encode", watch_encode)
    run(settings(tmp_path, batch_size=2, num_workers=1), Reporter())
    assert all(name.startswith("decode") for name in decoded)
    assert waiting[0] == 5, "two clips being encoded, two of the next batch and one more for the worker"
    assert max(done - 2 * number for number, done in enumerate(waiting)) <= 5


# Stopping


class StopAfter(Collector):
    """Asks to stop once a batch was encoded."""

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Progress) and event.task == "clips":
            self.request_stop()


def test_a_request_to_stop_ends_between_batches_and_the_next_run_does_the_rest(
    data: Path, expected: dict[str, np.ndarray]
) -> None:
    reporter = StopAfter()
    with pytest.raises(StopRequested) as stopped:
        run(settings(data, batch_size=1), reporter)
    done = len(codes_of(data))
    assert 1 <= done < 6
    assert stopped.value.saved.startswith(f"The codes of {done} of 6 clips are there")
    result: ExtractResult = run(settings(data), Reporter())
    assert (result.already_done, result.encoded) == (done, 6 - done)
    assert same(codes_of(data), expected)


def test_a_request_before_anything_began_changes_nothing(data: Path) -> None:
    reporter = Collector()
    reporter.request_stop()
    with pytest.raises(StopRequested):
        run(settings(data), reporter)
    assert not list(data.rglob("*.npy"))


def test_leftovers_of_killed_runs_are_removed_but_nothing_else(data: Path) -> None:
    own = data / "민지/.fishtune-tmp-0123456789ab-첫 번째.npy"
    foreign = data / "민지/.fishtune-tmp-0123456789ab-첫 번째.lab"
    for path in (own, foreign):
        path.write_bytes(b"half")
    run(settings(data), Reporter())
    assert not own.exists()
    assert foreign.exists()


def test_ranks_share_all_clips_between_them(
    data: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, np.ndarray]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    encoded = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        encoded.append(run(settings(data), Reporter()).encoded)
    assert encoded == [3, 3], "the second rank's clips are none of the first one's"
    assert same(codes_of(data), expected)


def test_folders_inside_a_speakers_and_long_names_get_codes_beside_their_audio(tmp_path: Path) -> None:
    names = ["S/책 1/" + "가" * 75, "S/책 1/x", "S/x", "S/" + "é" * 125]
    for number, name in enumerate(names):
        write_clip(tmp_path / f"{name}.wav", 0.2, number)
    collector = Collector()
    result = run(settings(tmp_path, exclude=["S/x"]), collector)
    assert (result.clips, result.encoded, collector.failed) == (3, 3, {})
    assert codes_of(tmp_path).keys() == {f"{name}.npy" for name in names} - {"S/x.npy"}
    assert run(settings(tmp_path), Reporter()).already_done == 3


def test_what_is_not_a_clip_is_said_and_is_in_the_result(tmp_path: Path) -> None:
    write_clip(tmp_path / "S/a.wav", 0.2)
    write_clip(tmp_path / "S/blocked.wav", 0.2)
    write_clip(tmp_path / "S/day/take/deep.wav", 0.2)
    (tmp_path / "S/self").symlink_to("self")
    os.mkfifo(tmp_path / "S/pipe.wav")
    os.mkfifo(tmp_path / "S/blocked.npy")
    collector = Collector()
    result = run(settings(tmp_path), collector)
    assert result.encoded == 1
    unusable = ["S/blocked", str(tmp_path / "S/pipe.wav")]
    assert [failed.clip for failed in result.failed] == unusable
    assert list(collector.failed) == unusable
    assert [finding.path for finding in result.left_out] == [tmp_path / "S/self", tmp_path / "S"]
    said = [event.message for event in collector.events if isinstance(event, Warned)]
    assert said == [finding.what for finding in result.left_out]
    assert (tmp_path / "S/blocked.npy").is_fifo()  # what was never ours is not replaced


def test_a_folder_that_cannot_be_written_is_told_before_the_codec_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "A/a.wav", 0.2)
    write_clip(tmp_path / "B/b.wav", 0.2)
    touch = Path.touch

    def refuse(path: Path, *values: Any, **named: Any) -> None:
        if path.parent == tmp_path / "B":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        touch(path, *values, **named)

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(extract, "load_encoder", lambda *_: pytest.fail("the codec was loaded"))
    with pytest.raises(StorageError, match=r"b\.npy could not be written: no permission"):
        run(settings(tmp_path), Reporter())
