"""Cleaning of transcripts: the reference's, the normal form after it, and the markup that packing takes out.

Whatever is spoken passes `spoken_text`, in packing and in every prompt, so that training and generation see
the same tokens for the same words. Each function here takes time linear in the length of its text.
"""

from __future__ import annotations

import re
import unicodedata

from .markers import phoneme_spans, without_phoneme_marks

TEXT_FORM = 2
"""Counts the changes of what `spoken_text` gives: numbers of tokens kept from before another one are void."""
_EMOJI = re.compile("[\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff]")
_COMMAS = re.compile(",{2,}")
# Shortest matches of `{.*?}` and `<.*?>`. An opening sign without its partner takes the rest of the line with
# it and stays: looked for again from the next opening sign, the partner would cost the square of the length.
_MARKUP = (re.compile(r"\{[^}\n]*+(\}?)"), re.compile(r"<[^>\n]*+(>?)"))
# What takes no room: Unicode's Default_Ignorable_Code_Point, that is zero-width spaces and joiners, byte
# order marks, soft hyphens, marks of direction, variation selectors, tags; and control characters other than
# white space, a terminal's sequences whole. Joiners go in Persian and Indic words too: they choose the shape
# of a letter, not its sound, and writers leave them out as often as not.
_INVISIBLE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"
    "|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)"
    "|[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufff8\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_KEPT_WHOLE = re.compile("\x00([0-9]+)\x00")


def clean_text(text: str) -> str:
    """Return a transcript as the model family expects it.

    White space at both ends goes, curly single quotes become straight, emoji go, runs of commas become one
    (formats.md section 3). A space that stood before an emoji at the end stays, as it does in the reference.
    """
    text = text.strip()
    if not text.isascii():
        text = _EMOJI.sub("", text.replace("‘", "'").replace("’", "'"))
    return _one_comma(text)


def spoken_text(text: str) -> str:
    """Return what is tokenised of a text: cleaned as the reference does, then in normal form.

    The normal form is Unicode NFC, without characters that take no room, runs of white space folded to one
    space, and no white space at the ends. Applied again it changes nothing.
    """
    text = _folded(unicodedata.normalize("NFC", _visible(clean_text(text)))).strip()
    return _one_comma(text)  # what stood between two commas may have gone


def _one_comma(text: str) -> str:
    return _COMMAS.sub(",", text) if ",," in text else text


def packed_text(text: str) -> str:
    """Return what packing keeps of a transcript: `spoken_text` without its markup."""
    folded = " ".join(text.split())
    is_plain = folded.isascii() and folded.isprintable()
    if is_plain and not ("{" in folded or "<" in folded or ",," in folded):  # a third of a pattern's time
        return folded
    return spoken_text(strip_markup(text))


def strip_markup(text: str) -> str:
    """Return `text` with a space for every `{…}` and `<…>`, but phonemes kept, and white space folded."""
    return _folded(_split_markup(text)[0])


def stripped_parts(text: str) -> list[str]:
    """Return what packing takes out of `text`: parts in braces, then parts in angle brackets."""
    return _split_markup(text)[1]


def has_words(packed: str) -> bool:
    """Return whether a packed text has a letter or digit: one answer of all stages to what can be spoken."""
    return any(map(str.isalnum, without_phoneme_marks(packed)))


def letter_counts(packed: str) -> tuple[int, int]:
    """Return the letters and digits of a packed text, and how many of them are whole syllables.

    The second number counts Hangul, kana and Chinese characters.
    """
    letters = list(filter(str.isalnum, without_phoneme_marks(packed)))
    return len(letters), 0 if packed.isascii() else sum(map(_is_syllable, letters))


def control_characters(text: str) -> list[str]:
    """Return the characters of `text` that are neither visible nor white space."""
    return _CONTROL.findall(text)


def _is_syllable(letter: str) -> bool:
    return letter > "\u2fff" and (
        "\u3040" <= letter <= "\u30ff"
        or "\u3400" <= letter <= "\u9fff"
        or "\uac00" <= letter <= "\ud7a3"
        or "\uf900" <= letter <= "\ufaff"
        or "\U00020000" <= letter <= "\U0003ffff"
    )


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    # The Hangul fillers are letters to Unicode and blanks to everybody.
    return _INVISIBLE.sub("", text).replace("\u3164", " ").replace("\uffa0", " ")


def _folded(text: str) -> str:
    """Return `text` with one space for every run of white space; those at the ends count."""
    folded = " ".join(text.split())
    if not folded:
        return text[:1] and " "
    return f"{' ' * text[0].isspace()}{folded}{' ' * text[-1].isspace()}"


def _split_markup(text: str) -> tuple[str, list[str]]:
    """Return a transcript with a space for every `{…}` and `<…>` (shortest match in a line), and these parts.

    Phonemes between their markers are kept whole, whatever stands in them: the tokenizer knows the markers,
    so synthesis keeps them too. Only markup around them takes them along.
    """
    if "{" not in text and "<" not in text:
        return text, []
    # Cleaned first, for markers are recognised in what is tokenised. NUL has gone, so it may stand for them.
    text = _visible(clean_text(text))
    kept: list[str] = []
    pieces: list[str] = []
    position = 0
    for start, end in phoneme_spans(text):
        pieces += text[position:start], f"\x00{len(kept)}\x00"
        kept.append(text[start:end])
        position = end
    text = "".join((*pieces, text[position:]))
    parts: list[str] = []

    def cut(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0]
        parts.append(match[0])
        return " "

    def put_back(match: re.Match[str]) -> str:
        return kept[int(match[1])]

    for pattern in _MARKUP:
        text = pattern.sub(cut, text)
    return _KEPT_WHOLE.sub(put_back, text), [_KEPT_WHOLE.sub(put_back, part) for part in parts]
