"""Texts that voices are given to say: ours, and a user's own."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from fishtune.core.config.presets import preset_names, texts_preset
from fishtune.core.errors import SettingsError, UsageError
from fishtune.core.text.cleaning import letter_counts
from fishtune.core.text.texts import texts_of
from fishtune.core.text.transcripts import check_typed

LANGUAGES = ["de", "en", "es", "fr", "ja", "ko", "ru", "zh"]
PACE = {"ja": 6.0, "ko": 6.0, "zh": 4.2}
"""Letters per second, pauses included; about 13 where a letter is not a syllable."""


def test_eight_languages_have_texts() -> None:
    assert preset_names("texts") == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_24_from_short_to_long(language: str) -> None:
    texts = texts_of(language)
    assert len(texts) == len(set(texts)) == 24
    assert texts_preset(language).language == language
    for text in texts:
        check_typed(text, "text")
        assert text == unicodedata.normalize("NFC", text.strip())
    seconds = [letter_counts(text)[0] / PACE.get(language, 13.0) for text in texts]
    assert seconds[0] < 2
    assert 20 <= seconds[-1] <= 32
    assert seconds[-1] == max(seconds)
    assert any(text.rstrip()[-1] in "?？" or "か。" in text for text in texts)
    assert any(any(map(str.isdigit, text)) for text in texts)


def test_own_texts_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\ufeffHello there.\n\n# a note\n  안녕하세요.  \n", encoding="utf-8")
    assert texts_of(str(file)) == ["Hello there.", "안녕하세요."]


def test_own_texts_are_read_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('language = "en"\ntexts = ["One.", "Two."]\n', encoding="utf-8")
    assert texts_of(str(file)) == ["One.", "Two."]
    file.write_text('language = "en"\ntext = ["One."]\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="text is not a known key"):
        texts_of(str(file))
    file.write_text("language = ", encoding="utf-8")
    with pytest.raises(SettingsError):
        texts_of(str(file))


def test_texts_that_cannot_be_spoken_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Hello.\n…\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"Text 2 of .*mine\.txt has no words"):
        texts_of(str(file))
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(UsageError, match="has no texts"):
        texts_of(str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not UTF-8"):
        texts_of(str(file))
    with pytest.raises(UsageError, match="does not exist") as raised:
        texts_of(str(tmp_path / "none.txt"))
    assert "one text per line" in raised.value.hint and "en" in raised.value.hint
    with pytest.raises(UsageError, match="There is no text preset 'xx'"):
        texts_of("xx")
