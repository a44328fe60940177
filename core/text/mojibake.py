"""Text whose bytes were once read in another encoding than they were written in ("cafÃ©" for "café").

It asks for certainty: ordinary French, German, Vietnamese, Korean or Chinese, quotes and all, is never found.
"""

from __future__ import annotations

import re

# Windows-1252 as programs have it: the five bytes that it leaves free are the control characters of Latin-1.
_BYTE_OF = {bytes([code]).decode("cp1252", "ignore") or chr(code): code for code in range(0x80, 0x100)}
_BYTE_OF |= {chr(code): code for code in range(0x100)}
_TAIL = "".join(sorted(sign for sign, code in _BYTE_OF.items() if 0x80 <= code < 0xC0))
# These follow a letter in ordinary text, closing a quotation, a word or a sentence.
_ORDINARY = "«»‘’‚“”„‹›–—…™®©°²³¹\xa0"
_AFTER_A_WORD = "«»‘’‚“”„‹›–—…\xa0"
_CERTAIN = "".join(sign for sign in _TAIL if sign not in _ORDINARY)
_ACCENT = re.compile(f"[ÂÃÄÅ][{_TAIL}]")
_CAPITAL = re.compile("Ã[\x80-\x9f€ƒ†‡ˆ‰Š˜ŒŽŸ]")
_QUOTE = re.compile(f"â€[{_TAIL}]")
_RUN = re.compile(f"(?:[\xc4-\xdf][{_TAIL}] ?){{3,}}")
_THREE = re.compile(f"[\xe0-\xef][{_TAIL}]{{2}}")
_FOUR = re.compile(f"ð[{_TAIL}]{{3}}")
_LATIN = re.compile("[\xa1-\xfe]{4,}")
_ACCENTS = re.compile("[À-ÖØ-öø-ÿ]{5,}")
# U+FFFD as UTF-8, read as CP949, GB18030 and Windows-1252; quotes read as
# GB18030; the kana's first bytes read as Shift_JIS.
_SIGNATURES = re.compile("占쏙옙|锟斤拷|ï¿½|鈥[\u4e00-\u9fff]|縺[^縺繧]*[縺繧]|繧[^縺繧]*縺")
_PLAUSIBLE = re.compile(
    "[\u0900-\u0eff\u1e00-\u1eff\u2010-\u203a\u20ac\u2122\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uff65]"
)
_SHOWN = 30


def find_mojibake(text: str) -> str:
    """Return the first part of `text` that another encoding has garbled; empty where nothing is certain."""
    if text.isascii():
        return ""
    for find in (_utf8_as_windows, _bytes_as_latin, _utf8_as_double_bytes):
        if found := find(text):
            return found[:_SHOWN]
    return ""


def _bytes(signs: str) -> bytes:
    return bytes(_BYTE_OF[sign] for sign in signs)


def _decodes(signs: str) -> str:
    return _bytes(signs).decode("utf-8", "ignore")


def _utf8_as_windows(text: str) -> str:
    for pattern in (_SIGNATURES, _QUOTE, _CAPITAL):
        if match := pattern.search(text):
            return match[0]
    for match in _ACCENT.finditer(text):
        before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
        # "CAFÉ™" ends a word in capitals; "cafÃ©" and "Ã©tÃ©" are amid small letters.
        amid_small = before.islower() or (after.islower() and not before.isalpha())
        if amid_small and match[0][1] not in _AFTER_A_WORD:
            return match[0]
    for match in _RUN.finditer(text):
        if any(sign in _CERTAIN for sign in match[0]):
            return match[0]
    for match in (*_THREE.finditer(text), *_FOUR.finditer(text)):
        decoded = _decodes(match[0])
        if any(sign in _CERTAIN for sign in match[0][1:]) and (
            match[0][0] == "ð" or _PLAUSIBLE.match(decoded)
        ):
            return match[0]
    return ""


def _bytes_as_latin(text: str) -> str:
    """Find double-byte text, or Russian, read as Latin letters: no language has so many in a row."""
    if match := _ACCENTS.search(text):
        return match[0]
    for encoding, first, last in (("euc_kr", "가", "힣"), ("gb2312", "一", "鿿")):
        decoded = ""
        runs = list(_LATIN.finditer(text))
        for run in runs:
            try:
                decoded += _bytes(run[0]).decode(encoding)
            except UnicodeDecodeError:
                decoded = ""
                break
        letters = [sign for sign in decoded if first <= sign <= last]
        if len(letters) >= 3 and len(set(letters)) >= 2 and len(letters) > 0.8 * len(decoded):
            return runs[0][0]
    return ""


def _utf8_as_double_bytes(text: str) -> str:
    for encoding in ("cp949", "gb18030", "cp932", "big5"):
        try:
            decoded = text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        # By chance, bytes of another language are valid UTF-8 for a letter or two, not for four.
        if len(_PLAUSIBLE.findall(decoded)) >= 4 and len(decoded) < len(text):
            return next(part for part in text.split() if not part.isascii())
    return ""
