"""What a tokenizer does for prompts, training and generation. Each model family has its own."""

from __future__ import annotations

from typing import Protocol


class Tokenizer(Protocol):
    """Turns text into ids.

    Attributes:
        size: number of ids, special ones included.
        semantic_begin_id, semantic_end_id: ids of the semantic tokens of code 0 and of the highest code;
            those of the codes between stand in one row.
        end_id: id of the token that ends an utterance.
    """

    @property
    def size(self) -> int: ...
    @property
    def semantic_begin_id(self) -> int: ...
    @property
    def semantic_end_id(self) -> int: ...
    @property
    def end_id(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; special tokens written inside it are recognised."""
        ...

    def control_token(self, ids: list[int]) -> str | None:
        """Return the first of `ids` that steers the model and so must not stand in a text."""
        ...
