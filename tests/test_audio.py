"""Recordings: headers, samples, resampling, and every way in which a file can be unusable."""

from __future__ import annotations

import errno
import io
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.audio import recordings as audio
from fishtune.core.audio import resampling
from fishtune.core.audio.recordings import (
    AudioInfo,
    read_audio,
    read_channels,
    read_info,
    read_pieces,
    write_audio,
)
from fishtune.core.errors import DataError, StorageError


def tone(seconds: float, rate: int, hertz: float = 220.0) -> np.ndarray:
    """Return a sine as float32."""
    return (0.5 * np.sin(2 * math.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3"])
def test_headers_and_samples_of_every_format(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"녹음 하나.{extension}"
    soundfile.write(path, tone(1.0, 44_100), 44_100)
    assert read_info(path) == AudioInfo(frames=44_100, sample_rate=44_100, channels=1)
    assert read_info(path).seconds == 1.0
    samples = read_audio(path, 44_100)
    assert samples.dtype == np.float32
    assert np.abs(samples - tone(1.0, 44_100))[2_000:-2_000].max() < 0.02


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = tone(0.1, 44_100), tone(0.1, 44_100, hertz=330) / 2
    soundfile.write(path, np.stack([left, right], 1), 44_100, "FLOAT")
    assert np.array_equal(read_audio(path, 44_100), (left + right) / 2)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 48_000, 96_000])
def test_resampling_keeps_the_tone_and_its_length(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(0.5, rate), rate, "FLOAT")
    samples = read_audio(path, 44_100)
    assert len(samples) == 22_050
    # The filter needs some samples at both ends.
    assert np.abs(samples - tone(0.5, 44_100))[200:-200].max() < 1e-2


def test_the_kernel_of_a_pair_of_rates_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(0.1, 32_000), 32_000)
    read_audio(path, 44_100)
    before = resampling._resampler.cache_info()
    read_audio(path, 44_100)
    after = resampling._resampler.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 0)


def test_torch_is_not_loaded_unless_something_is_resampled(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(0.1, 44_100), 44_100)
    program = (
        "import sys; from pathlib import Path; "
        "from fishtune.core.audio.recordings import read_audio, read_info; "
        "read_info(Path(sys.argv[1])); read_audio(Path(sys.argv[1]), 44100); print('torch' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-P", "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "False"


def truncated(path: Path, share: float = 0.5) -> Path:
    """Cut the end off a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def test_a_truncated_mp3_says_how_much_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp3"
    soundfile.write(path, tone(3.0, 44_100), 44_100)
    with pytest.raises(DataError, match=r"cut\.mp3 is truncated: 1\.\d s of 3\.0 s are there\.") as caught:
        read_audio(truncated(path), 44_100)
    assert caught.value.hint.startswith("Copy it again")


@pytest.mark.parametrize("read", [read_info, lambda path: read_audio(path, 44_100)])
def test_a_truncated_wav_says_how_much_is_there(tmp_path: Path, read: object) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, tone(2.0, 44_100), 44_100)
    with pytest.raises(DataError, match=r"cut\.wav is truncated: 1\.0 s of 2\.0 s are there\."):
        read(truncated(path))  # type: ignore[operator]


def test_a_truncated_flac_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, tone(2.0, 44_100), 44_100)
    with pytest.raises(DataError, match=r"cut\.flac cannot be read as audio"):
        read_audio(truncated(path), 44_100)


def test_a_wav_from_a_pipe_states_no_length_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(0.5, 44_100), 44_100, "PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_audio(path, 44_100)) == 22_050


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.wav", b"this is no audio", "cannot be read as audio"),
        ("text.mp3", b"this is no audio " * 100, "cannot be read as audio"),
        ("text.flac", b"this is no audio", "cannot be read as audio"),
        ("empty.wav", b"", r"is empty \(0 bytes\)"),
        ("empty.mp3", b"", r"is empty \(0 bytes\)"),
    ],
)
def test_what_is_no_audio_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name} {message}") as caught:
        read_info(path)
    assert caught.value.hint


def test_a_folder_a_missing_file_and_one_without_samples(tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    soundfile.write(tmp_path / "silent.wav", np.zeros(0, np.float32), 44_100)
    for name, message in (
        ("x.wav", "is a folder"),
        ("gone.wav", "does not exist"),
        ("silent.wav", "contains no audio"),
    ):
        with pytest.raises(DataError, match=f"{name} {message}") as caught:
            read_info(tmp_path / name)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("number", "message"), [(errno.EACCES, "no permission"), (errno.EIO, os.strerror(errno.EIO))]
)
def test_an_unreadable_file_names_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    soundfile.write(tmp_path / "closed.wav", tone(0.1, 44_100), 44_100)
    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(StorageError, match=rf"closed\.wav cannot be read: {message}\."):
        read_info(tmp_path / "closed.wav")


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3"])
def test_a_disk_that_fails_while_a_recording_is_read_is_not_a_short_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    path = tmp_path / f"a.{extension}"
    noise = np.random.default_rng(0).standard_normal(88_200).astype(np.float32) / 10
    soundfile.write(path, noise, 44_100)

    class Failing(io.BytesIO):
        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            if self.tell() + len(buffer) > len(self.getvalue()) // 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)

    monkeypatch.setattr(audio, "open_regular", lambda path, *_: Failing(path.read_bytes()))
    with pytest.raises(StorageError, match="cannot be read: Input/output error"):
        read_audio(path, 44_100)


@pytest.mark.parametrize("read", [read_info, lambda path: read_audio(path, 44_100)])
def test_a_pipe_named_like_a_recording_is_not_opened(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    (tmp_path / "c.wav").symlink_to("c.wav")
    for name, what in (("a.wav", "named pipe"), ("b.wav", "device"), ("c.wav", "leads to itself")):
        with pytest.raises(DataError, match=what) as caught:
            read(tmp_path / name)
        assert caught.value.hint


@pytest.mark.parametrize("rate", [1, 3_999, 400_000, 655_350])
def test_a_rate_that_no_recording_has_is_refused_by_all_readers(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1, 4_000), rate)
    for read in (read_info, read_channels):
        with pytest.raises(DataError, match=f"sample rate of {rate} Hz"):
            read(tmp_path / "a.wav")


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    samples = tone(0.1, 44_100)
    samples[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 44_100, "FLOAT")
    with pytest.raises(DataError, match="not numbers"):
        read_audio(tmp_path / "nan.wav", 44_100)


@pytest.mark.parametrize("rates", [(48_000, 44_100), (22_050, 44_100), (96_000, 44_100), (8_000, 44_100)])
def test_odd_rates_are_resampled_by_the_same_formula(rates: tuple[int, int]) -> None:
    samples = np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    made, usual = resampling._interpolate(samples, *rates), resampling.resample(samples, *rates)
    assert made.shape == usual.shape
    assert np.abs(made - usual).max() < 5e-5  # float32 kernels, of samples of up to 4


@pytest.mark.parametrize("rate", [22_255, 9_213, 22_076])
def test_odd_rates_keep_the_tone_and_its_length(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(1.0, rate), rate, "FLOAT")
    samples = read_audio(path, 44_100)
    assert len(samples) == 44_100
    assert np.abs(samples - tone(1.0, 44_100))[400:-400].max() < 1e-2


def test_a_rate_whose_kernel_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "odd.wav", tone(0.1, 44_101), 44_101)
    with pytest.raises(DataError, match=r"odd\.wav has a sample rate, 44101 Hz, that cannot") as caught:
        read_audio(tmp_path / "odd.wav", 44_100)
    assert "ffmpeg" in caught.value.hint


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write")
def test_a_folder_that_takes_no_recording_is_named() -> None:
    with pytest.raises(StorageError, match=r"/proc/x\.wav could not be written"):
        write_audio(Path("/proc/x.wav"), np.zeros(100, np.float32), 8000)


@pytest.mark.parametrize("ending", ["wav", "mp3", "flac", "ogg", "aiff"])
def test_pieces_of_whole_seconds_are_all_of_a_recording(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tone.{ending}"
    soundfile.write(path, np.stack([tone(3.3, 22_050)] * 2, axis=1), 22_050)
    pieces = list(read_pieces(path, 1))
    assert {rate for _, rate in pieces} == {22_050}
    assert [len(piece) for piece, _ in pieces[:3]] == [22_050] * 3
    whole = read_channels(path)[0]
    # Of an mp3, what its encoder filled the last frame up with is decoded, too.
    assert np.allclose(np.concatenate([piece for piece, _ in pieces])[: len(whole)], whole, atol=1e-6)
