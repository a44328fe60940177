"""Rows of a batch on the device, and the step that gives each its next frame.

`R` rows, `K` codebooks, `L` frames of the longest text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from .dual_ar import DualAR
from .frame import FrameModel
from .recording import StepRunner
from .sampling import Recent, SamplingRule


class Rows:
    """What each row has said so far, and its random numbers; their places are the same for every frame.

    Args:
        rows: R.
        length: columns of the longest text, its prompt included.
        frames: L.
        residual_codebook_size: codes 1 … K−1 are drawn below this.
        runner: runs what gives a frame.
    """

    def __init__(
        self,
        model: DualAR,
        rule: SamplingRule,
        rows: int,
        length: int,
        frames: int,
        residual_codebook_size: int,
        runner: StepRunner,
    ) -> None:
        config, device = model.config, model.norm.weight.device
        self._model, self._rule, self._runner = FrameModel(model, rows, length), rule, runner
        self._semantic_begin_id, self._residual_size = model.semantic_begin_id, residual_codebook_size
        self._codebook_size, self._codebooks = config.codebook_size, config.num_codebooks
        self._begins = [1] * rows
        self._begins_R = torch.ones(rows, dtype=torch.int64, device=device)
        # The last column of the prompt, and the frames that follow it.
        self._columns_RLK = torch.zeros(
            rows, frames + 1, config.num_codebooks + 1, dtype=torch.int64, device=device
        )
        self._random_RLK = torch.zeros(
            rows, frames, config.num_codebooks + 1, dtype=torch.float64, device=device
        )
        self._rows_R = torch.arange(rows, device=device)

    def share(self, columns: Tensor) -> None:
        """Read the columns `(K+1, T)` that all prompts begin with, before any text begins."""
        self._model.read(0, columns, 0)
        self._model.share(columns.shape[1])

    def begin(self, row: int, prompt: Tensor, shared: int, seed: int, limit: int) -> None:
        """Give a row its next text.

        Args:
            shared: so many of the prompt's columns have been read, but never the last.
            limit: frames at most.
        """
        length = prompt.shape[1]
        if length - 1 > shared:
            self._model.read(row, prompt[:, shared:-1], shared)
        self._begins[row] = length
        self._begins_R[row] = length
        self._columns_RLK[row, 0] = prompt[:, -1]
        self._random_RLK[row, :limit] = random_numbers(seed, limit, self._codebooks + 1).to(
            self._rows_R.device
        )

    def next(self, made: Sequence[int]) -> list[int]:
        """Give every row a frame; return their tokens.

        Args:
            made: frames that each row has. A row without a text is computed, too, and may have any.
        """
        # A graph looks at all positions, as it cannot look at more from frame to frame.
        places = [begin + number for begin, number in zip(self._begins, made, strict=True)]
        seen = self._model.length if self._runner.records else max(places)
        made_R = torch.tensor(made, device=self._rows_R.device)
        frame_RK = self._runner.run(partial(self._step, seen), made_R)
        return frame_RK[:, 0].tolist()  # here a GPU is waited for

    def frames(self, row: int, number: int) -> Tensor:
        """Return the first frames of a row's text, `(frames, K+1)`."""
        return self._columns_RLK[row, 1 : number + 1].clone()

    def _step(self, seen: int, made_R: Tensor) -> Tensor:
        """Return the next frames, `(R, K+1)`, and note them; the same again if run again."""
        newest_RK = self._columns_RLK[self._rows_R, made_R]
        random_RK = self._random_RLK[self._rows_R, made_R]
        recent = recent_frames(self._columns_RLK[:, 1:], made_R, self._rule.window)
        hidden_RD = self._model.hidden(newest_RK, self._begins_R + made_R - 1, seen)
        token_R = self._rule.token(self._model.token_logits(hidden_RD), random_RK[:, :2], recent)
        code_R = (token_R - self._semantic_begin_id).clamp(0, self._codebook_size - 1)
        drawn = [token_R, code_R]
        for codebook in range(1, self._codebooks):
            logits_RS = self._model.code_logits(codebook, code_R, hidden_RD)[:, : self._residual_size]
            code_R = self._rule.code(codebook, logits_RS, random_RK[:, codebook + 1], recent)
            drawn.append(code_R)
        frame_RK = torch.stack(drawn, dim=1)
        self._columns_RLK[self._rows_R, made_R + 1] = frame_RK
        return frame_RK


def recent_frames(frames_RLK: Tensor, made_R: Tensor, window: int) -> Recent:
    """Return the `window` newest of the first `made_R` frames of each row `(R, L, K+1)`."""
    back_W = torch.arange(1, window + 1, device=made_R.device)
    made_R1 = made_R[:, None]
    numbers_RW = (made_R1 - back_W).clamp_min(0).minimum(made_R1 - 1)
    rows_R1 = torch.arange(len(made_R), device=made_R.device)[:, None]
    return Recent(frames_RLK[rows_R1, numbers_RW.clamp_min(0)], numbers_RW)


def random_numbers(seed: int, frames: int, number: int) -> Tensor:
    """Return the random numbers of a text, `(frames, number)`, float64, evenly from 0 to below 1.

    They are drawn on the CPU, so that a seed means the same everywhere; more frames begin like fewer.
    """
    return torch.rand(frames, number, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
