"""Known words and what was heard of them: texts shared out among clips, captions laid over speech."""

from __future__ import annotations

import pytest
from fishtune.core.judge.recognition import Heard, HeardWord
from fishtune.core.stages.prepare.captioned import lay_over
from fishtune.core.stages.prepare.captions import Caption
from fishtune.core.stages.prepare.cuts import Span
from fishtune.core.stages.prepare.texts import share_out

pytest.importorskip("num2words", reason="the extra is not installed: pip install 'fishtune[prepare]'")


def heard(*texts: str, language: str = "en") -> list[Heard]:
    return [
        Heard(tuple(HeardWord(f" {word}", 0, 1, 0.9) for word in text.split()), language) for text in texts
    ]


def shared(text: str, *said: str, language: str = "en") -> list[str]:
    return [share.text for share in share_out(text, heard(*said, language=language), language)]


def test_each_clip_gets_its_words_in_the_spelling_of_the_text() -> None:
    text = "Dr. Who arrived, in 1905; nobody knew – why?  He left."
    assert shared(text, "doctor who arrived in nineteen hundred and five", "nobody new why he left") == [
        "Dr. Who arrived, in 1905;",
        "nobody knew – why? He left.",
    ]


def test_words_that_were_not_heard_go_to_the_sentence_that_they_end() -> None:
    text = "The cat sat on the mat at home. Then it slept all day long."
    assert shared(text, "the cat sat on the mat", "it slept all day long") == [
        "The cat sat on the mat at home.",
        "Then it slept all day long.",
    ]


def test_what_is_in_the_text_before_and_behind_the_recording_is_left_out() -> None:
    text = "Chapter one of a long book. It was a dark night and cold. Thanks to all who listened."
    assert shared(text, "it was a dark night", "and cold") == ["It was a dark night", "and cold."]


def test_a_clip_that_says_something_else_is_not_sure() -> None:
    text = "It was a dark night and cold. The wind blew over the hills."
    first, other, last = share_out(
        text,
        heard("it was a dark night and cold", "ladies and gentlemen welcome", "the wind blew over the hills"),
        "en",
    )
    assert (first.is_sure, other.is_sure, last.is_sure) == (True, False, True)
    assert first.agreement == 1.0


def test_languages_without_spaces_are_shared_out_by_letters() -> None:
    text = "今天天气很好，我们去公园。明天也许会下雨。"
    assert shared(text, "今天天气很好我们去公园", "明天也许会下雨", language="zh") == [
        "今天天气很好，我们去公园。",
        "明天也许会下雨。",
    ]
    assert shared(
        "오늘은 날씨가 좋아요. 내일은 비가 와요.", "오늘은 날씨가 좋아요", "내일은비가 와요", language="ko"
    ) == [
        "오늘은 날씨가 좋아요.",
        "내일은 비가 와요.",
    ]


def test_captions_are_laid_over_the_speech_that_they_are_of() -> None:
    captions = [Caption(0.9, 3.2, "One."), Caption(3.2, 5.0, "Two."), Caption(8.0, 9.0, "Three.")]
    speech = [Span(1.0, 3.0), Span(3.4, 5.1), Span(6.0, 7.0), Span(8.1, 8.4), Span(8.6, 9.2)]
    laid = lay_over(captions, speech)
    assert laid.texts == {speech[0]: "One.", speech[1]: "Two.", Span(8.1, 9.2): "Three."}
    assert laid.unwanted == {speech[2]}
    assert laid.spans == [speech[0], speech[1], speech[2], Span(8.1, 9.2)]


def test_captions_without_a_pause_between_them_stay_together() -> None:
    captions = [Caption(0.0, 2.0, "One"), Caption(2.0, 4.0, "and two."), Caption(4.5, 6.0, "Three.")]
    laid = lay_over(captions, [Span(0.1, 3.9), Span(4.6, 5.9)])
    assert list(laid.texts.values()) == ["One and two.", "Three."]


def test_a_short_caption_counts_by_half_of_itself() -> None:
    captions = [Caption(0.0, 2.0, "Well"), Caption(2.0, 2.3, "yes."), Caption(3.0, 4.0, "No.")]
    laid = lay_over(captions, [Span(0.1, 2.25), Span(3.0, 4.0)])
    assert list(laid.texts.values()) == ["Well yes.", "No."]
