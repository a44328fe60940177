"""Proofreading in the wizard: worst first, changed in place, saved at once, undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.dataset.places import Gap, WordGaps
from fishtune.core.dataset.prepared import (
    PreparedClip,
    PreparedData,
    PreparedRecording,
    PreparedWord,
    WordsFrom,
    read_prepared,
    write_prepared,
)
from fishtune.core.dataset.proofreading import ProofClip
from fishtune.core.errors import DataError
from fishtune.tui.app import Wizard
from fishtune.tui.dialogs.proofreading import ProofreadingScreen
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.widgets.table import Table
from textual.pilot import Pilot
from textual.widgets import Input
from wizard_helpers import HOSTILE, FakeEngine, shown, until, until_shown

Make = Callable[..., Wizard]
SURE = {"a": 0.9, "b": 0.2, "c": 0.7}
SIZES = [(80, 24), (200, 60)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three prepared clips of three words, a second each."""
    root = tmp_path / "prepared"
    clips = []
    for name, sure in SURE.items():
        (root / "S").mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "S" / f"{name}.wav", np.full(8_000, 0.1), 8_000)
        text = f"One two{name} three."
        (root / "S" / f"{name}.lab").write_text(f"{text}\n")
        words = tuple(
            PreparedWord(text=word, start=n / 3, end=n / 3 + 0.25, probability=sure if n == 1 else 0.95)
            for n, word in enumerate(text.split())
        )
        clips.append(
            PreparedClip(
                clip=f"S/{name}", start=0, end=1, text=text, origin=WordsFrom.HEARD, score=sure, words=words
            )
        )
    recording = PreparedRecording(source="x.wav", digest="0", seconds=3, clips=tuple(clips))
    write_prepared(root, PreparedData(recordings=(recording,)))
    return root


def texts(data: Path) -> dict[str, str]:
    return {
        path.stem: path.read_text(encoding="utf-8").strip() for path in sorted((data / "S").glob("*.lab"))
    }


async def proofreading(app: Wizard, pilot: Pilot[None], data: Path, first: str = "S/b") -> ProofreadingScreen:
    await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
    screen = ProofreadingScreen(data)
    await app.push_screen(screen)
    await until_shown(app, first)
    await pilot.pause()
    return screen


async def test_the_least_sure_clip_comes_first_with_its_doubtful_word(wizard: Make, data: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await proofreading(app, pilot, data)
        table = screen.query_one(Table)
        assert [table.get_row_at(row)[1].plain for row in range(3)] == ["S/b", "S/c", "S/a"]
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await until_shown(app, "3 clips in all; 1 of them is doubtful.")
            assert "u undo" in shown(app)
        words = screen.query_one("#words").content  # type: ignore[attr-defined]
        (doubtful,) = [
            words.plain[span.start : span.end] for span in words.spans if "underline" in str(span.style)
        ]
        assert doubtful == "twob"


async def test_a_text_is_changed_in_place_saved_and_undone(wizard: Make, data: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await proofreading(app, pilot, data)
        await pilot.press("enter", "end", "space", "F", "o", "u", "r", ".", "enter")
        await until_shown(app, "One twob three. Four.")
        await until(lambda: texts(data)["b"] == "One twob three. Four.", app)
        assert "100%" in shown(app)
        await pilot.press("u")
        await until(lambda: texts(data)["b"] == "One twob three.", app)
        await until_shown(app, "1 of them is doubtful.")
        await pilot.press("u")
        await until_shown(app, "There is nothing to undo.")


async def test_escape_leaves_a_text_as_it_was_and_then_the_screen(wizard: Make, data: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await proofreading(app, pilot, data)
        await pilot.press("e", "x", "escape")
        assert screen.query_one(Input).has_class("hidden")
        assert app.screen is screen
        await pilot.press("escape")
        await until(lambda: app.screen is not screen, app)
    assert texts(data)["b"] == "One twob three."
    assert read_prepared(data) is not None and not read_prepared(data).edits  # type: ignore[union-attr]


async def test_clips_are_left_out_joined_and_split_one_key_after_another(wizard: Make, data: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await proofreading(app, pilot, data)
        await pilot.press("j")  # b with c
        await until_shown(app, "One twob three. One twoc three.")
        await pilot.press("s")
        await pilot.press("home", "right", "right", "enter")  # which waits until the place is known
        await until_shown(app, "S/b+")
        await pilot.press("x")  # the first part
        await until(lambda: len(screen.query_one(Table).rows) == 2, app)
        await pilot.press("escape")
        await until(lambda: app.screen is not screen, app)
    # Everything was saved before it closed.
    assert texts(data) == {"a": "One twoa three.", "b+": "One twoc three."}
    assert soundfile.info(data / "S" / "b+.wav").duration == pytest.approx(1.0 + 0.042, abs=0.01)


async def test_what_cannot_be_done_is_said(wizard: Make, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise DataError("The disk is full.", "Free some space.")

    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await proofreading(app, pilot, data)
        screen.query_one(Table).select_key("S/c")
        await pilot.pause()
        await pilot.press("j")
        await until_shown(app, "No clip lies behind S/c.")
        await pilot.press("enter", "end", "space", "!", "enter")
        await until(lambda: texts(data)["c"].endswith("!"), app)
        await pilot.press("e")
        screen.query_one(Input).value = "One"
        await pilot.press("enter", "s")
        await until_shown(app, "S/c has no two words to be split between.")
        monkeypatch.setattr(FakeEngine, "edit_clip", refuse)
        await pilot.press("x")
        await until_shown(app, "The disk is full.", "S/c")


async def test_any_data_set_can_be_proofread_whatever_its_texts_hold(wizard: Make, tmp_path: Path) -> None:
    (tmp_path / "data" / "S").mkdir(parents=True)
    soundfile.write(tmp_path / "data" / "S" / "a.wav", np.full(8_000, 0.1), 8_000)
    hostile = HOSTILE.replace("\x1b", "").replace("\x07", "")
    (tmp_path / "data" / "S" / "a.lab").write_text(hostile, encoding="utf-8")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await proofreading(app, pilot, tmp_path / "data", "S/a")
        assert "[laugh] [/foo]" in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        screen.query_one(Input).value = "Plain."
        await pilot.press("enter")
        await until(lambda: (tmp_path / "data" / "S" / "a.lab").read_text() == "Plain.\n", app)


def _spoken(seconds: float) -> np.ndarray:
    return 0.3 * np.sin(np.arange(round(8_000 * seconds)) * 0.2)


@pytest.fixture
def unheard(tmp_path: Path) -> Path:
    """A clip that nothing heard: six words in 2.0 s, a pause of 0.5 s behind the first four (1.2 s)."""
    folder = tmp_path / "data" / "S"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", np.concatenate([_spoken(1.2), np.zeros(4_000), _spoken(0.8)]), 8_000)
    (folder / "a.lab").write_text("There was a pause. It ended.", encoding="utf-8")
    return tmp_path / "data"


async def test_a_clip_that_nothing_heard_is_split_in_the_pause_that_is_nearest(
    wizard: Make, unheard: Path
) -> None:
    app = wizard()
    async with app.run_test(size=SIZES[0]) as pilot:
        await proofreading(app, pilot, unheard, "S/a")
        await pilot.press("s")
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await until_shown(
                app, "At about 1.45 s, estimated, in a pause of 0.50 s", "There was a pause. | It"
            )
            await pilot.press("left")
            await until_shown(app, "estimated: there is no pause near.", "There was a | pause. It")
            await pilot.press("right")
        await pilot.press("enter")
        await until_shown(app, "S/a+")
        await until(lambda: texts(unheard) == {"a": "There was a pause.", "a+": "It ended."}, app)
    lengths = [soundfile.info(unheard / "S" / f"{name}.wav").duration for name in ("a", "a+")]
    assert lengths == pytest.approx([1.45, 1.05], abs=0.02)


async def test_a_clip_is_listened_to_where_recognition_is_at_hand(
    wizard: Make, unheard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    waiting = asyncio.Event()

    async def word_gaps(_: FakeEngine, data: Path, clip: ProofClip, by_ear: bool) -> WordGaps:
        assert (data, clip.clip) == (unheard, "S/a")
        asked.append(by_ear)
        if by_ear:
            await waiting.wait()
        if by_ear and asked.count(True) == 2:
            raise DataError("The model is damaged.", "Fetch it again.")
        return WordGaps(tuple(Gap(0.3 + place / 4, 0.1, not by_ear) for place in range(5)), not by_ear)

    monkeypatch.setattr(FakeEngine, "word_gaps", word_gaps)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await proofreading(app, pilot, unheard, "S/a")
        await pilot.press("s")
        await until_shown(app, "l listens")
        await pilot.press("l")
        await until_shown(app, "Listening to the clip…")
        await pilot.press("escape")  # and nothing waits for it any more
        assert not screen.query_one("#words").has_class("hidden")
        await pilot.press("s")
        await until_shown(app, "l listens")
        waiting.set()
        await pilot.press("l")
        await until_shown(app, "The model is damaged.", "At about 0.30 s")
        await pilot.press("escape", "s")
        await until_shown(app, "l listens")
        await pilot.press("l")
        await until_shown(app, "At 0.30 s, in a pause of 0.10 s.")
    assert asked == [False, True, False, True, False, True]
