"""The tokenizer of the S2 family: `tokenizer.json`, read by the library that defines it."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer as Encoding
from tokenizers.pre_tokenizers import ByteLevel

from ....errors import CheckpointError
from ....messages import Message
from ....reading import read_regular, reading
from ....text.markers import IM_END, IM_START, SPEAKER, VOICE
from .files import LARGEST_TOKENIZER

CODES = 4096
"""Semantic tokens that are looked for."""
_REDOWNLOAD = Message("Download the checkpoint again, or point to the directory that holds it.")
_MARKER = re.compile(r"<\|[^<>|]*\|>")


class S2Tokenizer:
    """See `text.tokenizer.Tokenizer`.

    Args:
        content: of a `tokenizer.json`.
        source: its path, for messages.

    Raises:
        CheckpointError: it is not a tokenizer, cannot spell every text, a token that prompts need is missing,
            or the semantic ids have gaps.
    """

    def __init__(self, content: bytes, source: Path) -> None:
        self._source = source
        with reading(source, CheckpointError, _REDOWNLOAD):
            self._encoding = Encoding.from_str(content.decode())
            # What a file may ask for besides; a text is encoded as it is.
            self._encoding.no_truncation()
            self._encoding.no_padding()
            self._ids = self._encoding.get_vocab(with_added_tokens=True)
            self._added = self._encoding.get_added_tokens_decoder()
        missing = sum(sign not in self._ids for sign in ByteLevel.alphabet())
        if missing:
            raise CheckpointError(
                "{file} lacks {number} of the 256 single bytes.", _REDOWNLOAD, file=source, number=missing
            )
        self.semantic_begin_id, self.semantic_end_id = self._semantic_range()
        self.token_id(IM_START)
        self.token_id(VOICE)
        self.end_id = self.token_id(IM_END)
        """Id of `<|im_end|>`."""

    @classmethod
    def read(cls, file: Path) -> S2Tokenizer:
        """Read the tokenizer of a checkpoint directory.

        Raises:
            CheckpointError: the file is missing, unreadable, or not what it should be.
        """
        return cls(read_regular(file, LARGEST_TOKENIZER, CheckpointError), file)

    def _semantic_range(self) -> tuple[int, int]:
        codes = {code: self._ids.get(f"<|semantic:{code}|>") for code in range(CODES)}
        found = {code: token for code, token in codes.items() if token is not None}
        if not found:
            self.token_id("<|semantic:0|>")
        begin = min(found.values())
        if any(found.get(code) != begin + code for code in range(len(found))):
            raise CheckpointError(
                "The semantic tokens of {source} are not in one row.", _REDOWNLOAD, source=self._source
            )
        return begin, begin + len(found) - 1

    @property
    def size(self) -> int:
        """Number of ids, added ones included, and those that no token has."""
        return max(self._ids.values()) + 1

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; added tokens written inside it are recognised."""
        return list(self._encoding.encode(text, add_special_tokens=False).ids)

    def control_token(self, ids: list[int]) -> str | None:
        """Return the first of `ids` that steers the model and so must not stand in a text.

        Speaker marks are plain text and may. Any other `<|…|>` may not, whether it is a token or not.
        """
        for token in ids:
            if token in self._added:
                return str(self._added[token].content)
        markers = _MARKER.findall(self._encoding.decode(ids, skip_special_tokens=False))
        return next((marker for marker in markers if not SPEAKER.fullmatch(marker)), None)

    def token_id(self, token: str) -> int:
        """Return the id of a token.

        Raises:
            CheckpointError: this tokenizer has no such token.
        """
        if token not in self._ids:
            raise CheckpointError("{file} has no token {token}.", _REDOWNLOAD, file=self._source, token=token)
        return self._ids[token]
