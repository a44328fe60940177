"""The tokenizer of the S1 family: tiktoken BPE over a ranks file, and special tokens."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

import tiktoken

from ..errors import CheckpointError

RANKS_FILE = "tokenizer.tiktoken"
SPECIAL_TOKENS_FILE = "special_tokens.json"

# The seventh alternative is odd (an escaped question mark), but it is what the models were trained with.
SPLIT_PATTERN = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"\p{P}",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(\?!\S)",
        r"\s+",
    )
)

IM_END = "<|im_end|>"
INTERLEAVE = "<|interleave|>"
VOICE = "<|voice|>"
DEFAULT_SPECIAL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|pad|>",
    "<|im_start|>",
    IM_END,
    "<|phoneme_start|>",
    "<|phoneme_end|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|text|>",
    VOICE,
    INTERLEAVE,
    "<|audio_start|>",
    "<|audio_end|>",
    "<|audio|>",
    *(f"<|semantic:{code}|>" for code in range(4096)),
)
_REDOWNLOAD = "Download the checkpoint again, or point to the directory that holds it."


class Tokenizer:
    """Turns text into ids.

    Args:
        ranks: the id of every ordinary token.
        special_tokens: in order; the first gets the id `len(ranks)`.
        source: where both came from, for messages.

    Raises:
        CheckpointError: a special token that prompts need is missing, or the semantic ids have gaps.
    """

    def __init__(self, ranks: dict[bytes, int], special_tokens: list[str], source: str) -> None:
        self._source = source
        self._special = {token: len(ranks) + position for position, token in enumerate(special_tokens)}
        self._encoding = tiktoken.Encoding(
            "fishtune",
            pat_str=SPLIT_PATTERN,
            mergeable_ranks=ranks,
            special_tokens=self._special,
        )
        self.semantic_begin_id = self.token_id("<|semantic:0|>")
        """Id of the semantic token of code 0."""
        count = sum(token.startswith("<|semantic:") for token in special_tokens)
        self.semantic_end_id = self.semantic_begin_id + count - 1
        """Id of the semantic token of the highest code."""
        if any(self._special.get(f"<|semantic:{c}|>") != self.semantic_begin_id + c for c in range(count)):
            raise CheckpointError(f"The semantic tokens of {source} are not in one row.", _REDOWNLOAD)
        for token in (IM_END, INTERLEAVE, VOICE):
            self.token_id(token)

    @classmethod
    def from_directory(cls, directory: Path) -> Tokenizer:
        """Read `tokenizer.tiktoken` and `special_tokens.json` (optional) of a checkpoint directory.

        Raises:
            CheckpointError: a file is missing, unreadable, or not what it should be.
        """
        special_file = directory / SPECIAL_TOKENS_FILE
        special_tokens = list(DEFAULT_SPECIAL_TOKENS)
        if special_file.exists():
            special_tokens = _read_special_tokens(special_file)
        return cls(_read_ranks(directory / RANKS_FILE), special_tokens, str(directory))

    @property
    def size(self) -> int:
        """Number of ids, special ones included."""
        return self._encoding.n_vocab

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; special tokens written inside it are recognised."""
        return self._encoding.encode(text, allowed_special="all")

    def token_id(self, token: str) -> int:
        """Return the id of a special token.

        Raises:
            CheckpointError: this tokenizer has no such token.
        """
        if token not in self._special:
            raise CheckpointError(f"The tokenizer of {self._source} has no token {token}.", _REDOWNLOAD)
        return self._special[token]


def _read_ranks(file: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    try:
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            if not line:
                continue
            token, _, rank = line.partition(b" ")
            if token == b"=":
                continue
            try:
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except (binascii.Error, ValueError) as error:
                raise CheckpointError(f"Line {number} of {file} is not a token.", _REDOWNLOAD) from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}.", _REDOWNLOAD) from error
    if not ranks:
        raise CheckpointError(f"{file} holds no tokens.", _REDOWNLOAD)
    return ranks


def _read_special_tokens(file: Path) -> list[str]:
    try:
        tokens = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}.", _REDOWNLOAD) from error
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON: {error}.", _REDOWNLOAD) from error
    if not isinstance(tokens, dict):
        raise CheckpointError(f"{file} does not list tokens.", _REDOWNLOAD)
    return list(tokens)
