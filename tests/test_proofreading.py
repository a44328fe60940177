"""Corrections: what each edit does, that all are undone in turn, and that files follow whatever happens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.cli.app import run as command
from fishtune.core.dataset.edits import ChangeText, Edit, Join, LeaveOut, Split, read_edits
from fishtune.core.dataset.layout import scan
from fishtune.core.dataset.prepared import PreparedWord, read_prepared
from fishtune.core.dataset.proofreading import Piece, ProofClip, proofread
from fishtune.core.errors import DataError, UsageError
from fishtune.core.stages.prepare.realise import add_edits, finish, undo

from .judge_kit import lj_clips

RATE = 8_000
TEXTS = {"S/a": "One two three.", "S/b": "Four five.", "S/c": "Six."}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of three clips: 3, 2 and 1 s, each with samples of its own."""
    root = tmp_path / "data"
    (root / "S").mkdir(parents=True)
    for number, (clip, text) in enumerate(TEXTS.items()):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, (3 - number) * RATE)
        soundfile.write(root / f"{clip}.wav", samples, RATE)
        (root / f"{clip}.lab").write_text(f"{text}\n", encoding="utf-8")
    return root


def sounds(data: Path) -> dict[str, np.ndarray]:
    return {path.stem: soundfile.read(path)[0] for path in sorted((data / "S").glob("*.wav"))}


def texts(data: Path) -> dict[str, str]:
    return {
        path.stem: path.read_text(encoding="utf-8").strip() for path in sorted((data / "S").glob("*.lab"))
    }


def files(data: Path) -> dict[str, bytes]:
    """Return the visible files of the speaker."""
    return {path.name: path.read_bytes() for path in (data / "S").iterdir()}


def test_a_text_is_changed_and_nothing_else(data: Path) -> None:
    before = sounds(data)
    add_edits(data, [ChangeText(clip="S/b", text=" Four,  five! ")])
    assert texts(data) == {"a": "One two three.", "b": "Four, five!", "c": "Six."}
    assert all(np.array_equal(before[name], sound) for name, sound in sounds(data).items())


def test_a_clip_that_is_left_out_is_gone_and_kept(data: Path) -> None:
    add_edits(data, [LeaveOut(clip="S/b")])
    assert [clip.key for clip in scan(data).clips] == ["S/a", "S/c"]
    assert not scan(data).problems
    assert (data / ".fishtune-originals" / "S" / "b.wav").is_file()


def test_a_clip_is_split_at_a_word_without_losing_a_sample(data: Path) -> None:
    whole = sounds(data)["a"]
    add_edits(data, [Split(clip="S/a", at=1.25, before=1)])
    found = sounds(data)
    assert np.array_equal(np.concatenate([found["a"], found["a+"]]), whole)
    assert len(found["a"]) == 1.25 * RATE
    assert (texts(data)["a"], texts(data)["a+"]) == ("One", "two three.")


def test_clips_are_joined_in_order(data: Path) -> None:
    before = sounds(data)
    add_edits(data, [Join(clip="S/a"), Join(clip="S/a")])
    assert texts(data) == {"a": "One two three. Four five. Six."}
    assert np.array_equal(sounds(data)["a"], np.concatenate(list(before.values())))


def test_every_edit_is_undone_in_turn(data: Path) -> None:
    states = [files(data)]
    edits: list[Edit] = [
        ChangeText(clip="S/c", text="Seven."),
        Split(clip="S/a", at=1.0, before=2),
        Join(clip="S/a+"),
        LeaveOut(clip="S/a"),
        Split(clip="S/a+", at=0.5, before=1),
        Join(clip="S/a++"),
    ]
    for edit in edits:
        add_edits(data, [edit])
        states.append(files(data))
    for edit, state in zip(reversed(edits), reversed(states[:-1]), strict=True):
        assert undo(data) == edit
        assert files(data) == state
    assert undo(data) is None
    assert not [path for path in (data / ".fishtune-originals").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (LeaveOut(clip="S/z"), "no clip S/z"),
        (ChangeText(clip="S/a", text="  "), "would be empty"),
        (ChangeText(clip="S/a", text="<|im_end|> x"), "steers the model"),
        (Split(clip="S/a", at=3.5, before=1), "cannot be split"),
        (Split(clip="S/a", at=1.0, before=3), "cannot be split"),
        (Join(clip="S/c"), "No clip lies behind S/c"),
    ],
)
def test_an_impossible_edit_is_refused_and_changes_nothing(data: Path, edit: Edit, message: str) -> None:
    before = files(data)
    with pytest.raises((DataError, UsageError), match=message):
        add_edits(data, [edit])
    assert files(data) == before
    assert read_prepared(data) is None


def test_what_was_corrected_by_hand_is_kept_and_can_be_undone(data: Path) -> None:
    add_edits(data, [ChangeText(clip="S/a", text="One, two, three.")])
    (data / "S" / "b.lab").write_text("Four and five.")
    add_edits(data, [Join(clip="S/a")])
    assert texts(data)["a"] == "One, two, three. Four and five."
    undo(data)
    assert texts(data)["b"] == "Four and five."
    undo(data)
    assert texts(data)["b"] == "Four five."


@pytest.mark.parametrize("steps", range(1, 14))
def test_an_edit_that_is_interrupted_anywhere_is_finished_by_the_next_call(
    data: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    def edit(folder: Path) -> None:
        add_edits(folder, [Split(clip="S/a", at=1.0, before=1), Join(clip="S/a+"), LeaveOut(clip="S/c")])
        undo(folder)

    done = 0
    replace = os.replace

    def interrupted(*arguments: object, **others: object) -> None:
        nonlocal done
        done += 1
        if done == steps:
            raise KeyboardInterrupt
        replace(*arguments, **others)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            edit(data)
    finish(data)
    record = read_prepared(data)
    if record is None or not record.edits:
        assert texts(data) == {"a": "One two three.", "b": "Four five.", "c": "Six."}
        return
    expected = {
        3: {"a": "One", "a+": "two three. Four five."},
        2: {"a": "One", "a+": "two three. Four five.", "c": "Six."},
    }
    assert texts(data) == expected[len(record.edits)]
    assert sounds(data).keys() == texts(data).keys()
    assert len(sounds(data)["a+"]) == 4 * RATE


def test_words_go_with_the_part_that_says_them() -> None:
    words = tuple(
        PreparedWord(text=text, start=n, end=n + 0.5, probability=p)
        for n, (text, p) in enumerate([("One", 0.9), ("two", 0.5), ("three.", 0.8)])
    )
    clip = ProofClip("S/a", (Piece("S/a", 0, 3),), "One two three.", 0.5, words)
    first, second = proofread([clip], [Split(clip="S/a", at=0.75, before=1)])
    assert (first.score, second.score) == (0.9, 0.65)
    assert [(word.text, word.start) for word in second.words] == [("two", 0.25), ("three.", 1.25)]
    (again,) = proofread([clip], [Split(clip="S/a", at=0.75, before=1), Join(clip="S/a")])
    assert (again.words, again.text, again.seconds) == (words, clip.text, clip.seconds)


def test_edits_come_from_a_file_once(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "edits.json"
    edits = [{"kind": "text", "clip": "S/b", "text": "Four."}, {"kind": "leave-out", "clip": "S/c"}]
    file.write_text(json.dumps({"edits": edits}))
    arguments = ["prepare", str(data), "--edits", str(file)]
    assert command(arguments) == 0
    assert texts(data) == {"a": "One two three.", "b": "Four."}
    assert "2 edits taken in" in capsys.readouterr().out
    assert command(arguments) == 0
    assert "in the data set already" in capsys.readouterr().err
    file.write_text(json.dumps([{"kind": "shout", "clip": "S/a"}]))
    assert command(arguments) == 1
    assert "does not hold edits of clips" in capsys.readouterr().err


def test_what_holds_no_edits_is_refused() -> None:
    for content in (None, {}, {"edits": 3}, [{"kind": "split", "clip": "S/a", "at": -1, "before": 1}]):
        with pytest.raises(DataError, match=r"x\.json does not hold edits"):
            read_edits(content, "x.json")


def test_an_mp3_comes_back_as_it_was(data: Path) -> None:
    original = lj_clips()[1].read_bytes()
    (data / "S" / "d.mp3").write_bytes(original)
    (data / "S" / "d.lab").write_text("Being comparatively modern.")
    add_edits(data, [Split(clip="S/d", at=0.9, before=1)])
    assert {"d.wav", "d+.wav"} <= files(data).keys()
    undo(data)
    assert files(data)["d.mp3"] == original
    assert not {"d.wav", "d+.wav"} & files(data).keys()
