"""Preparing a data set: what becomes of recordings, what is kept, what is refused.

Speech is found for real; only recognition is stood for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.cli.app import run as command
from fishtune.core.config.settings import PrepareSettings
from fishtune.core.dataset.layout import scan
from fishtune.core.dataset.prepared import WordsFrom, read_prepared
from fishtune.core.errors import DataError, DownloadError, StopRequested, UsageError
from fishtune.core.events import ItemFailed, Log, Progress, Warned
from fishtune.core.judge import extra
from fishtune.core.judge.recognition import Heard, HeardWord
from fishtune.core.stages.prepare import ears
from fishtune.core.stages.prepare.journal import JOURNAL_FILE
from fishtune.core.stages.prepare.run import PrepareResult, run

from .judge_kit import lj_clips, other_clips
from .prepare_kit import Joined, joined, write
from .recorder import Recorder

for package in ("silero_vad", "onnxruntime", "num2words", "pysubs2"):
    pytest.importorskip(package, reason="the extra is not installed: pip install 'fishtune[prepare]'")


class Typist:
    """Stands for recognition: what it hears follows from the samples alone."""

    def __init__(self) -> None:
        self.listened = 0
        self.languages = ["en"]
        self.then: Callable[[int], None] = lambda listened: None

    def listen(self, samples: np.ndarray, language: str | None, prompt: str = "") -> Heard:
        self.listened += 1
        self.then(self.listened)
        name = hashlib.sha256(np.round(samples * 100).astype(np.int8).tobytes()).hexdigest()[:8]
        words = tuple(
            HeardWord(f" {word}", place / 2, place / 2 + 0.4, 0.9 - place / 10)
            for place, word in enumerate(["Clip", *filter(None, [prompt]), f"{name}."])
        )
        return Heard(words, language or self.languages[self.listened % len(self.languages)])

    def check_language(self, language: str) -> None:
        pass


@pytest.fixture
def typist(monkeypatch: pytest.MonkeyPatch) -> Typist:
    def refuse(*_: object) -> Path:
        raise DownloadError("The hub cannot be reached.", "Check the network.")

    typist = Typist()
    monkeypatch.setattr(ears, "load_recogniser", lambda *_, **__: typist)
    monkeypatch.setattr(ears, "speaker_file", refuse)
    return typist


@pytest.fixture(scope="module")
def recording() -> Joined:
    return joined()


@pytest.fixture
def raw(tmp_path: Path, recording: Joined) -> Path:
    write(tmp_path / "raw" / "Mia" / "talk.flac", recording)
    return tmp_path / "raw"


def prepare(raw: Path, reporter: Recorder | None = None, **other: object) -> PrepareResult:
    settings = {"raw": raw, "out": raw.with_name("data"), "device": "cpu", **other}
    return run(PrepareSettings.model_validate(settings), reporter or Recorder())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_long_recording_becomes_clips_of_the_lengths_asked_for(
    typist: Typist, raw: Path, recording: Joined
) -> None:
    before = contents(raw)
    reporter = Recorder()
    result = prepare(raw, reporter)
    data = raw.with_name("data")
    clips = scan(data).clips
    assert [clip.key for clip in clips] == [f"Mia/talk-{n:04}" for n in range(1, len(clips) + 1)]
    assert not scan(data).problems
    lengths = [soundfile.info(clip.audio[0]).duration for clip in clips]
    assert min(lengths) >= 3
    assert max(lengths) <= 12
    assert sum(lengths) > sum(end - start for start, end in recording.spans) - 1
    assert {soundfile.info(clip.audio[0]).samplerate for clip in clips} == {recording.rate}
    assert (result.prepared, result.clips, result.current) == (1, len(clips), 0)
    assert contents(raw) == before
    progress = reporter.of(Progress)
    assert progress[-1].done == pytest.approx(progress[-1].total)
    assert any("Mia/talk.flac: " in event.message for event in reporter.of(Log))


def test_the_record_says_where_clips_come_from_and_how_sure_they_are(typist: Typist, raw: Path) -> None:
    prepare(raw, prompt="Nguyen")
    record = read_prepared(raw.with_name("data"))
    assert record is not None
    (known,) = record.recordings
    first = known.clips[0]
    assert (known.source, known.language) == ("Mia/talk.flac", "en")
    assert first.clip == "Mia/talk-0001"
    assert first.origin is WordsFrom.HEARD
    assert first.text.startswith("Clip Nguyen ")
    assert first.score == pytest.approx(0.8)  # of 0.9, 0.8 and 0.7
    assert [word.text for word in first.words] == first.text.split()
    text = (raw.with_name("data") / "Mia" / "talk-0001.lab").read_text(encoding="utf-8")
    assert text == first.text + "\n"


def test_what_was_done_is_not_done_again_and_what_is_new_is_added(
    typist: Typist, raw: Path, recording: Joined
) -> None:
    prepare(raw)
    data = raw.with_name("data")
    before, listened = contents(data), typist.listened
    assert prepare(raw).current == 1
    assert (contents(data), typist.listened) == (before, listened)
    short = Joined(recording.samples[: 12 * recording.rate], recording.rate, (), ())
    write(raw / "Mia" / "deep" / "talk.wav", short)
    (raw / "Mia" / "talk.flac").rename(raw / "Mia" / "renamed.flac")
    result = prepare(raw)
    assert (result.prepared, result.current) == (1, 1)
    after = contents(data)
    assert {name: after[name] for name in before if name != "prepare.json"} == {
        name: content for name, content in before.items() if name != "prepare.json"
    }
    assert any(name.startswith("Mia/deep/talk-0001") for name in after)


def test_a_recording_that_changed_is_said_and_left_alone_until_it_is_asked_for(
    typist: Typist, raw: Path, recording: Joined
) -> None:
    prepare(raw)
    data = raw.with_name("data")
    before = contents(data)
    half = Joined(recording.samples[: len(recording.samples) // 2], recording.rate, (), ())
    write(raw / "Mia" / "talk.flac", half)
    assert prepare(raw).changed == ["Mia/talk.flac"]
    assert contents(data) == before
    assert prepare(raw, overwrite=True).prepared == 1
    assert len(scan(data).clips) < len([name for name in before if name.endswith(".lab")])
    assert not scan(data).problems


def stop_at(typist: Typist, clip: int, raw: Path) -> None:
    """Prepare until that many clips are heard."""
    reporter = Recorder()
    typist.listened = 0
    typist.then = lambda listened: reporter.request_stop() if listened == clip else None
    with pytest.raises(StopRequested, match="the same command continues"):
        prepare(raw, reporter)


@pytest.mark.parametrize("clip", [1, 4])
def test_a_stopped_run_continues_with_what_it_heard(typist: Typist, raw: Path, clip: int) -> None:
    whole = raw.with_name("whole")
    prepare(raw, out=whole)
    listened = typist.listened
    stop_at(typist, clip, raw)
    assert not (raw.with_name("data") / "prepare.json").exists()
    prepare(raw)
    assert typist.listened == listened
    assert contents(raw.with_name("data")) == contents(whole)


def test_a_torn_journal_costs_what_was_torn_and_nothing_else(typist: Typist, raw: Path) -> None:
    stop_at(typist, 3, raw)
    journal = raw.with_name("data") / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes()[:-10])
    clips = prepare(raw).clips
    assert typist.listened == 3 + clips - 2
    assert not journal.exists()


def test_one_language_is_heard_in_a_recording(typist: Typist, raw: Path) -> None:
    typist.languages = ["en", "en", "cy"]
    clips = prepare(raw).clips
    record = read_prepared(raw.with_name("data"))
    assert record is not None
    assert record.recordings[0].language == "en"
    assert typist.listened == clips + clips // 3


def test_files_of_others_are_never_replaced(typist: Typist, raw: Path) -> None:
    theirs = raw.with_name("data") / "Mia" / "talk-0002.lab"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(UsageError, match=r"talk-0002\.lab was not written by fishtune prepare"):
        prepare(raw)
    assert theirs.read_text() == "mine"


@pytest.mark.parametrize("out", ["raw", "raw/data", "."])
def test_recordings_and_data_set_do_not_lie_in_one_another(typist: Typist, raw: Path, out: str) -> None:
    with pytest.raises(UsageError, match="lie in one another"):
        prepare(raw, out=raw.parent / out)


def test_captions_give_the_words_without_recognition(typist: Typist, raw: Path, recording: Joined) -> None:
    def stamp(seconds: float) -> str:
        return f"00:{int(seconds) // 60:02}:{seconds % 60:06.3f}".replace(".", ",")

    # A reader's eye is some tenths of a second off.
    shifts = np.random.default_rng(0).uniform(-0.15, 0.15, 2 * len(recording.spans))
    lines = [
        f"{n + 1}\n{stamp(start + shifts[2 * n])} --> {stamp(end + shifts[2 * n + 1])}\n{text}\n"
        for n, ((start, end), text) in enumerate(zip(recording.spans, recording.texts, strict=True))
        if n != 2  # nobody has captioned this one
    ]
    (raw / "Mia" / "talk.en.srt").write_text("\n".join(lines), encoding="utf-8")
    prepare(raw)
    assert typist.listened == 0
    record = read_prepared(raw.with_name("data"))
    assert record is not None
    clips = record.recordings[0].clips
    assert {clip.origin for clip in clips} == {WordsFrom.CAPTIONS}
    for clip in clips:
        inside = [
            text
            for (start, end), text in zip(recording.spans, recording.texts, strict=True)
            if clip.start < (start + end) / 2 < clip.end
        ]
        assert clip.text == " ".join(inside)
    assert sum(len(clip.text) for clip in clips) == sum(map(len, recording.texts)) - len(
        recording.texts[2]
    ) + sum(
        -1 + sum(clip.start < (start + end) / 2 < clip.end for start, end in recording.spans)
        for clip in clips
    )


def test_a_recording_with_a_transcript_is_a_clip_already(typist: Typist, tmp_path: Path) -> None:
    raw, clip = tmp_path / "raw", lj_clips()[1]
    for name in ("S/a.mp3", "S/b/c.mp3"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, raw / name)
        (raw / name).with_suffix(".txt").write_text(f"Text of {name}.\n")
    samples, rate = soundfile.read(clip)
    soundfile.write(raw / "S" / "d.ogg", samples, rate)
    (raw / "S" / "d.lab").write_text("An ogg.")
    assert prepare(raw).layouts == ["texts beside the recordings"]
    data = tmp_path / "data"
    assert (data / "S" / "a.mp3").read_bytes() == clip.read_bytes()
    assert (data / "S" / "b" / "c.lab").read_text() == "Text of S/b/c.mp3.\n"
    assert soundfile.info(data / "S" / "d.wav").samplerate == rate
    assert {utterance.key for utterance in scan(data).utterances} == {"S/a", "S/b/c", "S/d"}
    assert typist.listened == 0
    linked = prepare(raw, out=tmp_path / "linked", link=True)
    assert linked.prepared == 3
    assert (tmp_path / "linked" / "S" / "a.mp3").samefile(raw / "S" / "a.mp3")


def test_a_text_of_the_whole_is_shared_out_by_what_is_heard(
    typist: Typist, raw: Path, recording: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    (raw / "Mia" / "talk.txt").write_text("\n".join(recording.texts), encoding="utf-8")

    def read_along(samples: np.ndarray, language: str | None, prompt: str = "") -> Heard:
        """Hear the text, but for the first word of every clip."""
        share = recording.text.split()[read_along.place :][: max(1, round(len(samples) / 16_000 * 2.6))]
        read_along.place += len(share)
        heard = ["Uh", *share[1:]]
        return Heard(tuple(HeardWord(f" {word.lower()}", 0, 1, 0.9) for word in heard), "en")

    read_along.place = 0
    monkeypatch.setattr(typist, "listen", read_along)
    prepare(raw)
    record = read_prepared(raw.with_name("data"))
    assert record is not None
    clips = record.recordings[0].clips
    assert {clip.origin for clip in clips} == {WordsFrom.TEXT}
    together = " ".join(clip.text for clip in clips)
    assert recording.text.startswith(together)
    assert len(together) > 0.9 * len(recording.text)


def test_voices_are_told_apart_or_it_is_said_that_they_are_not(
    typist: Typist, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Recorder()
    prepare(raw, reporter)
    assert "Voices are not compared: The hub cannot be reached." in [
        str(event.message) for event in reporter.of(Warned)
    ]

    class Encoder:
        def __init__(self) -> None:
            self.number = 0

        def embed(self, samples: np.ndarray) -> np.ndarray:
            self.number += 1
            return np.array([0, 1] if self.number == 2 else [1, 0], np.float32)

    monkeypatch.setattr(ears, "speaker_file", lambda *_: Path())
    monkeypatch.setattr(ears.SpeakerEncoder, "load", lambda _: Encoder())
    reporter = Recorder()
    mixed = prepare(raw, reporter, out=raw.with_name("mixed"))
    assert mixed.other_voices == ["Mia/talk.flac"]
    assert "One clip of Mia/talk.flac sounds like another voice" in str(reporter.of(Warned)[0].message)
    kept = prepare(raw, out=raw.with_name("kept"), keep_voice=lj_clips()[0])
    # The encoder hears the wanted voice first, so the strange one is now that of the first clip.
    assert (kept.clips, kept.left_out) == (mixed.clips - 1, 1)


def test_a_recording_that_cannot_be_read_is_said_and_the_rest_is_prepared(typist: Typist, raw: Path) -> None:
    (raw / "Mia" / "broken.wav").write_bytes(b"RIFFnonsense")
    (raw / "Mia" / "film.mp4").write_bytes(b"x")
    reporter = Recorder()
    result = prepare(raw, reporter)
    assert (result.prepared, result.failed) == (1, ["Mia/broken.wav", "Mia/film.mp4"])
    assert [event.item for event in reporter.of(ItemFailed)] == result.failed
    (raw / "Mia" / "talk.flac").unlink()
    with pytest.raises(DataError, match="None of the 2 recordings"):
        prepare(raw, out=raw.with_name("other"))


def test_what_only_ffmpeg_reads_goes_through_it(
    typist: Typist, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (raw / "Mia" / "talk.flac").rename(raw / "Mia" / "talk.m4a")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    reporter = Recorder()
    with pytest.raises(DataError):
        prepare(raw, reporter)
    (failed,) = reporter.of(ItemFailed)
    assert "needs ffmpeg, which is not installed" in failed.message
    assert "ffmpeg -i " in failed.hint
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    # Takes `-i FILE` for what it is, and writes what it is told last.
    program.write_text('#!/bin/sh\nfor last; do :; done\n/bin/cp "$5" "$last"\n')
    program.chmod(0o755)
    assert prepare(raw).prepared == 1
    assert not list(raw.with_name("data").glob(".fishtune*"))
    program.write_text('#!/bin/sh\necho "moov atom not found" >&2\nexit 1\n')
    reporter = Recorder()
    with pytest.raises(DataError):
        prepare(raw, reporter, out=raw.with_name("other"))
    assert "moov atom not found" in reporter.of(ItemFailed)[0].message


def test_silence_gives_no_clip_and_is_said(typist: Typist, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    soundfile.write(tmp_path / "raw" / "quiet.wav", np.zeros(160_000), 16_000)
    reporter = Recorder()
    assert prepare(tmp_path / "raw", reporter).silent == ["quiet.wav"]
    assert any("no clip came of it" in event.message for event in reporter.of(Warned))


def test_a_missing_package_is_said_before_anything_is_written(
    typist: Typist, raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extra, "is_installed", lambda *modules: "silero_vad" not in modules)
    assert command(["prepare", str(raw), str(raw.with_name("data")), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "Finding speech needs silero_vad, which is not installed." in said
    assert 'pip install "fishtune[prepare]"' in said


def test_the_command_says_what_came_of_it(
    typist: Typist, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prepare", str(raw), str(raw.with_name("data")), "--device", "cpu"]
    assert command([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prepared"] == 1
    assert command(arguments) == 0
    assert "1 recording was done before." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("relative", "speaker", "key"),
    [
        ("talk.wav", None, "raw/talk"),
        ("wavs/talk.wav", None, "raw/talk"),
        ("Ann/wavs/talk.wav", None, "Ann/talk"),
        ("train/Ann/1/2/talk.wav", None, "Ann/1/2-talk"),
        ("Ann/talk.wav", "Bob", "Bob/Ann/talk"),
    ],
)
def test_folders_name_speakers(
    typist: Typist, tmp_path: Path, relative: str, speaker: str | None, key: str
) -> None:
    path = tmp_path / "raw" / relative
    path.parent.mkdir(parents=True)
    samples, rate = soundfile.read(other_clips()[0])
    soundfile.write(path, samples, rate)
    path.with_suffix(".lab").write_text("Words.")
    prepare(tmp_path / "raw", speaker=speaker)
    assert [clip.key for clip in scan(tmp_path / "data").clips] == [key]


def test_what_stands_beside_a_recording_counts_more_than_a_table(typist: Typist, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("a", "b"):
        (raw / "wavs").mkdir(parents=True, exist_ok=True)
        shutil.copy(lj_clips()[1], raw / "wavs" / f"{name}.mp3")
    (raw / "wavs" / "a.txt").write_text("corrected by hand")
    (raw / "metadata.csv").write_text("a|from the table\nb|from the table\n")
    assert prepare(raw).layouts == ["LJSpeech (metadata.csv)", "texts beside the recordings"]
    texts = {path.stem: path.read_text() for path in (tmp_path / "data" / "raw").glob("*.lab")}
    assert texts == {"a": "corrected by hand\n", "b": "from the table\n"}


def test_speakers_of_a_list_become_folders(typist: Typist, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "wavs").mkdir(parents=True)
    for name in ("a", "b", "c"):
        shutil.copy(lj_clips()[1], raw / "wavs" / f"{name}.mp3")
    rows = [("a", "ann"), ("b", "bob/../x"), ("c", "ann")]
    (raw / "train.list").write_text(
        "".join(f"wavs/{name}.mp3|{who}|EN|Words of {name}.\n" for name, who in rows)
    )
    prepare(raw)
    assert [clip.key for clip in scan(tmp_path / "data").clips] == ["ann/a", "ann/c", "bob_.._x/b"]


def test_a_name_in_a_table_that_two_recordings_have_is_said(typist: Typist, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for folder in ("x", "y"):
        (raw / folder).mkdir(parents=True)
        shutil.copy(lj_clips()[1], raw / folder / "a.mp3")
        (raw / folder / "a.lab").write_text("Words.")
    (raw / "metadata.csv").write_text("a|Whose?\n")
    reporter = Recorder()
    prepare(raw, reporter)
    assert any("which several recordings are called" in event.message for event in reporter.of(Warned))


def test_a_recording_never_takes_the_name_of_another_ones_clip(typist: Typist, raw: Path) -> None:
    shutil.copy(lj_clips()[1], raw / "Mia" / "talk-0001.mp3")
    (raw / "Mia" / "talk-0001.txt").write_text("Its own words.")
    shutil.copy(lj_clips()[2], raw / "Mia" / "talk-0002.mp3")
    (raw / "Mia" / "talk-0002.txt").write_text("Others.")
    result = prepare(raw)
    clips = {clip.key: clip for clip in scan(raw.with_name("data")).clips}
    assert len(clips) == result.clips
    assert not scan(raw.with_name("data")).problems
    assert clips["Mia/talk-0001"].text.read_text() == "Its own words.\n"  # type: ignore[union-attr]
    assert "Mia/talk_2-0001" in clips


def test_a_voice_that_cannot_be_told_is_refused_before_anything_is_heard(
    typist: Typist, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf:
        def embed(self, samples: np.ndarray) -> None:
            return None

    monkeypatch.setattr(ears, "speaker_file", lambda *_: Path())
    monkeypatch.setattr(ears.SpeakerEncoder, "load", lambda _: Deaf())
    with pytest.raises(DataError, match="too little speech to tell its voice"):
        prepare(raw, keep_voice=lj_clips()[0])
    assert typist.listened == 0
