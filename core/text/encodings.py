"""Which encoding a transcript that is not UTF-8 has, by trial and by what the result looks like."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f]")
_SIGN = re.compile("[«»‘’‚“”„‹›–—…€°·¡¿§£©®™\xa0½ºª]")
_LETTER = re.compile("[À-ÖØ-öø-þŒœŠšŽžŸ]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_KANA = re.compile("[\u3041-\u30ff]")
_HALF_KANA = re.compile("[\uff61-\uff9f]")
_CHINESE = re.compile("[\u4e00-\u9fff]")
_KANA_AND_CHINESE = re.compile("[\u3041-\u30ff\u4e00-\u9fff]")
_CYRILLIC = re.compile("[\u0400-\u04ff]")
_SMALL_CYRILLIC = re.compile("[а-яё]")
_NOT_RUSSIAN = re.compile("[а-яё][А-ЯЁ]|[A-Za-z][\u0400-\u04ff]|[\u0400-\u04ff][A-Za-z]")
_FOREIGN = re.compile("[^\x00-\x7f]")
_PUNCTUATION = re.compile("[\u2000-\u206f\u3000-\u303f\uff00-\uff60\xa0-\xbf]")
_SHARED = re.compile("[\t\n\r -~\u2000-\u206f\u3000-\u303f\uff00-\uff60]")


def likely_encoding(content: bytes) -> str | None:
    """Return the encoding that `content` most likely has, by Python's name; None if nothing fits.

    It decodes `content` without an error. A UTF-8 text is not told apart: ask only where UTF-8 failed or gave
    NUL characters.
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name if _decoded(content, name) is not None else None
    if b"\x00" in content:
        return _wide_without_mark(content)
    return next((name for name, fits in _CANDIDATES if fits(content)), None)


def _decoded(content: bytes, name: str) -> str | None:
    try:
        return content.decode(name)
    except UnicodeDecodeError:
        return None


def _share(pattern: re.Pattern[str], text: str | None) -> float:
    """Return the share of `pattern` in the letters of `text` that are not ASCII; 0 for None."""
    if text is None:
        return 0.0
    foreign = [sign for sign in _FOREIGN.findall(text) if not _PUNCTUATION.match(sign)]
    return sum(pattern.match(sign) is not None for sign in foreign) / len(foreign) if foreign else 0.0


def _wide_without_mark(content: bytes) -> str | None:
    if not content.strip(b"\x00"):
        return None
    for name in ("utf-32-le", "utf-32-be"):
        if _decoded(content, name) is not None:
            return name
    # Half of the bytes of a Latin text are NUL; where letters have other high bytes, it is not UTF-8 either.
    if (found := _one_script(content)) is not None:
        return found
    first, second = content[::2].count(0), content[1::2].count(0)
    if 4 * (first + second) < len(content) and _decoded(content, "utf-8") is not None:
        return None
    if min(first, second) > 0.05 * (first + second):
        return None
    name = "utf-16-le" if second > first else "utf-16-be"
    return name if _decoded(content, name) is not None else None


def _is_western(content: bytes) -> bool:
    """Return whether letters with accents stand in words of ASCII letters, one or two at a time.

    Letters of double-byte encodings stand in long runs, and look like a heap of odd signs.
    """
    text = _decoded(content, "cp1252")
    if text is None or _CONTROL.search(content):
        return False
    for run in _HIGH.finditer(content):
        signs = text[run.start() : run.end()]
        letters = len(_LETTER.findall(signs))
        if letters + len(_SIGN.findall(signs)) < len(signs) or letters > 2:
            return False
        around = text[max(0, run.start() - 1) : run.start()] + text[run.end() : run.end() + 1]
        if letters and len(signs) > 1 and not any(map(str.isalpha, around)):
            return False
    return True


def _is_korean(content: bytes) -> bool:
    return _share(_HANGUL, _decoded(content, "euc_kr")) > 0.9


def _is_extended_korean(content: bytes) -> bool:
    # CP949 has thousands of syllables that hardly anybody writes beside those of EUC-KR.
    text = _decoded(content, "cp949")
    if text is None or _share(_HANGUL, text) <= 0.9:
        return False
    syllables = _HANGUL.findall(text)
    return len("".join(syllables).encode("euc_kr", "ignore")) > len(syllables)


def _is_shift_jis(content: bytes) -> bool:
    text = _decoded(content, "cp932")
    if text is None or _HALF_KANA.search(text):
        return False
    usual = sum(0x88 <= sign.encode("cp932")[0] <= 0x97 for sign in _CHINESE.findall(text))
    return _share(_KANA, text) > 0.2 or usual > 0.9 * len(_FOREIGN.findall(text))


def _is_euc_jp(content: bytes) -> bool:
    return _share(_KANA, _decoded(content, "euc_jp")) > 0.2


def _is_chinese(content: bytes, name: str, last_usual: int) -> bool:
    """Return whether most characters are of the first, frequent level, which ends at a lead byte."""
    text = _decoded(content, name)
    if text is None or _share(_CHINESE, text) <= 0.9:
        return False
    leads = [sign.encode(name)[0] for sign in _CHINESE.findall(text)]
    usual: int = sum(lead <= last_usual for lead in leads)
    return usual > 0.7 * len(leads)


def _is_russian(content: bytes, name: str) -> bool:
    text = _decoded(content, name)
    if text is None or _CONTROL.search(content) or _NOT_RUSSIAN.search(text):
        return False
    return _share(_CYRILLIC, text) > 0.9 and _share(_SMALL_CYRILLIC, text) >= 0.5


def _one_script(content: bytes) -> str | None:
    """Return which UTF-16 makes `content` a text in Hangul, Japanese or Russian, or None.

    Chinese is not asked for: any pair of bytes is one of its characters or other.
    """
    for name in ("utf-16-le", "utf-16-be"):
        if _is_wide(content, name, _HANGUL) or _is_wide(content, name, _CYRILLIC):
            return name
        if _share(_KANA, _decoded(content, name)) > 0.2 and _is_wide(content, name, _KANA_AND_CHINESE):
            return name
    return None


def _is_wide(content: bytes, name: str, script: re.Pattern[str]) -> bool:
    text = _decoded(content, name)
    if text is None or not script.search(text):
        return False
    return len(script.findall(text)) + len(_SHARED.findall(text)) > 0.95 * len(text)


_CANDIDATES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("cp1252", _is_western),
    ("cp949", _is_korean),
    ("cp932", _is_shift_jis),
    ("euc_jp", _is_euc_jp),
    ("cp1251", lambda content: _is_russian(content, "cp1251")),
    ("koi8_r", lambda content: _is_russian(content, "koi8_r")),
    ("gb18030", lambda content: _is_chinese(content, "gb2312", 0xD7)),
    ("big5", lambda content: _is_chinese(content, "big5", 0xC6)),
    ("cp949", _is_extended_korean),
    ("utf-16-le", lambda content: _one_script(content) == "utf-16-le"),
    ("utf-16-be", lambda content: _one_script(content) == "utf-16-be"),
    ("utf-16-le", lambda content: _is_wide(content, "utf-16-le", _CHINESE)),
    ("utf-16-be", lambda content: _is_wide(content, "utf-16-be", _CHINESE)),
    ("gb18030", lambda content: _share(_CHINESE, _decoded(content, "gb18030")) > 0.9),
    ("cp1252", lambda content: _decoded(content, "cp1252") is not None),
)
"""In this order: the first that fits counts."""
