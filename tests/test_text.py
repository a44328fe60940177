"""Cleaning, tokenizer and prompts against the reference outputs."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.errors import CheckpointError, DataError
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.prompts import S1Prompts
from fishtune.core.model.families.s1.tokenizer import S1Tokenizer
from fishtune.core.text.cleaning import clean_text, packed_text, spoken_text, strip_markup, stripped_parts
from fishtune.core.text.markers import DEFAULT_SPECIAL_TOKENS
from fishtune.core.text.prompts import IGNORED, Turn
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def tokenizer(golden: Path) -> S1Tokenizer:
    return S1().tokenizer(golden / "base")


def test_cleaned_text_is_that_of_the_reference(golden: Path) -> None:
    for case in json.loads((golden / "clean_text.json").read_text(encoding="utf-8")):
        assert clean_text(case["in"]) == case["out"]


def test_markup_becomes_a_space_and_what_goes_is_listed() -> None:
    text = "one {aside} two  <laugh>three <a{b>c}"
    assert strip_markup(text) == "one two three <a "
    assert stripped_parts(text) == ["{aside}", "{b>c}", "<laugh>"]


def test_token_ids_are_those_of_the_reference(golden: Path, tokenizer: S1Tokenizer) -> None:
    for case in json.loads((golden / "tokenizer.json").read_text(encoding="utf-8")):
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]


def test_special_ids_follow_position_not_the_value_in_the_file(golden: Path, tmp_path: Path) -> None:
    shutil.copy(golden / "base/tokenizer.tiktoken", tmp_path)
    tokens = json.loads((golden / "base/special_tokens.json").read_text(encoding="utf-8"))
    (tmp_path / "special_tokens.json").write_text(json.dumps(dict.fromkeys(tokens, 7)), encoding="utf-8")
    tokenizer = S1().tokenizer(tmp_path)
    assert tokenizer.token_id("<|im_end|>") == 260
    assert (tokenizer.semantic_begin_id, tokenizer.semantic_end_id) == (271, 334)


def test_without_special_tokens_file_the_default_list_counts(golden: Path, tmp_path: Path) -> None:
    ranks = (golden / "base/tokenizer.tiktoken").read_bytes()
    (tmp_path / "tokenizer.tiktoken").write_bytes(b"= 0\n" + ranks)
    tokenizer = S1().tokenizer(tmp_path)
    assert tokenizer.token_id("<|im_end|>") == 260
    assert (tokenizer.semantic_begin_id, tokenizer.semantic_end_id) == (271, 271 + 4095)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.tiktoken", b"AA== 0\n!! 1\n", "Line 2 of .*tokenizer.tiktoken is not a token"),
        ("tokenizer.tiktoken", b"", "holds no tokens"),
        ("special_tokens.json", b"{", "special_tokens.json is not valid JSON"),
        ("special_tokens.json", b'{"<|pad|>": 0}', r"has no token <\|semantic:0\|>"),
        ("special_tokens.json", b'{"<|semantic:0|>": 0, "<|semantic:2|>": 1}', "not in one row"),
    ],
)
def test_broken_tokenizer_files_are_named(
    golden: Path, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    for name in ("tokenizer.tiktoken", "special_tokens.json"):
        shutil.copy(golden / "base" / name, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        S1().tokenizer(tmp_path)


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.tiktoken does not exist"):
        S1().tokenizer(tmp_path)


def test_legacy_sequence_is_that_of_the_reference(golden: Path, tokenizer: S1Tokenizer) -> None:
    reference = np.load(golden / "reference_prompt.npz")
    target = Turn("hello world, goodbye world!", reference["codes"])
    sequence = S1Prompts(tokenizer, 10).training_sequence("legacy", [], target)
    np.testing.assert_array_equal(sequence.tokens, reference["tokens"])
    np.testing.assert_array_equal(sequence.labels, reference["labels"])


def test_inference_prompt_is_that_of_the_reference(golden: Path, tokenizer: S1Tokenizer) -> None:
    reference = np.load(golden / "generate.npz")
    texts = json.loads((golden / "generate.json").read_text(encoding="utf-8"))
    turn = Turn(texts["ref_text"], reference["ref_codes"])
    prompt = S1Prompts(tokenizer, 10).prompt([turn], texts["text"])
    np.testing.assert_array_equal(prompt, reference["prompt"])


def test_training_sequence_begins_with_the_very_prompt_of_generation(tokenizer: S1Tokenizer) -> None:
    codes = np.arange(30).reshape(10, 3)
    reference, target = Turn("‘one’", codes), Turn("two,, three 😀", codes + 20)
    prompt = S1Prompts(tokenizer, 10).prompt([reference], target.text)
    sequence = S1Prompts(tokenizer, 10).training_sequence("inference", [reference], target)
    length = prompt.shape[1]
    np.testing.assert_array_equal(sequence.tokens[:, :length], prompt)
    assert sequence.tokens.shape == sequence.labels.shape == (11, length + 3)
    assert (sequence.labels[:, : length - 1] == IGNORED).all()
    np.testing.assert_array_equal(sequence.labels[1:, length - 1 : -1], target.codes)
    np.testing.assert_array_equal(sequence.labels[0, length - 1 : -1], target.codes[0] + 271)
    assert sequence.labels[0, -1] == 260
    assert (sequence.labels[1:, -1] == 0).all()


def test_a_text_cleaned_before_packing_gives_the_same_prompt(tokenizer: S1Tokenizer) -> None:
    raw = "안녕,,  하세요 🇰🇷"
    np.testing.assert_array_equal(
        S1Prompts(tokenizer, 4).prompt([], raw), S1Prompts(tokenizer, 4).prompt([], clean_text(raw))
    )


@pytest.mark.parametrize(
    "codes", [np.zeros((9, 4), int), np.zeros((10, 0), int), np.zeros(4, int), np.full((10, 1), 64)]
)
def test_codes_that_do_not_fit_are_refused(tokenizer: S1Tokenizer, codes: np.ndarray) -> None:
    with pytest.raises(DataError, match="Codes"):
        S1Prompts(tokenizer, 10).prompt([Turn("a", codes)], "b")


NORMAL = {
    "Cafe\u0301, \u1112\u1161\u11ab\u1100\u1173\u11af": "Café, 한글",
    "Hel\u200blo the\xadre.": "Hello there.",
    "\ufeffHello \u2060\u200etwo": "Hello two",
    "می\u200cخواهم": "میخواهم",
    "one \u3000 two\n\tthree\xa0 ": "one two three",
    "Hello \x1b[31mred\x1b[0m \x1b]0;title\x07there.\x7f\x9d": "Hello red there.",
    "안녕\u3164하세요": "안녕 하세요",
    "a,\u200b,b": "a,b",
    "‘it’s’ ,,, 😀\u200d🏳\ufe0f": "'it's' ,",
}


@pytest.mark.parametrize("text", NORMAL)
@pytest.mark.parametrize("prompt", ["inference", "legacy"])
def test_every_prompt_holds_the_normal_form_that_packing_writes(
    tokenizer: S1Tokenizer, text: str, prompt: str
) -> None:
    assert spoken_text(text) == packed_text(text) == NORMAL[text]
    codes = np.zeros((10, 2), int)

    def tokens(spoken: str) -> list[int]:
        turns = [Turn(spoken, codes)] if prompt == "inference" else []
        return (
            S1Prompts(tokenizer, 10).training_sequence(prompt, turns, Turn(spoken, codes)).tokens[0].tolist()
        )

    assert tokens(text) == tokens(NORMAL[text])
    np.testing.assert_array_equal(
        S1Prompts(tokenizer, 10).prompt([Turn(text, codes)], text),
        S1Prompts(tokenizer, 10).prompt([Turn(NORMAL[text], codes)], NORMAL[text]),
    )


@given(
    st.text(
        st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(",‘’ 😀\u200b\u0301\x1b[m<|{}>"))
    )
)
def test_the_normal_form_is_reached_at_once(text: str) -> None:
    spoken = spoken_text(text)
    assert spoken_text(spoken) == spoken == unicodedata.normalize("NFC", spoken)
    packed = packed_text(text)
    assert spoken_text(packed) == packed


PHONEMES = "<|phoneme_start|>T UW1<|phoneme_end|>"


@pytest.mark.parametrize(
    ("text", "packed", "parts"),
    [
        (f"I saw {PHONEMES} birds.", f"I saw {PHONEMES} birds.", []),
        (f"a < b {PHONEMES} c", f"a < b {PHONEMES} c", []),
        (f"<b>{PHONEMES}</b>{PHONEMES}", f"{PHONEMES} {PHONEMES}", ["<b>", "</b>"]),
        (f"x {{see {PHONEMES}}} y", "x y", [f"{{see {PHONEMES}}}"]),
        ("<|phoneme_start|>{T} <UW><|phoneme_end|> z", "<|phoneme_start|>{T} <UW><|phoneme_end|> z", []),
        ("<|phoneme_\u200bstart|>T<|phoneme_end|> b", "<|phoneme_start|>T<|phoneme_end|> b", []),
        ("<|speaker:0|>hi", "hi", ["<|speaker:0|>"]),
    ],
)
def test_packing_keeps_phonemes_whole_or_takes_them_out_whole(
    text: str, packed: str, parts: list[str]
) -> None:
    assert packed_text(text) == packed
    assert stripped_parts(text) == parts


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_\u200bend|>", "<|im_😀end|>", "<|semantic:5|>"])
def test_a_prompt_takes_no_text_with_tokens_that_steer_the_model(tokenizer: S1Tokenizer, token: str) -> None:
    codes = np.zeros((10, 2), int)
    with pytest.raises(DataError, match="which steers the model"):
        S1Prompts(tokenizer, 10).prompt([], f"hi {token} there")
    with pytest.raises(DataError, match="which steers the model"):
        S1Prompts(tokenizer, 10).training_sequence("legacy", [], Turn(f"hi {token}", codes))
    assert S1Prompts(tokenizer, 10).prompt([], f"hi {PHONEMES}").shape[1] > 10


def _lines(tokens: list[bytes], first: int = 0) -> bytes:
    encoded = (base64.b64encode(token).decode() for token in tokens)
    return "".join(f"{token} {rank}\n" for rank, token in enumerate(encoded, start=first)).encode()


BYTES = [bytes((byte,)) for byte in range(256)]
BAD_RANKS = {
    "negative": (_lines(BYTES).replace(b"AA== 0", b"AA== -1"), "Line 1 of .* is not a token"),
    "one byte only": (b"Hg== 30\n", "ids .* are not 0 to 0"),
    "a byte missing": (_lines([*BYTES[:-1], b"ab"]), "lacks 1 of the 256 single bytes"),
    "an id twice": (_lines(BYTES).replace(b" 255", b" 254"), "gives one id to several tokens"),
    "a token twice": (_lines([*BYTES, b"a"]), "Line 257 of .* repeats a token"),
    "a gap": (_lines(BYTES, 1), "ids .* are not 0 to 255"),
    "huge": (_lines(BYTES).replace(b" 255", b" " + b"9" * 5000), "Line 256 of .* is not a token"),
    "no id": (_lines(BYTES).replace(b" 255", b""), "Line 256 of .* is not a token"),
    "empty token": (_lines([*BYTES, b""]), "Line 257 of .* is not a token"),
    "underscore": (_lines(BYTES).replace(b" 255", b" 25_5"), "Line 256 of .* is not a token"),
}


@pytest.mark.parametrize("name", BAD_RANKS)
def test_ranks_on_which_the_library_would_panic_are_refused(golden: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(golden / "base/special_tokens.json", tmp_path)
    content, message = BAD_RANKS[name]
    (tmp_path / "tokenizer.tiktoken").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        S1().tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":' * 30_000,
        b'{"": 0, "<|pad|>": 1}',
        b"[1]",
        b"\xff\xfe",
        b'{"<|pad|>": 1' + b"0" * 5000 + b"}",
    ],
)
def test_special_tokens_out_of_bounds_are_refused(golden: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copy(golden / "base/tokenizer.tiktoken", tmp_path)
    (tmp_path / "special_tokens.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"special_tokens\.json|has no token"):
        S1().tokenizer(tmp_path)


@given(data=st.data())
def test_changed_ranks_give_a_tokenizer_or_one_kind_of_error(data: st.DataObject) -> None:
    lines = _lines([*BYTES, b"ab", b"abc"]).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.integers(0, len(lines) - 1))
        lines[line] = data.draw(
            st.sampled_from([b"", b"AA== 7", b"=", lines[0], lines[line][:-1], b"YWI= 300"])
        )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.tiktoken").write_bytes(b"\n".join(lines))
        try:
            tokenizer = S1().tokenizer(Path(folder))
        except CheckpointError:
            return
        assert tokenizer.size == tokenizer.token_id(DEFAULT_SPECIAL_TOKENS[-1]) + 1
        tokenizer.encode("abc é")


@given(st.text(alphabet=" \t\n\x0b\x1c\x1fab,.'{}<>|-0\r\x7f\x00가\u200b", max_size=16))
def test_plain_texts_are_packed_like_all_others(text: str) -> None:
    assert packed_text(text) == spoken_text(strip_markup(text))
