"""The folder of recordings: what `scan` finds and what it complains about."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from fishtune.core.dataset.findings import Code, Severity
from fishtune.core.dataset.layout import Utterance, scan
from fishtune.core.errors import DataError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def codes_of(root: Path, **options: object) -> dict[Code, list[Path]]:
    found: dict[Code, list[Path]] = {}
    for problem in scan(root, **options).problems:  # type: ignore[arg-type]
        found.setdefault(problem.code, []).append(problem.path)
    return found


def test_utterances_are_sorted_by_speaker_and_name_whatever_the_extension(tmp_path: Path) -> None:
    make(tmp_path, "유나/b c.FLAC", "유나/b c.lab", "유나/a.wav", "유나/a.lab")
    make(tmp_path, "Bob/21.15-26.44.mp3", "Bob/21.15-26.44.lab")
    result = scan(tmp_path)
    assert [utterance.key for utterance in result.utterances] == [
        "Bob/21.15-26.44",
        "유나/a",
        "유나/b c",
    ]
    assert result.problems == []
    assert result.speakers == ["Bob", "유나"]


def test_an_utterance_names_its_transcript_and_codes_beside_the_recording() -> None:
    utterance = Utterance("Bob", Path("data/Bob/21.15-26.44.mp3"))
    assert utterance.text_path() == Path("data/Bob/21.15-26.44.lab")
    assert utterance.text_path(".txt") == Path("data/Bob/21.15-26.44.txt")
    assert utterance.codes_path == Path("data/Bob/21.15-26.44.npy")


def test_codes_and_text_without_a_recording_are_a_clip_but_no_utterance(golden: Path) -> None:
    result = scan(golden / "data")
    assert [clip.key for clip in result.clips] == [
        "SPK1/21.15-26.44",
        "SPK1/27.51-29.98",
        "SPK2/38.79-40.85",
    ]
    assert result.utterances == []
    assert result.problems == []


def test_every_fault_of_the_layout_is_named_with_its_file(tmp_path: Path) -> None:
    make(tmp_path, "S/no text.wav", "S/no audio.lab", "S/twice.wav", "S/twice.mp3", "S/twice.lab")
    make(tmp_path, "S/phone.m4a", "S/folder.wav/x", "S/part/deep.wav", "loose.mp3", "S/ok.wav", "S/ok.lab")
    make(tmp_path, "protos/00000000.protos", ".hidden/x.wav", "S/.x.wav", "S/.fishtune-tmp-0-a.wav")
    found = codes_of(tmp_path)
    assert found == {
        Code.TEXT_MISSING: [tmp_path / "S/no text.wav"],
        Code.AUDIO_MISSING: [tmp_path / "S/no audio.lab"],
        Code.AUDIO_TWICE: [tmp_path / "S/twice.wav"],
        Code.UNKNOWN_FORMAT: [tmp_path / "S/phone.m4a"],
        Code.NOT_A_FILE: [tmp_path / "S/folder.wav"],
        Code.NESTED_TOO_DEEP: [tmp_path / "S"],
        Code.NOT_IN_SPEAKER_FOLDER: [tmp_path],
    }
    assert [utterance.key for utterance in scan(tmp_path).utterances] == ["S/no text", "S/ok"]
    assert {problem.severity for problem in scan(tmp_path).problems} == {Severity.ERROR, Severity.WARNING}


def test_a_folder_without_speakers_is_an_error_that_shows_the_layout(tmp_path: Path) -> None:
    make(tmp_path, "protos/00000000.protos", "readme.txt")
    (problem,) = scan(tmp_path).problems
    assert problem.code is Code.NO_SPEAKERS
    assert f"{tmp_path}/SPEAKER/NAME.mp3" in problem.what_to_do


def test_excluded_clips_vanish_with_their_problems_and_unknown_ones_are_reported(tmp_path: Path) -> None:
    make(tmp_path, "S/a.wav", "S/b.wav", "S/b.lab")
    result = scan(tmp_path, exclude=["S/a", "S/typo"])
    assert [clip.key for clip in result.clips] == ["S/b"]
    assert [problem.code for problem in result.problems] == [Code.EXCLUDED_UNKNOWN]
    assert "'S/typo'" in result.problems[0].what


def test_a_transcript_under_another_extension_or_unicode_form_is_pointed_out(tmp_path: Path) -> None:
    make(tmp_path, "S/a.wav", "S/a.txt", "S/" + unicodedata.normalize("NFD", "안녕") + ".wav", "S/안녕.lab")
    hints = [p.what_to_do for p in scan(tmp_path).problems if p.code is Code.TEXT_MISSING]
    assert "If a.txt is meant: --text-extension .txt" in hints[0]
    assert "안녕.lab looks alike but is spelt in another Unicode form" in hints[1]
    assert codes_of(tmp_path, text_extension=".txt").get(Code.TEXT_MISSING) != [tmp_path / "S/a.wav"]


@pytest.mark.parametrize("extension", [".txt", "txt"])
def test_another_extension_of_transcripts_may_lack_its_dot(tmp_path: Path, extension: str) -> None:
    make(tmp_path, "S/a.b.wav", "S/a.b.txt")
    result = scan(tmp_path, extension)
    assert result.clips[0].text == tmp_path / "S/a.b.txt"
    assert result.problems == []


def test_names_that_are_no_text_are_reported_and_not_used(tmp_path: Path) -> None:
    make(tmp_path, "S/ok.wav", "S/ok.lab", "S/two\nlines.wav")
    (tmp_path / "S" / os.fsdecode(b"\xff.wav")).write_bytes(b"")
    found = codes_of(tmp_path)
    assert found == {Code.BAD_NAME: [tmp_path / "S/two\\nlines.wav", tmp_path / "S/\\xff.wav"]}


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_is_no_folder_is_one_sentence(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "data"
    if kind == "file":
        root.write_text("")
    with pytest.raises(DataError, match="does not exist" if kind == "missing" else "is not a folder"):
        scan(root)
