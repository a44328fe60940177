"""Cleaning, tokenizer and prompts against the reference outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.errors import CheckpointError, DataError
from fishtune.core.text.cleaning import clean_text, strip_markup, stripped_parts
from fishtune.core.text.prompts import IGNORED, Turn, inference_prompt, training_sequence
from fishtune.core.text.tokenizer import Tokenizer


@pytest.fixture
def tokenizer(golden: Path) -> Tokenizer:
    return Tokenizer.from_directory(golden / "base")


def test_cleaned_text_is_that_of_the_reference(golden: Path) -> None:
    for case in json.loads((golden / "clean_text.json").read_text(encoding="utf-8")):
        assert clean_text(case["in"]) == case["out"]


def test_markup_becomes_a_space_and_what_goes_is_listed() -> None:
    text = "one {aside} two  <laugh>three <a{b>c}"
    assert strip_markup(text) == "one two three <a "
    assert stripped_parts(text) == ["{aside}", "{b>c}", "<laugh>"]


def test_token_ids_are_those_of_the_reference(golden: Path, tokenizer: Tokenizer) -> None:
    for case in json.loads((golden / "tokenizer.json").read_text(encoding="utf-8")):
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]


def test_special_ids_follow_position_not_the_value_in_the_file(golden: Path, tmp_path: Path) -> None:
    shutil.copy(golden / "base/tokenizer.tiktoken", tmp_path)
    tokens = json.loads((golden / "base/special_tokens.json").read_text(encoding="utf-8"))
    (tmp_path / "special_tokens.json").write_text(json.dumps(dict.fromkeys(tokens, 7)), encoding="utf-8")
    tokenizer = Tokenizer.from_directory(tmp_path)
    assert tokenizer.token_id("<|im_end|>") == 260
    assert (tokenizer.semantic_begin_id, tokenizer.semantic_end_id) == (271, 334)


def test_without_special_tokens_file_the_default_list_counts(golden: Path, tmp_path: Path) -> None:
    ranks = (golden / "base/tokenizer.tiktoken").read_bytes()
    (tmp_path / "tokenizer.tiktoken").write_bytes(b"= 0\n" + ranks)
    tokenizer = Tokenizer.from_directory(tmp_path)
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
        Tokenizer.from_directory(tmp_path)


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.tiktoken cannot be read: No such file"):
        Tokenizer.from_directory(tmp_path)


def test_legacy_sequence_is_that_of_the_reference(golden: Path, tokenizer: Tokenizer) -> None:
    reference = np.load(golden / "reference_prompt.npz")
    target = Turn("hello world, goodbye world!", reference["codes"])
    sequence = training_sequence(tokenizer, "legacy", [], target, 10)
    np.testing.assert_array_equal(sequence.tokens, reference["tokens"])
    np.testing.assert_array_equal(sequence.labels, reference["labels"])


def test_inference_prompt_is_that_of_the_reference(golden: Path, tokenizer: Tokenizer) -> None:
    reference = np.load(golden / "generate.npz")
    texts = json.loads((golden / "generate.json").read_text(encoding="utf-8"))
    turn = Turn(texts["ref_text"], reference["ref_codes"])
    prompt = inference_prompt(tokenizer, [turn], texts["text"], 10)
    np.testing.assert_array_equal(prompt, reference["prompt"])


def test_training_sequence_begins_with_the_very_prompt_of_generation(tokenizer: Tokenizer) -> None:
    codes = np.arange(30).reshape(10, 3)
    reference, target = Turn("‘one’", codes), Turn("two,, three 😀", codes + 20)
    prompt = inference_prompt(tokenizer, [reference], target.text, 10)
    sequence = training_sequence(tokenizer, "inference", [reference], target, 10)
    length = prompt.shape[1]
    np.testing.assert_array_equal(sequence.tokens[:, :length], prompt)
    assert sequence.tokens.shape == sequence.labels.shape == (11, length + 3)
    assert (sequence.labels[:, : length - 1] == IGNORED).all()
    np.testing.assert_array_equal(sequence.labels[1:, length - 1 : -1], target.codes)
    np.testing.assert_array_equal(sequence.labels[0, length - 1 : -1], target.codes[0] + 271)
    assert sequence.labels[0, -1] == 260
    assert (sequence.labels[1:, -1] == 0).all()


def test_a_text_cleaned_before_packing_gives_the_same_prompt(tokenizer: Tokenizer) -> None:
    raw = "안녕,,  하세요 🇰🇷"
    np.testing.assert_array_equal(
        inference_prompt(tokenizer, [], raw, 4), inference_prompt(tokenizer, [], clean_text(raw), 4)
    )


@pytest.mark.parametrize(
    "codes", [np.zeros((9, 4), int), np.zeros((10, 0), int), np.zeros(4, int), np.full((10, 1), 64)]
)
def test_codes_that_do_not_fit_are_refused(tokenizer: Tokenizer, codes: np.ndarray) -> None:
    with pytest.raises(DataError, match="Codes"):
        inference_prompt(tokenizer, [Turn("a", codes)], "b", 10)
