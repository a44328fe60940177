"""What the judge makes of what was heard and measured: rules, and what real models heard of real speech."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("num2words", reason="the extra is not installed: pip install 'fishtune[judge]'")

from fishtune.core.judge.acoustics import Acoustics
from fishtune.core.judge.alignment import align
from fishtune.core.judge.pitch import Pitch
from fishtune.core.judge.record import SpeechFaultKind
from fishtune.core.judge.verdict import Evidence, Voice, judge, voice_of
from fishtune.core.judge.voices import shared_voice
from fishtune.core.judge.words import tokens_of

from .judge_kit import SPEECH

SOUND = Acoustics(
    seconds=4.0,
    active=3.5,
    leading=0.1,
    trailing=0.2,
    longest_pause=0.3,
    pause_at=1.0,
    slope=-3.0,
    range=40.0,
    steadiest=0.05,
    repeated=0.1,
    repeated_at=2.0,
    clipped=0.0,
)
TEXT = "When the rain had stopped we walked along the river to the bridge"


def voice(angle: float) -> np.ndarray:
    """Return an embedding; two are as similar as the cosine of the difference of their angles."""
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def spoken(heard: str = TEXT, *, text: str = TEXT, language: str = "en", **changes: Any) -> Evidence:
    """Return a clip that was heard as `heard`, its sound and pitch without fault."""
    alignment = align(tokens_of(text, language), tokens_of(heard, language))
    clip = Evidence(
        SOUND, language=language, text=text, alignment=alignment, pitch=Pitch(median=200, spread=9)
    )
    return replace(clip, **changes)


def kinds(clip: Evidence, own: Voice | None = None) -> list[SpeechFaultKind]:
    return [finding.kind for finding in judge(clip, own or Voice())]


def test_a_sound_clip_has_no_findings() -> None:
    assert kinds(spoken()) == []
    assert kinds(spoken(), Voice(voice(0), pace=16, pitch=190)) == []
    assert kinds(Evidence(SOUND)) == []


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        ("When the rain had stopped we walked", SpeechFaultKind.MISSING_END),
        ("we walked along the river to the bridge", SpeechFaultKind.MISSING_WORDS),
        ("When the rain had stopped to the bridge", SpeechFaultKind.MISSING_WORDS),
        (f"I never said that. {TEXT}", SpeechFaultKind.ADDED_WORDS),
        (f"{TEXT} to the bridge", SpeechFaultKind.REPEATED),
        (
            "When the rain had stopped we bunny lamb fin glottal rower ho hum fridge",
            SpeechFaultKind.OTHER_WORDS,
        ),
    ],
)
def test_words_that_differ_are_named(heard: str, kind: SpeechFaultKind) -> None:
    assert kind in kinds(spoken(heard))


def test_a_misheard_word_is_no_fault() -> None:
    assert kinds(spoken(TEXT.replace("river", "rivet").replace("had", "has"))) == []


def test_words_of_the_reference_are_told_from_others() -> None:
    own = Voice(text="themuseumisclosedonmondays")
    assert kinds(spoken(f"The museum is closed on Mondays. {TEXT}"), own) == [
        SpeechFaultKind.LEAKED_REFERENCE
    ]
    assert kinds(spoken(f"The garden is open on Sundays. {TEXT}"), own) == [SpeechFaultKind.ADDED_WORDS]


def test_what_is_said_is_quoted_in_the_finding() -> None:
    (finding, *_) = judge(spoken("When the rain had stopped we walked"), Voice())
    assert finding.message == "The end is missing: “along the river to the bridge”."


def test_another_voice_is_found() -> None:
    clip = spoken(embedding=voice(1.2))
    assert kinds(clip, Voice(voice(0))) == [SpeechFaultKind.OTHER_VOICE]
    assert kinds(clip, Voice(voice(0.5))) == []
    assert kinds(clip) == []


def test_pace_is_held_against_the_voices_own() -> None:
    assert kinds(spoken(), Voice(pace=10)) == [SpeechFaultKind.SHORT, SpeechFaultKind.FAST]
    assert kinds(spoken(), Voice(pace=30)) == [SpeechFaultKind.LONG, SpeechFaultKind.SLOW]
    assert kinds(spoken(), Voice(pace=12)) == []
    # One recording tells a pace less surely than three.
    assert kinds(spoken(), Voice(pace=10, allowance=1.3)) == []


def test_pace_without_a_voice_is_held_against_what_people_can_do() -> None:
    assert SpeechFaultKind.SHORT in kinds(spoken(acoustics=replace(SOUND, active=2.0)))
    assert SpeechFaultKind.LONG in kinds(spoken(acoustics=replace(SOUND, active=15.0, seconds=16.0)))
    korean = spoken("다시 한번 말씀해 주시겠어요", text="다시 한번 말씀해 주시겠어요", language="ko")
    assert kinds(korean) == []


def test_pitch_is_held_against_the_voices_own() -> None:
    assert kinds(spoken(pitch=Pitch(median=300, spread=9)), Voice(pitch=190)) == [SpeechFaultKind.OTHER_PITCH]
    assert kinds(spoken(pitch=Pitch(median=250, spread=9)), Voice(pitch=190)) == []
    assert kinds(spoken(pitch=Pitch(median=200, spread=1.0))) == [SpeechFaultKind.MONOTONOUS]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"active": 1.0}, SpeechFaultKind.SILENT),
        ({"longest_pause": 2.0}, SpeechFaultKind.PAUSE),
        ({"leading": 2.0}, SpeechFaultKind.PAUSE),
        ({"trailing": 2.0}, SpeechFaultKind.PAUSE),
        ({"slope": -17.0}, SpeechFaultKind.FADING),
        ({"steadiest": 1.0}, SpeechFaultKind.STUCK),
        ({"repeated": 0.5}, SpeechFaultKind.REPEATED),
        ({"clipped": 0.02}, SpeechFaultKind.CLIPPED),
        ({"range": 12.0}, SpeechFaultKind.NOISY),
    ],
)
def test_what_is_wrong_with_the_sound_is_found(changes: dict[str, float], kind: SpeechFaultKind) -> None:
    assert kinds(Evidence(replace(SOUND, **changes))) == [kind]


def test_a_bad_background_is_found() -> None:
    assert kinds(Evidence(SOUND, background=1.9)) == [SpeechFaultKind.NOISY]
    assert kinds(Evidence(SOUND, background=3.8)) == []


def test_without_recognition_the_length_is_held_against_the_text() -> None:
    assert kinds(Evidence(SOUND, text=TEXT)) == []
    assert kinds(Evidence(SOUND, text=TEXT * 3)) == [SpeechFaultKind.SHORT]
    assert kinds(Evidence(SOUND, text="Yes.")) == [SpeechFaultKind.LONG]


def test_clips_of_another_voice_tell_nothing_of_a_voice() -> None:
    own = [spoken(embedding=voice(0.1 * number)) for number in range(3)]
    strange = spoken(embedding=voice(2), pitch=Pitch(median=90, spread=9))
    known = voice_of([*own, strange], voice(0))
    assert known.pitch == 200
    assert known.allowance == 1
    assert voice_of(own[:2], voice(0)).allowance > 1
    assert voice_of([], None) == Voice(allowance=1.3)


def test_the_voice_of_most_clips_is_that_of_a_folder() -> None:
    own = [voice(0.1 * number) for number in range(4)]
    *voices, of_stranger = shared_voice([*own, voice(2)])
    assert all(each is not None and float(each @ voice(0.15)) > 0.98 for each in [*voices, of_stranger])


@pytest.mark.parametrize("angles", [[], [0], [0, 2], [0, 0.1, 2, 2.1], [0, 2, 4]])
def test_without_a_voice_of_most_clips_none_is_wrong(angles: list[float]) -> None:
    assert shared_voice([voice(angle) for angle in angles]) == [None] * len(angles)
    assert shared_voice([None, *map(voice, angles)])[0] is None


RECORDED = json.loads((SPEECH / "heard.json").read_text(encoding="utf-8"))
DAMAGES = sorted({each["damage"] for each in RECORDED})


def recorded(damage: str) -> list[Evidence]:
    """Return what the real models heard and measured; embeddings are made up, as similar as the real ones."""
    return [
        Evidence(
            Acoustics(**each["acoustics"]),
            text=each["text"],
            alignment=align(tokens_of(each["text"], "en"), tokens_of(each["heard"], "en")),
            embedding=voice(float(np.arccos(each["similarity"]))),
            pitch=each["pitch"] and Pitch(**each["pitch"]),
        )
        for each in RECORDED
        if each["damage"] == damage
    ]


@pytest.fixture(scope="module")
def own_voice() -> Voice:
    return voice_of(recorded("clean"), voice(0))


def test_clean_speech_as_it_was_really_heard_has_no_findings(own_voice: Voice) -> None:
    clean = recorded("clean")
    assert len(clean) == 8
    assert [judge(clip, own_voice) for clip in clean] == [[]] * 8
    assert [judge(clip, Voice()) for clip in clean] == [[]] * 8


@pytest.mark.parametrize("damage", [each for each in DAMAGES if each != "clean"])
def test_damaged_speech_as_it_was_really_heard_has_findings(damage: str, own_voice: Voice) -> None:
    clips = recorded(damage)
    assert sum(bool(judge(clip, own_voice)) for clip in clips) >= 0.8 * len(clips)
