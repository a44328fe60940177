"""Listening to a data set: what is said of it. Sound is measured for real; recognition is stood for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.audio.recordings import read_audio, read_info
from fishtune.core.cli.app import run as command
from fishtune.core.config.settings import ValidateSettings
from fishtune.core.dataset.findings import FindingKind
from fishtune.core.errors import StopRequested
from fishtune.core.events import Reporter
from fishtune.core.judge.heard import words_heard
from fishtune.core.judge.listeners import Listeners
from fishtune.core.judge.pitch import Pitch
from fishtune.core.judge.recognition import Heard, HeardWord
from fishtune.core.judge.rooms import REVERBERANT, decay_times, reverberation
from fishtune.core.stages.validate.run import ValidationReport, run

from .judge_kit import RATE, lj_clips

pytest.importorskip("num2words", reason="the extra is not installed: pip install 'fishtune[judge]'")
CLIP = lj_clips()[1]
TEXT = CLIP.with_suffix(".lab").read_text(encoding="utf-8").strip()


class Ears:
    """Stands for recognition, encoder and pitch meter; clips are told apart by their lengths."""

    def __init__(self) -> None:
        self.heard: dict[int, tuple[str, str, float]] = {}
        self.voices: dict[int, list[float]] = {}
        self.pitches: dict[int, float] = {}
        self.asked: list[str | None] = []

    def listen(self, samples: np.ndarray, language: str | None) -> Heard:
        self.asked.append(language)
        text, spoken, sure = self.heard.get(len(samples), (TEXT, "en", 1.0))
        words = (HeardWord(f" {word}", n / 4, n / 4 + 0.2, 0.9) for n, word in enumerate(text.split()))
        return Heard(tuple(words), language or spoken, 1.0 if language else sure)

    def embed(self, samples: np.ndarray) -> np.ndarray:
        return np.array(self.voices.get(len(samples), [1, 0]), np.float32)

    def measure(self, samples: np.ndarray) -> Pitch:
        return Pitch(median=self.pitches.get(len(samples), 200), spread=10)


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> Ears:
    ears = Ears()
    there = Listeners(recogniser=ears, speaker=ears, pitch=ears, names={"recognition": "ears"})  # type: ignore[arg-type]
    monkeypatch.setattr("fishtune.core.stages.validate.listen.load_listeners", lambda *_: there)
    return ears


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four clips that say the same, each a sample longer than the one before."""
    (tmp_path / "data" / "S").mkdir(parents=True)
    samples = read_audio(CLIP, RATE)
    for number, name in enumerate("abcd"):
        write(tmp_path / "data", name, np.concatenate([samples, np.zeros(number, np.float32)]))
    return tmp_path / "data"


def write(data: Path, name: str, samples: np.ndarray, text: str = TEXT) -> int:
    """Write a clip and return its length."""
    soundfile.write(data / "S" / f"{name}.wav", samples, RATE)
    (data / "S" / f"{name}.lab").write_text(text, encoding="utf-8")
    return len(samples)


def length(data: Path, name: str) -> int:
    return int(soundfile.info(data / "S" / f"{name}.wav").frames)


def listened(data: Path, reporter: Reporter | None = None, **other: object) -> ValidationReport:
    settings = {"data": data, "listen": True, "device": "cpu", "num_workers": 1, **other}
    return run(ValidateSettings.model_validate(settings), reporter or Reporter())


def found(report: ValidationReport) -> dict[str, list[FindingKind]]:
    kinds: dict[str, list[FindingKind]] = {}
    for finding in report.findings:
        if finding.code is not FindingKind.TOO_LITTLE:
            kinds.setdefault(finding.path.stem, []).append(finding.code)
    return kinds


def test_nothing_is_said_of_clips_that_say_their_transcripts(ears: Ears, data: Path) -> None:
    report = listened(data)
    assert found(report) == {}
    assert [(clip.clip, clip.wer) for clip in report.listened] == [(f"S/{name}", 0.0) for name in "abcd"]


def test_words_that_differ_are_found_worst_first(ears: Ears, data: Path) -> None:
    ears.heard[length(data, "c")] = ("Nothing like that at all was ever said here.", "en", 1.0)
    ears.heard[length(data, "b")] = (f"{TEXT} But then again.", "en", 1.0)
    report = listened(data)
    assert found(report) == {"c": [FindingKind.OTHER_WORDS], "b": [FindingKind.ADDED_WORDS]}
    assert [clip.clip for clip in report.listened][:2] == ["S/c", "S/b"]
    assert next(clip for clip in report.listened if clip.clip == "S/b").heard == f"{TEXT} But then again."


def test_swapped_transcripts_name_one_another(ears: Ears, data: Path) -> None:
    other = "A wholly different sentence of six words or more."
    ears.heard[length(data, "b")] = (other, "en", 1.0)
    (data / "S" / "a.lab").write_text(other)
    said = {finding.path.stem: str(finding.what) for finding in listened(data).findings}
    assert said["a"] == "S/a says what the transcript of S/b has."
    assert said["b"] == "S/b says what the transcript of S/a has."


def test_another_voice_is_one_finding_and_no_common_voice_is_said_of_the_folder(
    ears: Ears, data: Path
) -> None:
    ears.voices[length(data, "d")] = [0, 1]
    assert found(listened(data)) == {"d": [FindingKind.OTHER_VOICE]}
    for number, name in enumerate("abcd"):
        ears.voices[length(data, name)] = np.eye(4)[number].tolist()
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    assert found(listened(data)) == {"S": [FindingKind.SEVERAL_VOICES]}


def test_another_language_is_said_where_recognition_is_sure_of_it_and_else_heard_again(
    ears: Ears, data: Path
) -> None:
    ears.heard[length(data, "a")] = ("Das ist etwas anderes.", "de", 0.95)
    ears.heard[length(data, "b")] = (TEXT, "cy", 0.4)
    report = listened(data)
    assert found(report) == {"a": [FindingKind.OTHER_LANGUAGE]}
    assert ears.asked == [None] * 4 + ["en"]


def test_a_clip_that_is_cut_in_a_word_is_found(ears: Ears, data: Path) -> None:
    speech = read_audio(CLIP, RATE)
    vowel = len(speech) // 2 + int(np.abs(speech[len(speech) // 2 : -RATE // 2]).argmax())
    write(data, "a", speech[:vowel])
    write(data, "b", speech[vowel:])
    said = [str(finding.what) for finding in listened(data).findings if finding.code is FindingKind.CUT_OFF]
    assert said == [
        "S/a ends inside a word: there is no silence.",
        "S/b begins inside a word: there is no silence.",
    ]


def test_what_was_heard_is_kept_by_content(ears: Ears, data: Path) -> None:
    first = listened(data)
    (data / "S" / "a.wav").rename(data / "S" / "renamed.wav")
    (data / "S" / "a.lab").rename(data / "S" / "renamed.lab")
    (data / "S" / "b.lab").write_text("Something else entirely, in other words.")
    second = listened(data)
    assert len(ears.asked) == 4
    assert found(second) == {"b": [FindingKind.OTHER_WORDS]}
    assert {clip.heard for clip in first.listened} == {clip.heard for clip in second.listened}
    write(data, "c", read_audio(CLIP, RATE)[100:])
    listened(data)
    assert len(ears.asked) == 5


def test_a_stopped_run_has_kept_what_it_heard(
    ears: Ears, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Reporter()
    listen = ears.listen

    def listen_and_ask(samples: np.ndarray, language: str | None) -> Heard:
        reporter.request_stop()
        return listen(samples, language)

    monkeypatch.setattr(ears, "listen", listen_and_ask)
    with pytest.raises(StopRequested, match="What was heard is kept"):
        listened(data, reporter)
    monkeypatch.setattr(ears, "listen", listen)
    listened(data)
    assert len(ears.asked) == 4


def test_clips_that_are_all_alike_are_said(ears: Ears, data: Path) -> None:
    samples = read_audio(CLIP, RATE)
    for number in range(20):
        write(data, f"n{number}", np.concatenate([samples, np.zeros(100 + number, np.float32)]))
    said = [finding for finding in listened(data).findings if finding.code is FindingKind.LITTLE_VARIETY]
    assert [str(finding.what) for finding in said] == [
        "Nearly all clips of S are 1.9 s long.",
        "All clips of S have nearly the same pitch.",
    ]


def _normalised(speech: np.ndarray) -> np.ndarray:
    return speech * (10 ** (-23 / 20) / np.sqrt(np.square(speech).mean()))


def _limited(speech: np.ndarray) -> np.ndarray:
    """Return speech driven 30 dB into a soft limiter."""
    return np.tanh(speech / np.abs(speech).max() * 10**1.5)


def _compressed(speech: np.ndarray) -> np.ndarray:
    """Return speech compressed 8 : 1 above -40 dB, within 50 ms."""
    power = np.convolve(np.square(speech), np.full(RATE // 20, 20 / RATE), "same")
    level = 10 * np.log10(np.maximum(power / power.max(), 1e-4))
    return speech * 10 ** ((-40 - level) * (1 - 1 / 8) / 20)


@pytest.mark.parametrize(
    ("change", "is_flat"),
    [(np.asarray, False), (_normalised, False), (_limited, True), (_compressed, True)],
    ids=["as it is", "normalised", "limited", "compressed"],
)
def test_speech_whose_level_was_flattened_is_said_and_one_loudness_is_not(
    ears: Ears, data: Path, change: Callable[[np.ndarray], np.ndarray], is_flat: bool
) -> None:
    for name in "abcd":
        (data / "S" / f"{name}.wav").unlink()
        (data / "S" / f"{name}.lab").unlink()
    long_enough = [read_audio(clip, RATE) for clip in lj_clips() if read_info(clip).seconds > 5]
    for number in range(20):
        speech = long_enough[number % len(long_enough)][number * 400 : (70 + 6 * number) * 800]
        length = write(data, f"n{number}", change(speech).astype(np.float32))
        ears.pitches[length] = 180 + 4 * number
    said = [finding for finding in listened(data).findings if finding.code is FindingKind.LITTLE_VARIETY]
    assert len(said) == is_flat
    if said:
        assert "The speech of S hardly changes in level" in str(said[0].what)


def test_what_was_heard_is_found_by_the_recording_alone(ears: Ears, data: Path) -> None:
    assert words_heard(data / "S" / "a.wav") is None
    listened(data)
    (data / "S" / "a.wav").rename(data / "renamed.wav")
    heard = words_heard(data / "renamed.wav")
    assert heard is not None and heard.text == TEXT
    (data / "renamed.wav").write_bytes(b"another")
    assert words_heard(data / "renamed.wav") is None


@pytest.mark.parametrize(("seconds", "is_heard"), [(0.0, False), (0.25, False), (0.7, True)])
def test_a_room_is_told_by_how_long_it_rings(seconds: float, is_heard: bool) -> None:
    decays = []
    for clip in lj_clips():
        speech = read_audio(clip, RATE)
        if seconds:
            random = np.random.default_rng(0)
            echo = random.normal(size=round(RATE * seconds)) * 10 ** (
                -3 * np.arange(round(RATE * seconds)) / (seconds * RATE)
            )
            echo *= 0.7 / np.sqrt(np.square(echo).sum())
            echo[0] = 1
            size = len(speech) + len(echo)
            speech = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(echo, size), size).astype(
                np.float32
            )
        decays += decay_times(speech)
    ringing = reverberation(decays)
    assert ringing is not None
    assert (ringing > REVERBERANT) == is_heard
    assert reverberation(decays[:5]) is None


def test_the_command_gives_numbers_and_json(
    ears: Ears, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ears.heard[length(data, "c")] = ("Nothing like that at all was ever said here.", "en", 1.0)
    arguments = ["validate", str(data), "--listen", "--device", "cpu", "--num-workers", "1"]
    assert command(arguments) == 0
    assert "Listened to 4 clips: mean word error rate" in capsys.readouterr().out
    assert command([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["listened"][0]["clip"] == "S/c"
    assert "other-words" in [finding["code"] for finding in report["findings"]]
