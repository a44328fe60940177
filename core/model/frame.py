"""What a model computes of a frame, for all rows of a batch at once; keys and values are cached.

`R` rows, `K` codebooks, `D` channels of the slow transformer, `V` vocabulary, `S` codebook size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cache import KeyValueCache
from .dual_ar import DualAR

_ALIGNMENT = 8
"""Fused attention with a mask takes keys in multiples of this."""


class FrameModel:
    """The model with caches of both stacks.

    Args:
        rows: texts at once.
        length: columns of the longest of them, its prompt included.
    """

    def __init__(self, model: DualAR, rows: int, length: int) -> None:
        config, weight = model.config, model.norm.weight
        self._model = model
        self._device = weight.device
        length = -(-length // _ALIGNMENT) * _ALIGNMENT
        self._cache = KeyValueCache(config.slow, rows, length, weight.dtype, weight.device)
        self._fast_cache = KeyValueCache(config.fast, rows, config.num_codebooks, weight.dtype, weight.device)

    @property
    def length(self) -> int:
        """Columns that a row has room for."""
        return self._cache.length

    def read(self, row: int, columns: Tensor, start: int) -> None:
        """Read columns of a prompt `(K+1, T)` into a row.

        Args:
            start: position of the first; those before it have been read.
        """
        past = self._cache.row(row, start, columns.shape[1])
        self._model.slow(columns.to(self._device)[None], past)

    def share(self, columns: int) -> None:
        """Give all rows the first columns that row 0 has read."""
        self._cache.share(columns)

    def hidden(self, columns_RK: Tensor, places_R: Tensor, seen: int) -> Tensor:
        """Return the slow hidden state `(R, D)` of one column per row, `(R, K+1)`, at these positions.

        Args:
            seen: positions below this are looked at; more than the largest of them.
        """
        return self._model.slow(columns_RK[..., None], self._cache.at(places_R[:, None], seen))[:, 0]

    def token_logits(self, hidden_RD: Tensor) -> Tensor:
        """Return the logits `(R, V)` of the token that follows."""
        return self._model.token_logits(hidden_RD)

    def code_logits(self, codebook: int, code_R: Tensor, hidden_RD: Tensor) -> Tensor:
        """Return the logits `(R, S)` of the code of a codebook ≥ 1.

        Args:
            code_R: the code of the codebook before. Codebooks are asked for in their order.
            hidden_RD: slow hidden state that predicts the frame.
        """
        inputs = [self._model.fast_embeddings(code_R)]
        if codebook == 1:
            # Position 0 would predict code 0, which follows from the token: it goes along with position 1.
            inputs.insert(0, self._model.fast_input(hidden_RD))
        places = torch.arange(codebook + 1 - len(inputs), codebook + 1, device=self._device)
        past = self._fast_cache.at(places.expand(len(code_R), -1), codebook + 1)
        return self._model.fast(torch.stack(inputs, dim=1), past)[:, -1]
