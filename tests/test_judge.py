"""The stage and its command: what is judged, against which voice, and what is said of what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.audio.recordings import read_audio
from fishtune.core.cli.app import run as command
from fishtune.core.config.settings import JudgeSettings
from fishtune.core.config.settings.listen import LANGUAGES
from fishtune.core.errors import CheckpointError, DataError, DownloadError, StopRequested, UsageError
from fishtune.core.events import ItemFailed, Progress, Warned
from fishtune.core.judge import listeners as listening
from fishtune.core.judge.faults import SpeechFaultKind
from fishtune.core.judge.listeners import Listeners
from fishtune.core.judge.recognition import Heard, HeardWord, Placement, Recogniser
from fishtune.core.judge.results import Pitch
from fishtune.core.stages.judge.recordings import find_recordings
from fishtune.core.stages.judge.run import JudgeResult, run
from fishtune.core.text.languages import language_of

from .judge_kit import RATE, lj_clips
from .recorder import Recorder

TEXT = lj_clips()[3].with_suffix(".lab").read_text(encoding="utf-8").strip()
SPEECH = read_audio(lj_clips()[3], RATE)
Place = Callable[..., Path]


class Ears:
    """Stands for recognition, encoder and pitch meter; what each clip has is told by the clip's length."""

    def __init__(self) -> None:
        self.heard: dict[int, str] = {}
        self.voices: dict[int, np.ndarray] = {}

    def listen(self, samples: np.ndarray, language: str | None) -> Heard:
        words = self.heard.get(len(samples), TEXT).split()
        return Heard(
            tuple(
                HeardWord(f" {word}", place / 10, place / 10 + 0.1, 0.9) for place, word in enumerate(words)
            ),
            language or "en",
        )

    def embed(self, samples: np.ndarray) -> np.ndarray:
        return self.voices.get(len(samples), np.array([1, 0], np.float32))

    def measure(self, samples: np.ndarray) -> Pitch:
        return Pitch(median=200, spread=10)


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> Ears:
    pytest.importorskip("num2words", reason="the extra is not installed: pip install 'fishtune[judge]'")
    ears = Ears()
    there = Listeners(recogniser=ears, speaker=ears, pitch=ears, language="en")  # type: ignore[arg-type]
    monkeypatch.setattr("fishtune.core.stages.judge.run.load_listeners", lambda *_: there)
    return ears


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Write a clip with its transcript; each is one sample longer, so that `Ears` know them apart."""
    longer = iter(range(100))

    def write(name: str, *, text: str | None = TEXT, samples: np.ndarray = SPEECH) -> Path:
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.concatenate([samples, np.zeros(next(longer), np.float32)]), RATE)
        if text is not None:
            path.with_suffix(".lab").write_text(text, encoding="utf-8")
        return path

    return write


def length(path: Path) -> int:
    return int(soundfile.info(path).frames)


def judge(*paths: Path, reporter: Recorder | None = None, **other: object) -> JudgeResult:
    settings = JudgeSettings.model_validate({"paths": list(paths), "device": "cpu", **other})
    return run(settings, reporter or Recorder())


def test_clips_are_judged_with_their_numbers(ears: Ears, place: Place, tmp_path: Path) -> None:
    good, cut = place("a"), place("b")
    ears.heard[length(cut)] = " ".join(TEXT.split()[:8])
    reporter = Recorder()
    first, second = judge(tmp_path, reporter=reporter).clips
    assert (first.file, first.findings) == (good, [])
    assert (first.wer, first.deletions, first.insertions, first.substitutions) == (0, 0, 0, 0)
    assert first.rate == pytest.approx(16, abs=2)
    assert first.pitch == Pitch(median=200, spread=10)
    assert second.deletions == len(TEXT.split()) - 8
    assert SpeechFaultKind.MISSING_END in [finding.kind for finding in second.findings]
    assert [event.done for event in reporter.of(Progress)][-1] == 2


def test_where_the_words_differ_is_told_with_its_time(ears: Ears, place: Place) -> None:
    clip = place("a")
    ears.heard[length(clip)] = f"oh well {TEXT.replace('immediate', '')}"
    first, second = judge(clip).clips[0].differences
    assert (first.expected, first.heard, first.start) == ("", "oh well", 0.0)
    assert (second.expected, second.heard, second.start) == ("immediate", "", None)


def test_a_voice_unlike_the_reference_is_found(ears: Ears, place: Place, tmp_path: Path) -> None:
    reference, strange = place("reference/r"), place("clips/s")
    ears.voices[length(strange)] = np.array([0.2, 0.98], np.float32)
    (clip,) = judge(strange, reference=reference).clips
    assert clip.similarity == pytest.approx(0.2)
    assert [finding.kind for finding in clip.findings] == [SpeechFaultKind.OTHER_VOICE]


def test_clips_of_a_folder_are_held_against_one_another_and_not_against_other_folders(
    ears: Ears, place: Place, tmp_path: Path
) -> None:
    mine = [place(f"me/{number}") for number in range(4)]
    yours = [place(f"you/{number}") for number in range(3)]
    for path in (*yours, mine[3]):
        ears.voices[length(path)] = np.array([0, 1], np.float32)
    clips = judge(tmp_path).clips
    assert [clip.file for clip in clips if clip.findings] == [mine[3]]


def test_a_folder_without_a_common_voice_is_said_and_not_guessed(
    ears: Ears, place: Place, tmp_path: Path
) -> None:
    for number in range(4):
        path = place(f"mixed/{number}")
        ears.voices[length(path)] = np.eye(4, dtype=np.float32)[number]
    reporter = Recorder()
    assert all(not clip.findings for clip in judge(tmp_path, reporter=reporter).clips)
    (warned,) = reporter.of(Warned)
    assert "have no voice in common" in warned.message
    assert "--reference" in warned.hint


def test_words_of_the_reference_that_leak_are_named(ears: Ears, place: Place) -> None:
    reference = place("r", text="The museum is closed on Mondays.")
    leaked = place("clips/l")
    ears.heard[length(reference)] = "The museum is closed on Mondays."
    ears.heard[length(leaked)] = f"The museum is closed on Mondays. {TEXT}"
    (clip,) = judge(leaked, reference=reference).clips
    assert SpeechFaultKind.LEAKED_REFERENCE in [finding.kind for finding in clip.findings]


def test_a_clip_without_transcript_has_no_words_to_judge(ears: Ears, place: Place) -> None:
    reporter = Recorder()
    (clip,) = judge(place("a", text=None), reporter=reporter).clips
    assert (clip.text, clip.wer, clip.deletions) == (None, None, None)
    assert clip.heard == TEXT
    assert clip.findings == []
    assert "words are not judged" in reporter.of(Warned)[0].message


def test_a_recording_that_cannot_be_read_is_left_out(ears: Ears, place: Place, tmp_path: Path) -> None:
    place("a")
    (tmp_path / "b.wav").write_bytes(b"RIFFnonsense")
    reporter = Recorder()
    result = judge(tmp_path, reporter=reporter)
    assert len(result.clips) == 1
    assert result.failed == [str(tmp_path / "b.wav")]
    assert reporter.of(ItemFailed)[0].item == str(tmp_path / "b.wav")
    with pytest.raises(DataError, match="The recording cannot be read"):
        judge(tmp_path / "b.wav")


def test_a_stop_is_obeyed_between_clips(ears: Ears, place: Place, tmp_path: Path) -> None:
    place("a")
    place("b")
    reporter = Recorder(lambda event: reporter.request_stop() if isinstance(event, Progress) else None)
    with pytest.raises(StopRequested):
        judge(tmp_path, reporter=reporter)


def test_paths_are_files_or_folders_each_clip_once(place: Place, tmp_path: Path) -> None:
    first, second = place("a"), place("deep/er/b")
    (tmp_path / "notes.txt").write_text("no audio")
    assert find_recordings([tmp_path, first]) == [first, second]
    with pytest.raises(UsageError, match="does not exist"):
        find_recordings([tmp_path / "none"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="has no recordings"):
        find_recordings([empty])


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("안녕하세요, everyone", "ko"),
        ("今日は天気がいい", "ja"),
        ("今天天气很好", "zh"),
        ("привет", "ru"),
        ("Hello", None),
        ("123", None),
        (None, None),
    ],
)
def test_a_script_of_one_language_tells_it(text: str | None, language: str | None) -> None:
    assert language_of([text, None]) == language


def test_without_the_extra_the_sound_is_judged_and_the_rest_is_said(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listening, "is_installed", lambda *modules: not modules)
    monkeypatch.setattr(listening, "dnsmos_file", lambda: None)
    place("a")
    place("b", samples=SPEECH * (10.0 ** (-2 * np.linspace(0, 1, len(SPEECH)))).astype(np.float32))
    place("c", text=TEXT * 4)
    reporter = Recorder()
    result = judge(tmp_path, reporter=reporter)
    assert [[finding.kind for finding in clip.findings] for clip in result.clips] == [
        [],
        [SpeechFaultKind.FADING],
        [SpeechFaultKind.SHORT],
    ]
    assert result.not_judged == [
        "Words and pace are not judged: faster_whisper is not installed.",
        "Voices are not judged: onnxruntime is not installed.",
        "Pitch is not judged: swift_f0 is not installed.",
    ]
    assert {warned.hint for warned in reporter.of(Warned)} == {
        'Install it in the same environment: pip install "fishtune[judge]"'
    }
    assert command(["judge", str(tmp_path), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "1 of 3 sound right" in said
    assert "Words and pace are not judged" in said


def test_a_default_model_that_cannot_be_had_is_said_and_one_that_was_asked_for_ends_the_stage(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise DownloadError("The hub cannot be reached.", "Check the network.")

    monkeypatch.setattr(listening, "is_installed", lambda *_: True)
    monkeypatch.setattr(listening, "dnsmos_file", lambda: None)
    monkeypatch.setattr(listening, "load_recogniser", refuse)
    monkeypatch.setattr(listening, "speaker_file", refuse)
    monkeypatch.setattr(listening.PitchMeter, "load", lambda: Ears())
    clip = place("a")
    assert judge(clip).not_judged == [
        "Words and pace are not judged: The hub cannot be reached.",
        "Voices are not judged: The hub cannot be reached.",
    ]
    with pytest.raises(DownloadError):
        judge(clip, asr_model="small")
    with pytest.raises(DownloadError):
        judge(clip, speaker_model="campplus")


def test_a_folder_that_is_no_model_is_refused_in_a_sentence(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faster_whisper", reason="the extra is not installed")
    folder = tmp_path / "model"
    folder.mkdir()
    clip = place("a")
    assert command(["judge", str(clip), "--asr-model", str(folder), "--device", "cpu"]) == 1
    assert f"{folder} lacks model.bin." in capsys.readouterr().err
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_text("{}")
    with pytest.raises(CheckpointError, match=r"model (cannot be loaded|is damaged)"):
        Recogniser.load(folder, Placement())


def test_the_result_is_json(
    ears: Ears, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = place("a")
    assert command(["judge", str(clip), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["clips"]
    wanted = {
        "file",
        "wer",
        "deletions",
        "insertions",
        "substitutions",
        "similarity",
        "rate",
        "pitch",
        "findings",
    }
    assert wanted <= set(found)
    assert found["findings"] == []


def test_a_language_that_no_model_knows_is_refused_before_anything_is_heard(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["judge", str(place("a")), "--language", "xx"]) == 2
    assert "--language: no model for recognition knows this language" in capsys.readouterr().err


def test_the_languages_are_those_of_whispers_tokenizer() -> None:
    tokenizer = pytest.importorskip("faster_whisper.tokenizer", reason="the extra is not installed")
    assert set(tokenizer._LANGUAGE_CODES) == LANGUAGES
