"""Token matrices: the prompt of generation and the sequences of training, by one builder per model family.

A token matrix is `(K+1, T)` int64: row 0 token ids, rows 1…K the codes of frames, 0 elsewhere. Every part
of a prompt is tokenised on its own and the ids are joined (formats.md section 3). Every transcript and typed
text passes `spoken_text`, in all formats, so that training and generation see the same tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .cleaning import spoken_text
from .markers import IM_END, VOICE
from .tokenizer import Tokenizer

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


@dataclass(frozen=True)
class TurnLength:
    """How long an utterance makes a sequence, in columns, its frames not counted."""

    alone: int
    """A training sequence of it without a reference; the longest of its variants."""
    as_reference: int
    """What it adds to the sequence of another utterance."""


class Columns:
    """Collects the parts of a token matrix."""

    def __init__(self, tokenizer: Tokenizer, num_codebooks: int) -> None:
        self._tokenizer = tokenizer
        self._num_codebooks = num_codebooks
        self._parts: list[IntArray] = []

    def add_text(self, text: str) -> None:
        """Add a part of the prompt's own; special tokens in it count as such."""
        self._add_ids(self._tokenizer.encode(text))

    def add_speech(self, text: str, *lines: str) -> None:
        """Add what is spoken, in normal form; several lines are one part, with line feeds between them.

        Raises:
            DataError: it holds a token that steers the model.
        """
        ids = self._tokenizer.encode("\n".join(map(spoken_text, (text, *lines))))
        if (token := self._tokenizer.control_token(ids)) is not None:
            raise DataError(
                "The text {text} holds {token}, which steers the model and is not spoken.",
                "Remove it from the text; a packed one, from its transcript, and pack again.",
                text=repr(text[:60]),
                token=token,
            )
        self._add_ids(ids)

    def add_end(self) -> None:
        """Add the token that ends an utterance."""
        self._add_ids([self._tokenizer.end_id])

    def _add_ids(self, ids: list[int]) -> None:
        part = np.zeros((self._num_codebooks + 1, len(ids)), dtype=np.int64)
        part[0] = ids
        self._parts.append(part)

    def add_codes(self, codes: npt.NDArray[np.integer]) -> None:
        """Add frames, codes `(K, frames)`.

        Raises:
            DataError: they do not fit the model.
        """
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
        """Columns so far."""
        return sum(part.shape[1] for part in self._parts)

    def matrix(self) -> IntArray:
        """Return the token matrix `(K+1, T)`."""
        return np.concatenate(self._parts, axis=1)


def add_legacy_prompt(columns: Columns, text: str) -> None:
    """Add the prompt that the reference's fine-tuning builds, for all families alike.

    The parts are the reference's; the transcript is in normal form here too, since packing has put it there
    and generation will. Ordinary text gives the reference's tokens.
    """
    columns.add_text("Speak out the provided text.")
    columns.add_text("<|speaker:user|> ")
    columns.add_speech(text)
    columns.add_text(IM_END)
    columns.add_text(f"<|speaker:assistant|> {VOICE}")


class PromptBuilder(ABC):
    """Builds the token matrices of one model family.

    A family says how a prompt begins; what follows it, the target's codes and the end, is the same for all.
    What a builder varies must follow from its arguments: the same sample is built again to be measured and
    resumed.
    """

    variants = 1
    """Forms in which the text of a training sample is given, in turn from epoch to epoch."""

    def __init__(self, tokenizer: Tokenizer, num_codebooks: int) -> None:
        self.tokenizer = tokenizer
        self.num_codebooks = num_codebooks

    @abstractmethod
    def begin(
        self, columns: Columns, prompt_format: PromptFormat, references: Sequence[Turn], text: str
    ) -> None:
        """Add all that stands before the frames in which the model speaks `text`.

        Raises:
            DataError: the codes of a reference do not fit, or a text holds a token that steers the model.
            UsageError: the family has no prompt of that format.
        """

    def resume(self, columns: Columns, text: str) -> None:
        """Add all that stands between the frames of one part of a text and those of the next, `text`.

        Raises:
            DataError: the text holds a token that steers the model.
        """
        raise NotImplementedError(f"{type(self).__name__} speaks every text in one piece")

    def parts(self, text: str) -> list[str]:
        """Return the parts in which a text is spoken, each by a generation of its own: here, one."""
        return [text]

    def training_text(self, text: str, variant: int) -> str:  # noqa: ARG002 - for families that have several
        """Return a transcript in one of its variants; 0 is the text as it is."""
        return text

    def prompt(self, references: Sequence[Turn], text: str, spoken: Sequence[Turn] = ()) -> IntArray:
        """Return the prompt `(K+1, T)` after which the model speaks `text` in the references' voice.

        Args:
            spoken: the parts of the text before this one, with their frames.

        Raises:
            DataError: see `begin`.
        """
        columns = Columns(self.tokenizer, self.num_codebooks)
        texts = [*(turn.text for turn in spoken), text]
        self.begin(columns, "inference", references, texts[0])
        for turn, following in zip(spoken, texts[1:], strict=True):
            columns.add_codes(turn.codes)
            self.resume(columns, following)
        return columns.matrix()

    def training_sequence(
        self, prompt_format: PromptFormat, references: Sequence[Turn], target: Turn, variant: int = 0
    ) -> TrainingSequence:
        """Return inputs and labels of one sample: the prompt, then the target's codes and the end token.

        Loss falls on the target's codes and its end only. The format `legacy` takes no references.

        Args:
            variant: of the target's text, below `variants`; `legacy` has one.

        Raises:
            DataError, UsageError: see `begin`; the target's codes must fit, too.
        """
        columns = Columns(self.tokenizer, self.num_codebooks)
        text = self.training_text(target.text, variant) if prompt_format == "inference" else target.text
        self.begin(columns, prompt_format, references, text)
        prompt_length = columns.length
        columns.add_codes(target.codes)
        columns.add_end()
        matrix = columns.matrix()
        labels = np.full_like(matrix, IGNORED)
        labels[:, prompt_length:] = matrix[:, prompt_length:]
        return TrainingSequence(tokens=matrix[:, :-1], labels=labels[:, 1:])

    def measure(self, prompt_format: PromptFormat, text: str) -> TurnLength:
        """Return how long sequences of an utterance with this transcript are.

        Raises:
            DataError, UsageError: see `begin`.
        """
        # A frame is one column whatever its codes are.
        turn = Turn(text, np.zeros((self.num_codebooks, 1), dtype=np.int64))
        alone = max(
            self.training_sequence(prompt_format, [], turn, variant).tokens.shape[1] - 1
            for variant in range(self.variants)
        )
        if prompt_format != "inference":
            return TurnLength(alone, 0)
        added = self.prompt([turn], text).shape[1] - self.prompt([], text).shape[1] - 1
        return TurnLength(alone, added)
