"""The tokenizer of the S1 family: tiktoken BPE over a ranks file, and special tokens."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import tiktoken

from ....errors import CheckpointError, MalformedFileError
from ....messages import Message
from ....reading import read_regular, reading
from ....tables import read_json
from ....text.markers import DEFAULT_SPECIAL_TOKENS, IM_END, INTERLEAVE, SPOKEN_TOKENS, VOICE
from . import files

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

LARGEST_FILE = 64 << 20
"""Bytes of ranks or special tokens; published ones have 3 MB."""
_MOST_SPECIAL_TOKENS = 1 << 20
_REDOWNLOAD = Message("Download the checkpoint again, or point to the directory that holds it.")


class S1Tokenizer:
    """See `text.tokenizer.Tokenizer`.

    Args:
        ranks: the id of every ordinary token.
        special_tokens: in order; the first gets the id `len(ranks)`.
        source: where both came from, for messages.

    Raises:
        CheckpointError: ranks or special tokens are not sound, a special token that prompts need is missing,
            or the semantic ids have gaps.
    """

    def __init__(self, ranks: dict[bytes, int], special_tokens: list[str], source: str) -> None:
        # The library panics on what these refuse, or gives two tokens one id.
        _check_ranks(ranks, source)
        _check_special_tokens(special_tokens, source)
        self._source = source
        self._special = {token: len(ranks) + position for position, token in enumerate(special_tokens)}
        with reading(Path(source), CheckpointError, _REDOWNLOAD):
            self._encoding = tiktoken.Encoding(
                "fishtune",
                pat_str=SPLIT_PATTERN,
                mergeable_ranks=ranks,
                special_tokens=self._special,
            )
        self._first_special = len(ranks)
        self._spoken = frozenset(self._special[token] for token in SPOKEN_TOKENS if token in self._special)
        self.semantic_begin_id = self.token_id("<|semantic:0|>")
        """Id of the semantic token of code 0."""
        count = sum(token.startswith("<|semantic:") for token in special_tokens)
        self.semantic_end_id = self.semantic_begin_id + count - 1
        """Id of the semantic token of the highest code."""
        if any(self._special.get(f"<|semantic:{c}|>") != self.semantic_begin_id + c for c in range(count)):
            raise CheckpointError(
                "The semantic tokens of {source} are not in one row.", _REDOWNLOAD, source=source
            )
        for token in (INTERLEAVE, VOICE):
            self.token_id(token)
        self.end_id = self.token_id(IM_END)
        """Id of `<|im_end|>`."""

    @classmethod
    def read(cls, ranks_file: Path, special_file: Path) -> S1Tokenizer:
        """Read the ranks and the special tokens, whose file may be absent, of a checkpoint directory.

        Raises:
            CheckpointError: a file is missing, unreadable, or not what it should be.
        """
        special_tokens = list(DEFAULT_SPECIAL_TOKENS)
        if special_file.exists():
            special_tokens = _read_special_tokens(special_file)
        return cls(_read_ranks(ranks_file), special_tokens, str(ranks_file.parent))

    @property
    def size(self) -> int:
        """Number of ids, special ones included."""
        return self._encoding.n_vocab

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; special tokens written inside it are recognised."""
        return self._encoding.encode(text, allowed_special="all")

    def control_token(self, ids: list[int]) -> str | None:
        """Return the first of `ids` that steers the model and so must not stand in a text."""
        for token in ids:
            if token >= self._first_special and token not in self._spoken:
                return self._encoding.decode([token])
        return None

    def token_id(self, token: str) -> int:
        """Return the id of a special token.

        Raises:
            CheckpointError: this tokenizer has no such token.
        """
        if token not in self._special:
            raise CheckpointError(
                "The tokenizer of {source} has no token {token}.",
                _REDOWNLOAD,
                source=self._source,
                token=token,
            )
        return self._special[token]


def _read_ranks(file: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_regular(file, LARGEST_FILE, CheckpointError).splitlines(), start=1):
        if not line:
            continue
        encoded, _, rank = line.partition(b" ")
        if encoded == b"=":
            continue
        try:
            token = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise CheckpointError(
                "Line {number} of {file} is not a token.", _REDOWNLOAD, number=number, file=file
            ) from error
        # As digits only: Python also reads "1_0", " 1" and "+1".
        if not token or not rank.isdigit() or len(rank) > 9:
            raise CheckpointError(
                "Line {number} of {file} is not a token.", _REDOWNLOAD, number=number, file=file
            )
        if token in ranks:
            raise CheckpointError(
                "Line {number} of {file} repeats a token.", _REDOWNLOAD, number=number, file=file
            )
        ranks[token] = int(rank)
    if not ranks:
        raise CheckpointError("{file} holds no tokens.", _REDOWNLOAD, file=file)
    return ranks


def _check_ranks(ranks: dict[bytes, int], source: str) -> None:
    """Refuse ranks that are not 0 … n-1, each once: special tokens take the ids from n on."""
    seen = set(ranks.values())
    if len(seen) < len(ranks):
        raise CheckpointError(
            "{file} of {source} gives one id to several tokens.",
            _REDOWNLOAD,
            file=files.RANKS,
            source=source,
        )
    if min(seen, default=0) < 0 or max(seen, default=0) >= len(ranks):
        raise CheckpointError(
            "The ids in {file} of {source} are not 0 to {last}.",
            _REDOWNLOAD,
            file=files.RANKS,
            source=source,
            last=len(ranks) - 1,
        )
    missing = sum(bytes((byte,)) not in ranks for byte in range(256))
    if missing:
        raise CheckpointError(
            "{file} of {source} lacks {number} of the 256 single bytes.",
            _REDOWNLOAD,
            file=files.RANKS,
            source=source,
            number=missing,
        )


def _check_special_tokens(tokens: list[str], source: str) -> None:
    if not all(tokens) or len(set(tokens)) < len(tokens) or len(tokens) > _MOST_SPECIAL_TOKENS:
        raise CheckpointError(
            "{file} of {source} holds an empty token, one twice, or too many.",
            _REDOWNLOAD,
            file=files.SPECIAL_TOKENS,
            source=source,
        )


def _read_special_tokens(file: Path) -> list[str]:
    try:
        tokens = read_json(file, LARGEST_FILE)
    except MalformedFileError as error:
        raise CheckpointError(error.message, _REDOWNLOAD) from error
    if not isinstance(tokens, dict):
        raise CheckpointError("{file} does not list tokens.", _REDOWNLOAD, file=file)
    return list(tokens)
