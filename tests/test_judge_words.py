"""Texts that are compared: what counts as the same words, and where two texts differ."""

from __future__ import annotations

import pytest

pytest.importorskip("num2words", reason="the extra is not installed: pip install 'fishtune[judge]'")

from fishtune.core.judge.alignment import Alignment, Kind, align
from fishtune.core.judge.differences import Where, differences
from fishtune.core.judge.recognition import Heard, HeardWord
from fishtune.core.judge.words import tokens_of


def aligned(expected: str, heard: str, language: str = "en") -> Alignment:
    return align(tokens_of(expected, language), tokens_of(heard, language))


def counts(alignment: Alignment) -> tuple[int, int, int]:
    """Return deletions, insertions, substitutions."""
    return tuple(alignment.count(kind) for kind in (Kind.DELETED, Kind.INSERTED, Kind.SUBSTITUTED))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("en", "the 15th century", "The fifteenth century."),
        ("en", "about fourteen fifty-five", "about 1455"),
        ("en", "in 1905", "in nineteen oh five"),
        ("en", "1,234 men", "one thousand two hundred and thirty four men"),
        ("en", "1,234 men", "one thousand two hundred thirty-four men"),
        ("en", "1500 ships", "fifteen hundred ships"),
        ("en", "the 1990s", "the nineteen nineties"),
        ("en", "50% of it", "fifty percent of it"),
        ("en", "it cost $18.50", "it cost eighteen dollars and fifty cents"),
        ("en", "it cost $5", "it cost five dollars"),
        ("en", "Dr. Smith & Mrs. Jones", "doctor Smith and missus Jones"),
        ("en", "room 007", "room oh oh seven"),
        ("en", "at 10:30", "at ten thirty"),
        ("en", "forty-two line Bible", "42-line Bible"),
        ("en", "the woodcutters", "the wood cutters"),
        ("en", "Don’t, I said", "don't i said"),
        ("en", "ＦＵＬＬ width", "full width"),
        ("en", "a café (nice) <laugh>", "a cafe nice"),
        ("de", "Am 15. Mai 1984", "am fünfzehnten Mai neunzehnhundertvierundachtzig"),
        ("de", "12,50 € im Monat", "zwölf Euro fünfzig im Monat"),
        ("de", "1.250 Straßen", "eintausendzweihundertfünfzig Strassen"),
        ("fr", "1 250 coureurs", "mille deux cent cinquante coureurs"),
        ("fr", "le 1er juin", "le premier juin"),
        ("es", "1.250 años", "mil doscientos cincuenta años"),
        ("es", "la Dra. Núñez", "la doctora Nunez"),
        ("ko", "사과 24개를 3시에", "사과 스물네 개를 세시에"),
        ("ko", "2019년에는", "이천십구년에는"),
        ("zh", "2024年3月15日，有50%的人", "二零二四年三月十五日有百分之五十的人"),
        ("zh", "10020元，2天", "一万零二十元两天"),
        ("ja", "私は１５歳です。コーヒー", "私は十五歳です、こーひー"),
        ("ja", "7月3日に1,250人", "七月三日に千二百五十人"),
    ],
)
def test_the_same_words_are_no_error_however_they_are_written(language: str, written: str, said: str) -> None:
    assert aligned(written, said, language).error_rate == 0
    assert aligned(said, written, language).error_rate == 0


def test_another_number_is_an_error() -> None:
    assert aligned("the 15th century", "the 16th century").error_rate > 0
    assert aligned("it cost $5", "it cost six dollars").error_rate > 0
    assert aligned("사과 24개", "사과 스물다섯 개", "ko").error_rate > 0


def test_a_number_counts_in_a_language_whose_numbers_are_not_known() -> None:
    assert aligned("ja 123 na", "ja na", "xx").error_rate > 0
    assert aligned("ja 123 na", "ja 123 na", "xx").error_rate == 0


def test_errors_are_counted_by_kind() -> None:
    assert counts(aligned("one small step for a man", "one small step for man")) == (1, 0, 0)
    assert counts(aligned("one small step", "one very small step")) == (0, 1, 0)
    assert counts(aligned("one small step", "one tall step")) == (0, 0, 1)
    assert aligned("one small step", "one tall step").error_rate == pytest.approx(1 / 3)
    assert aligned("one", "").error_rate == 1
    assert aligned("", "one").error_rate == 1
    assert aligned("", "").error_rate == 0


def test_languages_without_spaces_are_compared_by_letters() -> None:
    alignment = aligned("早上好。", "晚上好", "zh")
    assert counts(alignment) == (0, 0, 1)
    assert alignment.expected == 3
    assert aligned("다시 한번", "다시 한 번", "ko").error_rate == 0


def test_errors_lie_together_where_they_can() -> None:
    leaked = "we walked along the river and saw the bridge. when the rain had stopped we went to the house"
    (difference,) = differences(aligned("when the rain had stopped we went to the house", leaked))
    assert difference.where is Where.START
    assert difference.expected == ()
    assert difference.heard_text == "we walked along the river and saw the bridge"


def test_a_difference_knows_what_is_missing_and_what_is_said_again() -> None:
    (missing,) = differences(aligned("and then they all went home", "and then they"))
    assert (missing.where, missing.missing, missing.expected_text) == (Where.END, 11, "all went home")
    (again,) = differences(aligned("they all went home", "they all went home went home"))
    assert again.repeats
    assert again.added == 8
    (misheard,) = differences(aligned("a shop boy", "a shock boy"))
    assert (misheard.missing, misheard.wrong) == (-1, 2)
    assert not misheard.repeats
    (everything,) = differences(aligned("yes", "no way"))
    assert everything.where is Where.ALL


def test_a_token_heard_knows_its_word_and_time() -> None:
    spoken = [(" In", 0.0), (" 1905", 0.4), (",", 0.9), (" Dr.", 1.0), (" Wu", 1.3)]
    heard = Heard(tuple(HeardWord(text, start, start + 0.2, 0.9) for text, start in spoken), "en")
    tokens, words = heard.tokens()
    assert heard.text == "In 1905, Dr. Wu"
    assert [token.readings[0][0] for token in tokens] == ["in", "nineteen", "dr", "wu"]
    assert [word.start for word in words] == [0.0, 0.4, 1.0, 1.3]
