"""How numbers are said, language by language: `num2words`, and what it does not know."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal

_DECIMAL_COMMA = frozenset({"de", "fr", "es", "it", "pt", "nl", "ru", "pl", "sv"})
_LIKE = {"yue": "zh"}
_CHINESE_DIGITS = "零一二三四五六七八九"
_CHINESE_UNITS = ("", "十", "百", "千")
_CHINESE_GROUPS = ("", "万", "亿", "万亿")
_KOREAN_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_KOREAN_ONES = ("", "하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉")
_KOREAN_BEFORE_NOUNS = {"하나": "한", "둘": "두", "셋": "세", "넷": "네", "스물": "스무"}
_CURRENCIES: dict[str, dict[str, tuple[str, ...]]] = {
    "$": {
        "en": ("dollars", "dollar"),
        "de": ("dollar",),
        "fr": ("dollars",),
        "es": ("dolares",),
        "ko": ("달러",),
        "ja": ("ドル",),
        "zh": ("美元",),
    },
    "€": {
        "en": ("euros", "euro"),
        "de": ("euro",),
        "fr": ("euros",),
        "es": ("euros",),
        "ko": ("유로",),
        "ja": ("ユーロ",),
        "zh": ("欧元",),
    },
    "£": {"en": ("pounds", "pound"), "de": ("pfund",), "fr": ("livres",), "es": ("libras",)},
    "¥": {"en": ("yen",), "ja": ("円",), "zh": ("元",), "ko": ("엔",)},
    "₩": {"en": ("won",), "ko": ("원",)},
}
_PERCENT = {
    "en": "percent",
    "de": "prozent",
    "fr": "pour cent",
    "es": "por ciento",
    "ko": "퍼센트",
    "ja": "パーセント",
}
_AND = {"en": "and", "de": "und", "fr": "et", "es": "con"}
"""Between an amount and its cents."""
_ORDINAL_SUFFIXES = {
    "en": ("st", "nd", "rd", "th"),
    "fr": ("er", "re", "e", "eme"),
    "es": ("o", "a"),
}
_LONGEST_NUMBER = 15
"""Digits; longer ones (a telephone number, an account) are said digit by digit."""


def number_readings(digits: str, suffix: str, language: str) -> list[str]:
    """Return how a number may be said, likeliest first; what is written itself is the last one.

    Args:
        digits: with separators, as written: `1,455`, `3.5`, `1.234,5`.
        suffix: what stands right behind it, `th`, `s`, or "".
    """
    language = _LIKE.get(language, language)
    value = _value(digits, language)
    said: list[str] = []
    if value is None or len(str(value)) > _LONGEST_NUMBER:
        said += _digit_by_digit(re.sub(r"\D", "", digits), language)
    elif value != value.to_integral_value():
        said += _named(value, language, "cardinal")
    else:
        said += _whole(int(value), suffix, language)
        written = re.sub(r"\D", "", digits)
        if len(written) > 2 or written.startswith("0"):
            said += _digit_by_digit(written, language)
        if language == "en" and written == "00":
            said += ["hundred", "o'clock", ""]
    return list(dict.fromkeys([*said, digits + suffix]))


def amount_readings(said: list[str], digits: str, sign: str, language: str) -> list[str]:
    """Return how an amount of money is said, whose number is said as one of `said`: with its cents, or
    without.

    Args:
        sign: of the currency, `$`.
    """
    language = _LIKE.get(language, language)
    names = _CURRENCIES.get(sign, {}).get(language, ())
    readings = [f"{number} {name}" for number in said for name in names] + said
    parts = re.fullmatch(r"(.*\d)[.,](\d\d)", digits)
    if parts and language != "zh":
        whole, cents = (number_readings(part.lstrip("0") or "0", "", language)[0] for part in parts.groups())
        joints = dict.fromkeys((" ", f" {_AND.get(language, '')} "))
        middles = [f" {name}{joint}" for name in names for joint in joints] + [" "]
        readings += [f"{whole}{middle}{cents}{end}" for middle in middles for end in ("", " cents", " cent")]
    return readings


def percent_readings(number: str, language: str) -> list[str]:
    """Return how a percentage is said."""
    if language in ("zh", "yue"):
        return [f"百分之{number}"]
    return [f"{number} {_PERCENT[language]}"] if language in _PERCENT else [number]


def _value(digits: str, language: str) -> Decimal | None:
    """Return the number that is written; None where it is not one (an address, a date)."""
    point = "," if language in _DECIMAL_COMMA else "."
    thousands = "." if point == "," else ","
    if re.fullmatch(rf"\d{{1,3}}(\{thousands}\d{{3}})+(\{point}\d+)?", digits):
        digits = digits.replace(thousands, "")
    digits = digits.replace(point, ".", 1)
    return Decimal(digits) if re.fullmatch(r"\d+(\.\d+)?", digits) else None


def _whole(value: int, suffix: str, language: str) -> list[str]:
    if suffix in _ORDINAL_SUFFIXES.get(language, ()):
        return _named(value, language, "ordinal")
    if language == "zh":
        return [_chinese(value), *(["两" + _chinese(value)[1:]] if _chinese(value)[0] == "二" else [])]
    said = _named(value, language, "cardinal")
    if 1000 <= value < 2100:
        said = [*_named(value, language, "year"), *said]
    if language == "en":
        said += [name.replace(" and ", " ") for name in said]
        if suffix == "s":
            said = [_plural(name) for name in said]
        elif 1100 <= value < 10_000 and value % 100 == 0 and value % 1000:
            said += [f"{name} hundred" for name in _named(value // 100, "en", "cardinal")]
    elif language == "de":
        # "am 15. Mai": the point is punctuation to who reads word by word, and the ending is the case's.
        said += [name + ending for name in _named(value, "de", "ordinal") for ending in ("", "n", "r", "s")]
    elif language == "ko" and 0 < value < 100:
        said += _native_korean(value)
    return said


def _named(value: Decimal | int, language: str, kind: str) -> list[str]:
    from num2words import num2words

    if language == "zh":
        whole, _, part = str(value).partition(".")
        return [f"{_chinese(int(whole))}点{''.join(_CHINESE_DIGITS[int(digit)] for digit in part)}"]
    with contextlib.suppress(NotImplementedError, OverflowError, KeyError, ValueError, TypeError):
        return [str(num2words(value, lang=language, to=kind))]
    return []


def _digit_by_digit(digits: str, language: str) -> list[str]:
    if language == "zh":
        return ["".join(_CHINESE_DIGITS[int(digit)] for digit in digits)]
    names = [name for digit in digits for name in _named(int(digit), language, "cardinal")]
    if not names:  # a language that num2words does not know
        return []
    said = [" ".join(names)]
    if language == "en" and "0" in digits:
        said.append(said[0].replace("zero", "oh"))
    return said


def _plural(name: str) -> str:
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def _native_korean(value: int) -> list[str]:
    tens, ones = _KOREAN_TENS[value // 10], _KOREAN_ONES[value % 10]
    before = tens + _KOREAN_BEFORE_NOUNS.get(ones, ones) if ones else _KOREAN_BEFORE_NOUNS.get(tens, tens)
    return [tens + ones, before]


def _chinese(value: int) -> str:
    """Return a whole number as Chinese says it: 1455 → 一千四百五十五, 10020 → 一万零二十."""
    if value == 0:
        return _CHINESE_DIGITS[0]
    groups: list[int] = []
    while value:
        value, group = divmod(value, 10_000)
        groups.append(group)
    said, gap = "", False
    for place in range(len(groups) - 1, -1, -1):
        group = groups[place]
        if group == 0:
            gap = bool(said)
            continue
        if said and (gap or group < 1000):
            said += _CHINESE_DIGITS[0]
        said += _chinese_group(group) + _CHINESE_GROUPS[min(place, len(_CHINESE_GROUPS) - 1)]
        gap = False
    return said[1:] if said.startswith("一十") else said


def _chinese_group(group: int) -> str:
    said, gap = "", False
    for place in range(3, -1, -1):
        digit = group // 10**place % 10
        if digit == 0:
            gap = bool(said)
            continue
        said += (_CHINESE_DIGITS[0] if gap else "") + _CHINESE_DIGITS[digit] + _CHINESE_UNITS[place]
        gap = False
    return said
