"""What a model computes of a frame, for all rows of a batch at once; keys and values are cached.

`R` rows, `K` codebooks, `D` channels of the slow transformer, `V` vocabulary, `S` codebook size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cache import KeyValueCache
from .dual_ar import DualAR
from .recording import StepRunner

_ALIGNMENT = 8
"""Fused attention with a mask takes keys in multiples of this."""


class FrameModel:
    """The model with caches of both stacks.

    Args:
        rows: texts at once.
        length: columns at most, prompt and frames together.
        runner: runs all that is computed of a frame.
    """

    def __init__(self, model: DualAR, rows: int, length: int, runner: StepRunner) -> None:
        config, weight = model.config, model.norm.weight
        self._model = model
        self._runner = runner
        self._device = weight.device
        length = -(-length // _ALIGNMENT) * _ALIGNMENT
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
        """Return the slow hidden state `(R, D)` of one column per row, `(R, K+1)`, at these positions."""
        places_R1 = torch.tensor(positions, device=self._device)[:, None]
        # A graph looks at all positions, as it cannot look at more from frame to frame.
        seen = self._cache.length if self._runner.records else max(positions) + 1

        def step(frames_RK: Tensor, places_R1: Tensor) -> Tensor:
            return self._model.slow(frames_RK[..., None], self._cache.at(places_R1, seen))[:, 0]

        return self._runner.run("slow", step, frames_RK, places_R1)

    def token_logits(self, hidden_RD: Tensor) -> Tensor:
        """Return the logits `(R, V)` of the token that follows."""
        return self._runner.run("token", self._model.token_logits, hidden_RD)

    def code_logits(self, codebook: int, code_R: Tensor, hidden_RD: Tensor) -> Tensor:
        """Return the logits `(R, S)` of the code of a codebook ≥ 1.

        Args:
            code_R: the code of the codebook before. Codebooks are asked for in their order.
            hidden_RD: slow hidden state that predicts the frame.
        """
        if codebook == 1:
            return self._runner.run("second code", self._second_code, code_R, hidden_RD)
        places_R1 = torch.full_like(code_R, codebook)[:, None]
        seen = self._fast_cache.length if self._runner.records else codebook + 1

        def step(code_R: Tensor, places_R1: Tensor) -> Tensor:
            past = self._fast_cache.at(places_R1, seen)
            return self._model.fast(self._model.fast_embeddings(code_R)[:, None], past)[:, 0]

        return self._runner.run("next code", step, code_R, places_R1)

    def _second_code(self, code_R: Tensor, hidden_RD: Tensor) -> Tensor:
        # Position 0 would predict code 0, which follows from the token: it goes along with position 1.
        inputs = [self._model.fast_input(hidden_RD), self._model.fast_embeddings(code_R)]
        places_R2 = torch.arange(2, device=self._device).expand(len(code_R), -1)
        return self._model.fast(torch.stack(inputs, dim=1), self._fast_cache.at(places_R2, 2))[:, -1]
