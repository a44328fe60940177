"""Subtitles and other texts with times: read as people have them, refused by name where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fishtune.core.errors import DataError, FishtuneError, MalformedFileError
from fishtune.core.stages.prepare.captions import Caption, captions_by_recording, read_captions

pytest.importorskip("pysubs2", reason="the extra fishtune[prepare] is not installed")
pytest.importorskip("praatio", reason="the extra fishtune[prepare] is not installed")

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Good morning.</i>

2
00:00:02,400 --> 00:00:04,000
- How are {\\an8}you?
[door closes]

3
00:00:05,000 --> 00:00:06,000
♪♪
"""
VTT = """WEBVTT - some title

STYLE
::cue { color: red }

NOTE nothing to see

cue-1
00:01.000 --> 00:02.500 align:start position:10%
<v Bob>Salt &amp; <c.loud>pepper</c>

00:01:02.500 --> 00:01:04.000
안녕하세요.
"""
SCROLLING = """WEBVTT

00:00:00.000 --> 00:00:02.000
so this is

00:00:02.000 --> 00:00:04.000
so this is
how captions scroll

00:00:04.000 --> 00:00:06.000
how captions scroll
on one site
"""
WHISPER = {
    "text": "x",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " One."},
        {"id": 1, "start": 1.5, "end": 2, "text": " Two."},
    ],
}
WHISPER_CPP = {
    "transcription": [
        {"offsets": {"from": 0, "to": 1500}, "text": " One."},
        {"offsets": {"from": 1500, "to": 2000}, "text": " Two."},
    ]
}
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 3
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 3
            text = "AH"
    item [2]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 3
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "One"
        intervals [2]:
            xmin = 0.5
            xmax = 1.0
            text = "two"
        intervals [3]:
            xmin = 1.0
            xmax = 2.0
            text = ""
        intervals [4]:
            xmin = 2.0
            xmax = 3.0
            text = "three"
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_subrip_loses_its_marks_and_its_overlap(tmp_path: Path) -> None:
    assert read_captions(write(tmp_path, "a.srt", SRT)) == [
        Caption(1.0, 2.4, "Good morning."),
        Caption(2.4, 4.0, "How are you?"),
    ]


@pytest.mark.parametrize("end_of_line", ["\r\n", "\n"])
def test_web_captions_are_read_with_what_surrounds_them(tmp_path: Path, end_of_line: str) -> None:
    path = write(tmp_path, "a.vtt", "\ufeff" + VTT.replace("\n", end_of_line))
    assert read_captions(path) == [Caption(1.0, 2.5, "Salt & pepper"), Caption(62.5, 64.0, "안녕하세요.")]


def test_what_scrolls_is_said_once(tmp_path: Path) -> None:
    texts = [caption.text for caption in read_captions(write(tmp_path, "a.vtt", SCROLLING))]
    assert texts == ["so this is", "how captions scroll", "on one site"]


def test_what_is_said_twice_is_there_twice(tmp_path: Path) -> None:
    content = "1\n00:00:01,000 --> 00:00:02,000\nNo.\n\n2\n00:00:03,000 --> 00:00:04,000\nNo.\n"
    assert [caption.text for caption in read_captions(write(tmp_path, "a.srt", content))] == ["No.", "No."]


@pytest.mark.parametrize(
    "content", [WHISPER, WHISPER_CPP, WHISPER["segments"]], ids=["whisper", "cpp", "list"]
)
def test_segments_of_whisper(tmp_path: Path, content: object) -> None:
    path = write(tmp_path, "a.json", json.dumps(content))
    assert read_captions(path) == [Caption(0.0, 1.5, "One."), Caption(1.5, 2.0, "Two.")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_words_of_a_textgrid_are_joined_up_to_a_pause(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "a.TextGrid", TEXTGRID.encode(encoding))
    assert read_captions(path) == [Caption(0.0, 1.0, "One two"), Caption(2.0, 3.0, "three")]


def test_a_tier_of_sentences_is_preferred(tmp_path: Path) -> None:
    path = write(tmp_path, "a.TextGrid", TEXTGRID.replace('"phones"', '"Sentences"'))
    assert read_captions(path) == [Caption(0.0, 3.0, "AH")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", b"\xff\xd8\xff\xe0"),
        ("a.srt", b"nothing here"),
        ("a.srt", b""),
        ("a.vtt", b"WEBVTT\n\n00:03.000 --> 00:01.000\nbackwards\n"),
        ("a.json", b"{}"),
        ("a.json", b'{"segments": [{"start": "0", "end": 1, "text": "x"}]}'),
        ("a.json", b'{"segments": [{"start": 0, "end": 1}]}'),
        ("a.json", b'{"segments": [{"start": 2, "end": 1, "text": "x"}]}'),
        ("a.json", b'{"segments": 3}'),
        ("a.json", b"{"),
        ("a.TextGrid", b"no grid"),
        ("a.TextGrid", TEXTGRID.replace("IntervalTier", "TextTier").encode()),
    ],
)
def test_what_is_not_captions_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises((DataError, MalformedFileError)) as refused:
        read_captions(path)
    assert isinstance(refused.value, FishtuneError)
    assert str(path) in refused.value.message
    assert refused.value.hint


def test_captions_belong_to_the_recording_of_their_name(tmp_path: Path) -> None:
    def of_talk() -> Path | None:
        return captions_by_recording(tmp_path.iterdir()).get(tmp_path / "talk")

    write(tmp_path, "talk 2.srt", SRT)
    write(tmp_path, "talk.txt", "x")
    assert of_talk() is None
    tagged = write(tmp_path, "talk.en.VTT", VTT)
    assert of_talk() == tagged
    exact = write(tmp_path, "talk.json", "{}")
    assert of_talk() == exact
    best = write(tmp_path, "talk.srt", SRT)
    assert of_talk() == best
