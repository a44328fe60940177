"""Token matrices: the prompt of generation and the sequences of training, by one builder.

A token matrix is `(K+1, T)` int64: row 0 token ids, rows 1…K the codes of frames, 0 elsewhere. Every part
of a prompt is tokenised on its own and the ids are joined (formats.md section 3). Every transcript and typed
text passes `spoken_text`, in both formats, so that training and generation see the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .cleaning import spoken_text
from .tokenizer import IM_END, INTERLEAVE, VOICE, Tokenizer

PromptFormat = Literal["inference", "legacy"]
IntArray = npt.NDArray[np.int64]
IGNORED = -100
"""Label of what carries no loss."""


@dataclass(frozen=True)
class Turn:
    """An utterance: its transcript and its codes `(K, frames)`."""

    text: str
    codes: npt.NDArray[np.integer]


@dataclass(frozen=True)
class TrainingSequence:
    """Inputs and labels `(K+1, T)`; column t of the labels is what column t of the inputs predicts."""

    tokens: IntArray
    labels: IntArray


class _Columns:
    """Collects the parts of a token matrix."""

    def __init__(self, tokenizer: Tokenizer, num_codebooks: int) -> None:
        self._tokenizer = tokenizer
        self._num_codebooks = num_codebooks
        self._parts: list[IntArray] = []

    def add_text(self, text: str) -> None:
        self._add_ids(self._tokenizer.encode(text))

    def add_speech(self, text: str) -> None:
        """Add what is spoken, in normal form."""
        ids = self._tokenizer.encode(spoken_text(text))
        if (token := self._tokenizer.control_token(ids)) is not None:
            raise DataError(
                "The text {text} holds {token}, which steers the model and is not spoken.",
                "Remove it from the text; a packed one, from its transcript, and pack again.",
                text=repr(text[:60]),
                token=token,
            )
        self._add_ids(ids)

    def _add_ids(self, ids: list[int]) -> None:
        part = np.zeros((self._num_codebooks + 1, len(ids)), dtype=np.int64)
        part[0] = ids
        self._parts.append(part)

    def add_codes(self, codes: npt.NDArray[np.integer]) -> None:
        begin, end = self._tokenizer.semantic_begin_id, self._tokenizer.semantic_end_id
        if codes.ndim != 2 or codes.shape[0] != self._num_codebooks or codes.shape[1] == 0:
            raise DataError(
                "Codes of shape {shape} do not fit a model with {number} codebooks.",
                "Extract the codes again with the codec of this model.",
                shape=codes.shape,
                number=self._num_codebooks,
            )
        if codes.min() < 0 or codes[0].max() > end - begin:
            raise DataError(
                "Codes between {lowest} and {highest} are outside the model's {number} semantic tokens.",
                "Extract the codes again with the codec of this model.",
                lowest=codes.min(),
                highest=codes.max(),
                number=end - begin + 1,
            )
        wide = codes.astype(np.int64)
        self._parts.append(np.concatenate([wide[:1] + begin, wide]))

    @property
    def length(self) -> int:
        return sum(part.shape[1] for part in self._parts)

    def matrix(self) -> IntArray:
        return np.concatenate(self._parts, axis=1)


def _begin_inference(columns: _Columns, references: Sequence[Turn], text: str) -> None:
    columns.add_text(INTERLEAVE)
    for turn in references:
        _add_speech(columns, turn.text)
        columns.add_codes(turn.codes)
        columns.add_text(IM_END)
    _add_speech(columns, text)


def _add_speech(columns: _Columns, text: str) -> None:
    columns.add_text("<|speaker:0|>")
    columns.add_speech(text)


def _begin_legacy(columns: _Columns, text: str) -> None:
    # The parts are the reference's; the transcript is in normal form here too, since packing has put it there
    # and generation will. Ordinary text gives the reference's tokens.
    columns.add_text("Speak out the provided text.")
    columns.add_text("<|speaker:user|> ")
    columns.add_speech(text)
    columns.add_text(IM_END)
    columns.add_text(f"<|speaker:assistant|> {VOICE}")


def inference_prompt(
    tokenizer: Tokenizer, references: Sequence[Turn], text: str, num_codebooks: int
) -> IntArray:
    """Return the prompt `(K+1, T)` after which the model speaks `text` in the references' voice.

    Raises:
        DataError: the codes of a reference do not fit, or a text holds a token that steers the model.
    """
    columns = _Columns(tokenizer, num_codebooks)
    _begin_inference(columns, references, text)
    return columns.matrix()


def training_sequence(
    tokenizer: Tokenizer,
    prompt_format: PromptFormat,
    references: Sequence[Turn],
    target: Turn,
    num_codebooks: int,
) -> TrainingSequence:
    """Return inputs and labels of one sample: the prompt, then the target's codes and `<|im_end|>`.

    Loss falls on the target's codes and its `<|im_end|>` only. The format `legacy` takes no references.

    Raises:
        DataError: the codes of the target or of a reference do not fit, or a text holds a token that steers
            the model.
    """
    columns = _Columns(tokenizer, num_codebooks)
    if prompt_format == "inference":
        _begin_inference(columns, references, target.text)
    else:
        _begin_legacy(columns, target.text)
    prompt_length = columns.length
    columns.add_codes(target.codes)
    columns.add_text(IM_END)
    matrix = columns.matrix()
    labels = np.full_like(matrix, IGNORED)
    labels[:, prompt_length:] = matrix[:, prompt_length:]
    return TrainingSequence(tokens=matrix[:, :-1], labels=labels[:, 1:])
