"""What a model computes of a frame, for all rows of a batch at once; keys and values are cached.

`R` rows, `K` codebooks, `D` channels of the slow transformer, `V` vocabulary, `S` codebook size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cache import KeyValueCache
from .dual_ar import DualAR


class FrameModel:
    """The model with caches of both stacks.

    Args:
        rows: texts at once.
        length: columns at most, prompt and frames together.
    """

    def __init__(self, model: DualAR, rows: int, length: int) -> None:
        config, weight = model.config, model.norm.weight
        self._model = model
        self._device = weight.device
        self._cache = KeyValueCache(config.slow, rows, length, weight.dtype, weight.device)
        self._fast_cache = KeyValueCache(config.fast, rows, config.num_codebooks, weight.dtype, weight.device)

    def read(self, row: int, columns: Tensor, start: int) -> Tensor:
        """Read columns of a prompt `(K+1, T)` into a row; return the hidden state of the last, `(D,)`.

        Args:
            start: position of the first; those before it have been read.
        """
        past = self._cache.row(row, start, columns.shape[1])
        return self._model.slow(columns.to(self._device)[None], past)[0, -1]

    def share(self, columns: int) -> None:
        """Give all rows the first columns that row 0 has read."""
        self._cache.share(columns)

    def hidden(self, frames_RK: Tensor, positions: Sequence[int]) -> Tensor:
        """Return the slow hidden state `(R, D)` of the frames, one column `(R, K+1)` at these positions."""
        places = torch.tensor(positions, device=self._device)[:, None]
        past = self._cache.at(places, max(positions) + 1)
        return self._model.slow(frames_RK[..., None], past)[:, 0]

    def token_logits(self, hidden_RD: Tensor) -> Tensor:
        """Return the logits `(R, V)` of the token that follows."""
        return self._model.token_logits(hidden_RD)

    def code_logits(self, codebook: int, code_R: Tensor, hidden_RD: Tensor) -> Tensor:
        """Return the logits `(R, S)` of the code of a codebook ≥ 1.

        Args:
            code_R: the code of the codebook before. Codebooks are asked for in their order.
            hidden_RD: slow hidden state that predicts the frame.
        """
        code_RC = self._model.fast_embeddings(code_R)
        if codebook > 1:
            return self._fast(code_RC[:, None], codebook)
        # Position 0 would predict code 0, which follows from the token: it goes along with position 1.
        return self._fast(torch.stack([self._model.fast_input(hidden_RD), code_RC], dim=1), 0)

    def _fast(self, inputs_RTC: Tensor, start: int) -> Tensor:
        end = start + inputs_RTC.shape[1]
        positions = torch.arange(start, end, device=self._device).expand(len(inputs_RTC), -1)
        return self._model.fast(inputs_RTC, self._fast_cache.at(positions, end))[:, -1]
