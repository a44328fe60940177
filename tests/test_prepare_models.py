"""Preparation with real models on real speech. Slow: models are fetched, and listen."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.audio.resampling import resample
from fishtune.core.config.settings import PrepareSettings
from fishtune.core.dataset.layout import scan
from fishtune.core.dataset.prepared import PreparedRecording, read_prepared
from fishtune.core.events import Reporter, Warned
from fishtune.core.judge.alignment import align
from fishtune.core.judge.words import tokens_of
from fishtune.core.stages.prepare.journal import JOURNAL_FILE
from fishtune.core.stages.prepare.run import PrepareResult, run

from .judge_kit import RealModels, lj_clips, other_clips, real_models
from .prepare_kit import Joined, joined, noisy, write
from .recorder import Recorder

pytestmark = pytest.mark.slow
pytest.importorskip("silero_vad", reason="the extra is not installed: pip install 'fishtune[prepare]'")


@pytest.fixture(scope="module")
def models() -> RealModels:
    return real_models()


@pytest.fixture(scope="module")
def recording() -> Joined:
    return joined()


def prepare(
    models: RealModels, raw: Path, out: Path, reporter: Reporter | None = None, **other: object
) -> PrepareResult:
    settings = {
        "raw": raw,
        "out": out,
        "asr_model": str(models.whisper),
        "speaker_model": str(models.campplus),
        "num_workers": 1,
        "device": "cpu",
        **other,
    }
    return run(PrepareSettings.model_validate(settings), reporter or Reporter())


def the_recording(data: Path) -> PreparedRecording:
    record = read_prepared(data)
    assert record is not None
    return record.recordings[0]


def error_rate(text: str, heard: str) -> float:
    return align(tokens_of(text, "en"), tokens_of(heard, "en")).error_rate


def loudness_at(samples: np.ndarray, rate: int, seconds: float) -> float:
    """Return the level of 20 ms around a moment, relative to the loudest in 0.3 s around it (dB)."""

    def power(at: float, width: float) -> float:
        part = samples[max(0, round((at - width / 2) * rate)) : round((at + width / 2) * rate)]
        return float(np.square(part).mean()) if len(part) else 0.0

    near = max(power(seconds + step / 100, 0.02) for step in range(-30, 31))
    return float(10 * np.log10(max(power(seconds, 0.02), 1e-9) / max(near, 1e-9)))


@pytest.mark.parametrize("noise", [None, 10.0])
def test_joined_clips_are_cut_in_pauses_and_say_what_they_said(
    models: RealModels, recording: Joined, tmp_path: Path, noise: float | None
) -> None:
    samples = recording.samples if noise is None else noisy(recording.samples, noise)
    write(tmp_path / "raw" / "LJ" / "talk.wav", Joined(samples, recording.rate, (), ()))
    prepare(models, tmp_path / "raw", tmp_path / "data", language="en")
    clips = the_recording(tmp_path / "data").clips
    heard = " ".join(clip.text for clip in clips)
    rate = error_rate(recording.text, heard)
    levels = [
        loudness_at(recording.samples, recording.rate, edge)
        for clip in clips
        for edge in (clip.start, clip.end)
    ]
    print(f"noise {noise}: {len(clips)} clips, WER {rate:.3f}, loudest edge {max(levels):.0f} dB")
    print([(clip.start, clip.end) for clip in clips])
    assert rate <= (0.05 if noise is None else 0.15)
    assert max(clip.end - clip.start for clip in clips) <= 12
    assert max(levels) < -20  # in a pause
    words = [(clip.start + word.start, clip.start + word.end) for clip in clips for word in clip.words]
    assert all(
        end <= clip.end + 0.1 for clip in clips for start, end in words if clip.start <= start < clip.end
    )
    # Nothing that is said is lost.
    for start, end in recording.spans:
        covered = sum(max(0.0, min(end, clip.end) - max(start, clip.start)) for clip in clips)
        assert covered > 0.9 * (end - start)


def test_killed_at_ten_random_moments_it_comes_to_the_same(
    models: RealModels, recording: Joined, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    write(raw / "LJ" / "talk.flac", recording)
    write(raw / "LJ" / "again.mp3", joined(lj_clips()[4:], seed=3))
    shutil.copy(lj_clips()[0], raw / "LJ" / "clip.mp3")
    (raw / "LJ" / "clip.txt").write_text(lj_clips()[0].with_suffix(".lab").read_text(encoding="utf-8"))

    def start(out: Path) -> subprocess.Popen[bytes]:
        arguments = [
            "prepare",
            str(raw),
            str(out),
            "--device",
            "cpu",
            "--language",
            "en",
            "--num-workers",
            "1",
        ]
        arguments += ["--asr-model", str(models.whisper), "--speaker-model", str(models.campplus)]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fishtune.core.cli", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def wait_for_work(process: subprocess.Popen[bytes], out: Path) -> None:
        while not (out / JOURNAL_FILE).exists() and process.poll() is None:
            time.sleep(0.02)

    whole = start(tmp_path / "whole")
    wait_for_work(whole, tmp_path / "whole")
    begun = time.monotonic()
    assert whole.wait() == 0
    took = time.monotonic() - begun
    moments, killed = random.Random(1), 0
    for _ in range(10):
        process = start(tmp_path / "data")
        wait_for_work(process, tmp_path / "data")
        try:
            process.wait(timeout=moments.uniform(0, took / 4))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    print(f"{took:.0f} s of work; {killed} of 10 runs were killed")
    assert killed >= 8
    assert start(tmp_path / "data").wait() == 0

    def contents(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    assert contents(tmp_path / "data") == contents(tmp_path / "whole")
    assert not scan(tmp_path / "data").problems


def test_a_second_voice_in_a_recording_is_said_and_can_be_left_out(
    models: RealModels, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.wav"
    samples, rate = soundfile.read(other_clips()[0], dtype="float32")
    soundfile.write(stranger, resample(samples, rate, 22_050), 22_050)
    stranger.with_suffix(".lab").write_text("Somebody else.")
    write(
        tmp_path / "raw" / "LJ" / "talk.wav",
        joined([*lj_clips()[:3], stranger, *lj_clips()[3:6]], (1.1, 1.5)),
    )
    reporter = Recorder()
    mixed = prepare(models, tmp_path / "raw", tmp_path / "mixed", reporter, language="en")
    assert mixed.other_voices == ["LJ/talk.wav"]
    assert any("like another voice than the rest" in event.message for event in reporter.of(Warned))
    own = prepare(models, tmp_path / "raw", tmp_path / "own", language="en", keep_voice=lj_clips()[6])
    assert own.left_out >= 1
    assert own.seconds < mixed.seconds - 2
    theirs = the_recording(tmp_path / "own").clips
    assert len(theirs) == mixed.clips - own.left_out


def test_a_text_of_the_whole_recording_is_shared_out_in_its_own_spelling(
    models: RealModels, recording: Joined, tmp_path: Path
) -> None:
    write(tmp_path / "raw" / "LJ" / "talk.wav", recording)
    (tmp_path / "raw" / "LJ" / "talk.txt").write_text("\n".join(recording.texts), encoding="utf-8")
    prepare(models, tmp_path / "raw", tmp_path / "data", language="en")
    assert " ".join(clip.text for clip in the_recording(tmp_path / "data").clips) == recording.text
