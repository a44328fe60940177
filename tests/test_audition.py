"""Auditions: what is found in generated speech, and what a checkpoint is given to say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fishtune.core.cli.app import run as run_command
from fishtune.core.config.presets import LoraPreset
from fishtune.core.config.settings import AuditionSettings
from fishtune.core.errors import CheckpointError, StopRequested, UsageError
from fishtune.core.events import Reporter, Warned
from fishtune.core.files import temporary_path
from fishtune.core.judge.faults import SpeechFaultKind
from fishtune.core.judge.record import audition_folder, read_audition
from fishtune.core.judge.results import AuditionResult
from fishtune.core.judge.rules import expected_seconds, find_faults
from fishtune.core.lora.injection import add_adapters, save_adapter
from fishtune.core.model.checkpoint import load_model
from fishtune.core.shards.index import ShardIndex
from fishtune.core.stages.audition import speaking
from fishtune.core.stages.audition.question import DataSet, OwnClip, Question, make_question, read_data_set
from fishtune.core.stages.audition.run import run
from fishtune.core.text.languages import likely_language
from fishtune.core.text.prompts import Turn
from fishtune.core.text.texts import texts_of

from .recorder import Recorder

ModelDirectory = Callable[..., Path]
RATE = 44100
SLOW = LoraPreset(description="", rank=4, alpha=8, targets=[r"layers\.\d+\.attention\.(wqkv|wo)"])


def speech(seconds: float, gain: Callable[[np.ndarray], np.ndarray] = np.ones_like) -> np.ndarray:
    """Return noise in syllables of a quarter second, its loudness over time (0 … 1) given by `gain`."""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    return (noise * (0.3 + np.sin(np.pi * 4 * time) ** 2) * gain(time / seconds)).astype(np.float32)


def faults(samples: np.ndarray, codes: np.ndarray | None = None, **changes: Any) -> list[SpeechFaultKind]:
    """Return the kinds of findings; by default the model ended and the text fits the length."""
    seconds = len(samples) / RATE
    if codes is None:
        codes = np.random.default_rng(1).integers(0, 64, (10, max(1, round(seconds * 21.5))))
    about = {"sample_rate": RATE, "ended": True, "expected": seconds} | changes
    return [finding.kind for finding in find_faults(codes, samples, **about)]


def test_ordinary_speech_has_no_findings() -> None:
    assert faults(speech(4)) == []
    # A pause in the middle and a quiet end are ordinary.
    assert faults(speech(4, lambda t: np.where((t > 0.4) & (t < 0.6), 0, 1 - 0.6 * t))) == []


def test_speech_that_fades_is_found() -> None:
    assert faults(speech(4, lambda t: 10.0 ** (-2 * t))) == [SpeechFaultKind.FADING]
    assert faults(speech(4, lambda t: (t < 0.5).astype(float))) == [SpeechFaultKind.FADING]
    assert faults(speech(0.8, lambda t: 10.0 ** (-2 * t))) == []


def test_silence_is_found() -> None:
    assert faults(speech(4) * 0.001) == [SpeechFaultKind.SILENT]
    assert faults(np.zeros(4 * RATE, np.float32)) == [SpeechFaultKind.SILENT]


def test_length_is_held_against_the_text() -> None:
    assert faults(speech(4), expected=1.5) == [SpeechFaultKind.LONG]
    assert faults(speech(4), expected=11) == [SpeechFaultKind.SHORT]
    assert faults(speech(4), ended=False, expected=1.5) == [SpeechFaultKind.ENDLESS]
    assert expected_seconds("a" * 140) == pytest.approx(10)


def test_a_repeated_frame_is_found() -> None:
    codes = np.random.default_rng(1).integers(0, 64, (10, 86))
    codes[:, 20:60] = codes[:, [20]]
    assert faults(speech(4), codes) == [SpeechFaultKind.STUCK]


def test_nothing_generated_is_found() -> None:
    assert faults(np.zeros(0, np.float32), np.zeros((10, 0), int), expected=1.0) == [SpeechFaultKind.EMPTY]


@pytest.mark.parametrize(
    ("transcripts", "word"),
    [
        (["hello there", "안녕"], "train"),
        (["안녕하세요, 반갑습니다", "ok"], "기차"),
        (["今日は天気がいいですね"], "電車"),
        (["カタカナとひらがな"], "電車"),
        (["你好，世界"], "火车"),
        (["привет всем"], "поезд"),
        (["123 …"], "train"),
        (["مرحبا"], "train"),
        ([], "train"),
    ],
)
def test_texts_are_in_the_language_of_the_data_set(transcripts: list[str], word: str) -> None:
    question = asked(DataSet(transcripts=tuple(transcripts)))
    assert len(question.texts) == question.said == 24
    assert any(word in row.text for row in question.texts)


@pytest.mark.parametrize(
    ("language", "text"),
    [("de", "Es ist nicht weit, und wir gehen mit."), ("es", "No lo sé, pero por la tarde es mejor."),
     ("fr", "Il est dans la rue avec les enfants."), ("en", "It was the end of the day.")],
)  # fmt: skip
def test_a_language_in_latin_letters_is_known_by_its_commonest_words(language: str, text: str) -> None:
    assert likely_language([text]) == language
    assert asked(DataSet(transcripts=(text,))).texts[0].text == texts_of(language)[0]


def asked(data: DataSet, **settings: Any) -> Question:
    """Return what an audition asks about a data set, of a model that holds every text."""
    chosen = AuditionSettings(checkpoint=Path("x"), **settings)
    return make_question(chosen, data, data.reference, {}, lambda _: True)


def clip(text: str, frames: int = 40) -> OwnClip:
    return OwnClip(text, Turn(text, np.full((10, frames), len(text))))


def test_held_out_transcripts_are_said_after_ours_unless_texts_are_given() -> None:
    data = DataSet(held_out=(clip("The short one."), clip("The one that is longer.")))
    question = asked(data, language="en")
    assert [row.source for row in question.texts] == [*["ours"] * 24, *["held-out"] * 2]
    assert (question.said, sorted(question.recordings)) == (26, [24, 25])
    given = asked(data, texts=["Hello."])
    assert [row.text for row in given.texts] == ["Hello.", "The short one.", "The one that is longer."]
    assert (given.said, sorted(given.recordings)) == (1, [1, 2])
    assert given.digest != question.digest == asked(data, language="en").digest
    assert question.digest != asked(data, language="en", seeds=2).digest


def test_what_a_model_cannot_hold_is_not_asked() -> None:
    chosen = AuditionSettings(checkpoint=Path("x"), language="en")
    question = make_question(chosen, DataSet(), None, {}, lambda text: len(text) < 20)
    assert [row.text for row in question.texts] == ["Good morning.", "Not today, thanks."]


def test_up_to_8_held_out_clips_are_taken_and_the_reference_is_one_that_was_seen(
    golden: Path,
) -> None:
    index = ShardIndex.open(golden / "protos")
    data = read_data_set(golden / "protos", 0.5, 21.5)
    assert data.reference is not None
    assert data.reference.name not in [each.name for each in data.held_out]
    assert len(data.transcripts) == len(index)
    assert read_data_set(golden / "protos", None, 21.5).held_out == ()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no model go on for longer than a text takes: random ones rarely end by themselves."""
    monkeypatch.setattr(speaking, "_PATIENCE", 0.7)


@pytest.fixture
def checkpoint(golden: Path, tmp_path: Path, model_directory: ModelDirectory) -> Path:
    """`results/me/checkpoints/step_000000010.ckpt` with its adapter folder, as training leaves them."""
    base, protos = model_directory(), tmp_path / "protos"
    shutil.copytree(golden / "protos", protos)
    folder = tmp_path / "results/me/checkpoints"
    (folder / "step_000000010").mkdir(parents=True)
    model = load_model(base)
    add_adapters(model, SLOW, seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.2)
    save_adapter(model, base, folder / "step_000000010")
    state = {f"model.{name}": weight for name, weight in model.named_parameters() if "lora_" in name}
    about = {
        "preset": SLOW.model_dump(mode="json"),
        "identity": {"base_sha256": None},
        "settings": {"base": str(base), "protos": str(protos)},
    }
    torch.save({"state_dict": state, "fishtune": about}, folder / "step_000000010.ckpt")
    return folder / "step_000000010.ckpt"


def listen(checkpoint: Path, reporter: Reporter | None = None, **changes: Any) -> AuditionResult:
    """Run an audition."""
    return run(AuditionSettings(checkpoint=checkpoint, device="cpu", **changes), reporter or Reporter())


def seconds_of(result: AuditionResult) -> list[float]:
    """Return how long each text of an audition's only candidate took."""
    (candidate,) = result.candidates
    return [cell.seconds for cell in candidate.cells]


def test_a_checkpoint_speaks_on_its_base_in_a_voice_of_its_data_set(checkpoint: Path) -> None:
    result = listen(checkpoint, texts=["one", "two", "three"])
    folder = checkpoint.parent.parent / "audition/step_000000010"
    assert audition_folder(checkpoint) == folder
    assert result.reference == "SPK1 #0"
    assert len(result.texts) == 3
    for spoken in result.candidates[0].cells:
        if spoken.audio:
            assert soundfile.info(folder / spoken.audio).duration == pytest.approx(spoken.seconds)
    assert read_audition(checkpoint) == result.candidates[0]
    # The folder beside it is the same training, and speaks the same.
    again = listen(checkpoint.with_suffix(""), texts=["one", "two", "three"])
    assert seconds_of(again) == seconds_of(result)


def test_an_audition_of_a_former_file_does_not_count(checkpoint: Path) -> None:
    listen(checkpoint, texts=["hi"])
    assert read_audition(checkpoint) is not None
    torch.save(torch.load(checkpoint), checkpoint)
    assert read_audition(checkpoint) is None


def test_the_adapter_is_heard(checkpoint: Path, tmp_path: Path) -> None:
    trained = listen(checkpoint, texts=["hello"])
    plain = listen(tmp_path / "model", texts=["hello"], protos=tmp_path / "protos")
    folders = audition_folder(checkpoint), audition_folder(tmp_path / "model")
    first, second = (soundfile.read(folder / "1.wav")[0] for folder in folders)
    assert trained.reference == plain.reference
    assert len(first) != len(second) or not np.array_equal(first, second)


def test_the_command_prints_findings_and_their_recordings(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["audition", str(checkpoint), "--text", "hello", "--json", "--device", "cpu"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [text["text"] for text in summary["texts"]] == ["hello"]
    assert run_command(["audition", str(checkpoint), "--text", "hello", "--device", "cpu"]) == 0
    assert "in the voice of SPK1 #0" in capsys.readouterr().out


def test_what_cannot_work_is_said(checkpoint: Path, tmp_path: Path, golden: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.ckpt does not exist"):
        listen(tmp_path / "gone.ckpt")
    (audition_folder(checkpoint)).mkdir(parents=True)
    (audition_folder(checkpoint) / "mine.txt").touch()
    with pytest.raises(UsageError, match="holds no audition"):
        listen(checkpoint)
    shutil.rmtree(audition_folder(checkpoint))
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(UsageError, match="is not known or gone"):
        listen(checkpoint)


def test_a_stopped_audition_leaves_nothing(checkpoint: Path) -> None:
    reporter = Reporter()
    reporter.request_stop()
    with pytest.raises(StopRequested):
        listen(checkpoint, reporter)
    assert not audition_folder(checkpoint).exists()


def test_out_of_memory_moves_an_audition_to_the_cpu_and_says_so(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = listen(checkpoint, texts=["hello", "hi"])
    plain, calls = speaking.generate_all, 0

    def tight(*values: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(*values, **named)

    monkeypatch.setattr(speaking, "generate_all", tight)
    shutil.rmtree(audition_folder(checkpoint))
    recorder = Recorder()
    result = listen(checkpoint, recorder, texts=["hello", "hi"])
    assert calls == 2
    assert seconds_of(result) == seconds_of(calm)
    (warned,) = [event for event in recorder.of(Warned) if "are not judged" not in event.message]
    assert "continues on the CPU. CUDA out of memory" in warned.message

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(speaking, "generate_all", full)
    shutil.rmtree(audition_folder(checkpoint))
    with pytest.raises(torch.OutOfMemoryError):
        listen(checkpoint, texts=["hello"])


def test_an_audition_sweeps_what_a_killed_one_left_and_nothing_else(checkpoint: Path) -> None:
    folder = audition_folder(checkpoint)
    folder.parent.mkdir()
    own, other = temporary_path(folder), temporary_path(folder.with_name("step_000000020"))
    own.mkdir()
    other.mkdir()
    listen(checkpoint, texts=["hi"])
    assert not own.exists() and other.exists()


def test_what_is_not_of_the_audition_is_kept(checkpoint: Path) -> None:
    listen(checkpoint, texts=["hi"])
    listen(checkpoint, texts=["hi"])  # its own is replaced
    folder = audition_folder(checkpoint)
    (folder / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"notes\.txt did not come from the audition"):
            listen(checkpoint, texts=["hi"], overwrite=overwrite)
    (folder / "notes.txt").unlink()
    (folder / "1.wav").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"1\.wav did not come from the audition"):
        listen(checkpoint, texts=["hi"])
    assert (folder / "1.wav").read_bytes() == b"mine"
    listen(checkpoint, texts=["hi"], overwrite=True)


@pytest.mark.parametrize("content", ["{}", "[" * 9999, "mine"])
def test_a_record_that_is_none_of_ours_makes_no_audition_of_a_folder(checkpoint: Path, content: str) -> None:
    audition_folder(checkpoint).mkdir(parents=True)
    (audition_folder(checkpoint) / "audition.json").write_text(content)
    with pytest.raises(UsageError, match="holds no audition"):
        listen(checkpoint)
    assert read_audition(checkpoint) is None


@pytest.mark.parametrize("noted", [[], "x", {"base": "a" * 5000}, {"base": "\0"}, {"base": ["x"]}])
def test_settings_that_a_checkpoint_does_not_note_well_are_not_used(checkpoint: Path, noted: Any) -> None:
    content = torch.load(checkpoint)
    content["fishtune"]["settings"] = noted
    torch.save(content, checkpoint)
    with pytest.raises(UsageError, match="is not known or gone"):
        listen(checkpoint)


def test_a_file_of_a_model_directory_says_which_directory_is_meant(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Give the directory: .*/model$"):
        listen(tmp_path / "model/model.pth")
