"""Places between words: in the pause there, from what was heard, and estimated where nothing was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.audio.pauses import pauses_in
from fishtune.core.audio.recordings import read_audio
from fishtune.core.dataset.edits import ChangeText, Join, Split
from fishtune.core.dataset.places import Gap, Sounding, Spoken, gaps_of, sounding_of
from fishtune.core.dataset.proofreading import Piece, ProofClip
from fishtune.core.errors import DataError, UsageError
from fishtune.core.judge.acoustics import measure
from fishtune.core.judge.heard import HeardBefore
from fishtune.core.judge.listeners import Impression
from fishtune.core.judge.recognition import Heard, HeardWord
from fishtune.core.stages.prepare import places
from fishtune.core.stages.prepare.places import word_gaps
from fishtune.core.stages.prepare.realise import add_edits, clips_now

from .judge_kit import RATE, lj_clips
from .proofreading_kit import make_data

NO_WORDS: tuple[Spoken, ...] = ()


def tone(seconds: float) -> np.ndarray:
    return (0.3 * np.sin(np.arange(round(RATE * seconds)) * 0.1)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(RATE * seconds), np.float32)


# -- pauses


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.03])
def test_pauses_are_found_whatever_fills_them(noise: float) -> None:
    samples = np.concatenate(
        [silence(0.2), tone(1), silence(0.3), tone(0.5), silence(0.04), tone(0.5), silence(0.1)]
    )
    samples += np.random.default_rng(0).normal(size=len(samples)).astype(np.float32) * noise
    found = [time for pause in pauses_in(samples, RATE) for time in pause]
    assert found == pytest.approx([0, 0.2, 1.2, 1.5, 2.54, 2.64], abs=0.011)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_pauses_lie_where_they_are_at_every_rate(rate: int) -> None:
    time = np.arange(20 * rate) / rate
    samples = np.where((time % 4 >= 3.5), 0, 0.3 * np.sin(time * 1600)).astype(np.float32)
    found = pauses_in(samples, rate)
    assert [time for pause in found for time in pause] == pytest.approx(
        [edge for end in (4, 8, 12, 16, 20) for edge in (end - 0.5, end)], abs=0.011
    )
    assert pauses_in(samples, 99) == []


def test_silence_is_one_pause_and_sound_has_none() -> None:
    assert pauses_in(silence(1), RATE) == [(0.0, 1.0)]
    assert pauses_in(tone(1), RATE) == []
    assert pauses_in(silence(0), RATE) == []


# -- gaps


def test_a_place_between_heard_words_lies_in_the_pause_that_is_near() -> None:
    words = (Spoken("one", 0.1, 0.6), Spoken("two", 0.62, 1.2), Spoken("three", 1.5, 2.0))
    sounding = Sounding(2.2, words, ((0.0, 0.1), (0.55, 0.6), (1.05, 1.45), (2.1, 2.2)))
    assert gaps_of("One, two three.", sounding) == [Gap(0.575, 0.05, False), Gap(1.25, 0.4, False)]
    without = Sounding(2.2, words)
    assert gaps_of("One, two three.", without) == [Gap(0.61, 0.0, False), Gap(1.35, 0.0, False)]


def test_words_that_were_heard_otherwise_stand_between_those_that_were_not() -> None:
    words = (Spoken("the", 0.0, 0.2), Spoken("fourteenth", 0.2, 1.0), Spoken("of", 1.0, 1.2))
    (first, second) = gaps_of("The 14th of", Sounding(1.2, words))
    assert (first.at, second.at, first.is_estimated, second.is_estimated) == (0.2, 1.0, False, False)
    gaps = gaps_of("The ab ab of", Sounding(1.2, words))
    assert [gap.at for gap in gaps] == [0.2, 0.6, 1.0]
    assert [gap.is_estimated for gap in gaps] == [False, True, False]


def test_without_words_letters_are_shared_out_over_speech_and_pauses_get_the_stops() -> None:
    text = "There was a pause. And now it ends."
    sounding = Sounding(3.0, NO_WORDS, ((1.4, 2.0),))
    gaps = gaps_of(text, sounding)
    assert all(gap.is_estimated for gap in gaps)
    assert (gaps[3].at, gaps[3].pause) == (1.7, 0.6)
    assert [gap.pause for gap in gaps].count(0) == 6
    times = [gap.at for gap in gaps]
    assert times == sorted(times) and times[2] < 1.4 and times[4] > 2.0


def test_more_pauses_than_words_and_none_at_all() -> None:
    pauses = tuple((round(0.2 * n, 1), round(0.2 * n + 0.1, 1)) for n in range(1, 9))
    assert len(gaps_of("a b", Sounding(2.0, NO_WORDS, pauses))) == 1
    assert gaps_of("one", Sounding(1.0)) == gaps_of("", Sounding(1.0)) == []
    assert [gap.at for gap in gaps_of("ab ab ab", Sounding(0.9))] == [0.3, 0.6]


def test_places_are_inside_the_clip_and_in_order_whatever_was_heard() -> None:
    random = np.random.default_rng(3)
    names = ["a", "b,", "ccc", "d."]
    for _ in range(200):
        seconds = float(random.uniform(0.5, 3))
        heard = sorted(random.uniform(-0.2, seconds + 0.3, 2 * int(random.integers(0, 6))))
        words = tuple(
            Spoken(str(random.choice(names)), start, end)
            for start, end in zip(heard[::2], heard[1::2], strict=True)
        )
        edges = sorted(random.uniform(0, seconds, 2 * int(random.integers(0, 5))))
        pauses = tuple(pair for pair in zip(edges[::2], edges[1::2], strict=True) if pair[1] - pair[0] > 0.06)
        text = " ".join(random.choice(names, int(random.integers(2, 8))))
        gaps = gaps_of(text, Sounding(seconds, words, pauses))
        times = [gap.at for gap in gaps]
        assert len(gaps) == len(text.split()) - 1
        assert times == sorted(times)
        assert times[0] > 0 and times[-1] < seconds
        assert all(any(start <= gap.at <= end for start, end in pauses) for gap in gaps if gap.pause)


def test_pieces_sound_one_after_another() -> None:
    made = {
        "S/a": Sounding(2.0, (Spoken("one", 0.1, 0.8), Spoken("two", 1.1, 1.9)), ((0.8, 1.1), (1.9, 2.0))),
        "S/b": Sounding(1.0, (Spoken("three", 0.2, 0.9),), ((0.0, 0.2),)),
    }
    pieces = (Piece("S/a", 1.0, 2.0), Piece("S/b", 0.0, 1.0))
    sounding = sounding_of(pieces, made)
    assert sounding.words == (Spoken("two", 0.1, 0.9), Spoken("three", 1.2, 1.9))
    assert sounding.pauses == ((0.0, 0.1), (0.9, 1.2))
    assert sounding.seconds == 2.0


# -- of a data set


def now(data: Path, name: str) -> ProofClip:
    return next(clip for clip in clips_now(data) if clip.clip == name)


def test_a_corrected_split_and_joined_clip_still_knows_its_words(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    add_edits(
        data,
        [
            ChangeText(clip="MIA/talk-0001", text="Good morning from Nara"),
            Split(clip="MIA/talk-0001", at=0.95, before=2),
            Join(clip="MIA/talk-0001+"),
        ],
    )
    clip = now(data, "MIA/talk-0001+")
    assert (clip.text, clip.words) == ("from Nara The train leaves at nine.", ())
    found = word_gaps(data, clip, by_ear=False)
    # "from" ends at .4 of 1.05 s, "The" begins behind it; both words of every other place were heard.
    assert [gap.is_estimated for gap in found.gaps] == [False] * 6
    assert [gap.at for gap in found.gaps][1:3] == pytest.approx([1.05, 1.05 + 0.27], abs=0.02)
    assert not found.can_listen


@pytest.fixture
def unheard(tmp_path: Path) -> Path:
    """A clip with a transcript and nothing else."""
    (tmp_path / "S").mkdir()
    samples = np.concatenate([tone(0.9), silence(0.3), tone(0.3)])
    soundfile.write(tmp_path / "S" / "a.wav", samples, RATE)
    (tmp_path / "S" / "a.lab").write_text("One two three.", encoding="utf-8")
    return tmp_path


HEARD = Heard((HeardWord(" one", 0.0, 0.4, 0.9), HeardWord(" two", 0.4, 0.9, 0.9)), "en")


class Ears:
    def listen(self, samples: np.ndarray, language: str | None) -> Heard:
        return HEARD


PLACES = """
import sys
from pathlib import Path
from fishtune.core.stages.prepare.places import word_gaps
from fishtune.core.stages.prepare.realise import clips_now
(clip,) = clips_now(Path(sys.argv[1]))
assert len(word_gaps(Path(sys.argv[1]), clip, by_ear=False).gaps) == 2
assert "torch" not in sys.modules
"""


def test_places_are_found_without_the_seconds_that_torch_takes_to_load(unheard: Path) -> None:
    soundfile.write(unheard / "S" / "a.wav", tone(1), 22_050)
    subprocess.run([sys.executable, "-P", "-c", PLACES, str(unheard)], check=True)


def test_what_validation_heard_says_where_the_words_are(unheard: Path) -> None:
    assert all(gap.is_estimated for gap in word_gaps(unheard, now(unheard, "S/a"), by_ear=False).gaps)
    before = HeardBefore({"recognition": "any", "speaker": "any"})
    impression = Impression(acoustics=measure(tone(1)), heard=HEARD)
    before.keep(before.key(unheard / "S" / "a.wav", "en"), impression)
    gaps = word_gaps(unheard, now(unheard, "S/a"), by_ear=False).gaps
    assert gaps == (Gap(0.4, 0.0, False), Gap(1.05, 0.3, False))


def test_a_clip_is_heard_now_where_a_model_is_at_hand_and_never_again(
    unheard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "usable_gpu", lambda _: None)
    clip = now(unheard, "S/a")
    with pytest.raises(UsageError, match="no model for recognition"):
        word_gaps(unheard, clip, by_ear=True)
    with monkeypatch.context() as there:
        there.setattr(places, "recognition_at_hand", lambda *_: "ears")
        there.setattr(places, "is_installed", lambda *_: True)
        there.setattr(places, "load_recogniser", lambda *_: Ears())
        assert word_gaps(unheard, clip, by_ear=False).can_listen
        found = word_gaps(unheard, clip, by_ear=True)
    assert found.gaps == (Gap(0.4, 0.0, False), Gap(1.05, 0.3, False))
    assert not found.can_listen
    assert word_gaps(unheard, clip, by_ear=False) == found


def test_a_clip_whose_recording_is_gone_is_said(unheard: Path) -> None:
    clip = now(unheard, "S/a")
    (unheard / "S" / "a.wav").unlink()
    with pytest.raises(DataError, match="The recording of S/a is gone"):
        word_gaps(unheard, clip, by_ear=False)


def test_estimates_of_real_speech_are_in_its_pauses() -> None:
    joined = np.concatenate(
        [part for clip in lj_clips()[:3] for part in (read_audio(clip, RATE), silence(0.4))]
    )
    text = " ".join(clip.with_suffix(".lab").read_text(encoding="utf-8").strip() for clip in lj_clips()[:3])
    ends = np.cumsum([len(read_audio(clip, RATE)) / RATE + 0.4 for clip in lj_clips()[:3]]) - 0.2
    words = np.cumsum([len(clip.with_suffix(".lab").read_text("utf-8").split()) for clip in lj_clips()[:3]])
    sounding = Sounding(len(joined) / RATE, NO_WORDS, tuple(pauses_in(joined, RATE)))
    gaps = gaps_of(text, sounding)
    for end, word in zip(ends[:2], words[:2], strict=True):
        gap = gaps[word - 1]
        assert abs(gap.at - end) <= gap.pause / 2, "the pause that was put in is at the word's end"
        assert gap.pause >= 0.39
