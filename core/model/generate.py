"""Generation: one frame of codes after another, each computed once (keys and values are cached).

Per frame the slow transformer gives the token of row 0, and with it code 0; the fast transformer then
gives the other codes one by one (formats.md section 2, *Generation*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..compute.layers import KeyValueCache
from ..errors import UsageError
from .dual_ar import DualAR
from .sampling import SamplingRule
from .shape import TransformerShape


@dataclass(frozen=True)
class Generation:
    """What a model generated.

    Attributes:
        tokens: token matrix `(K+1, frames)`, int64 on the CPU, without the end token.
        ended: whether the model ended by itself, before the length limit.
    """

    tokens: Tensor
    ended: bool

    @property
    def codes(self) -> Tensor:
        """Codes `(K, frames)`, int64."""
        return self.tokens[1:]


def generate(
    model: DualAR,
    prompt: Tensor,
    rule: SamplingRule,
    *,
    end_id: int,
    max_new_tokens: int,
    residual_codebook_size: int,
    on_frame: Callable[[int], None] | None = None,
) -> Generation:
    """Return the frames that `model` continues `prompt` with.

    The model may carry adapters. It is in evaluation mode meanwhile, and in its former mode afterwards.

    Args:
        prompt: token matrix `(K+1, T)`.
        rule: picks from the logits; made for this generation alone.
        end_id: id of the token that ends the generation.
        max_new_tokens: frames at most; the model's `max_seq_len` is a limit, too.
        residual_codebook_size: codes 1 … K−1 are drawn below this, since the codec's residual
            codebooks may be smaller than `codebook_size`.
        on_frame: called with the number of frames so far; an exception of it ends the generation.

    Raises:
        UsageError: the prompt leaves no room in the model's longest sequence.
    """
    room = model.config.max_seq_len - prompt.shape[1]
    if room < 1:
        raise UsageError(
            "The prompt takes {number} tokens; the model holds {limit}.",
            "Use a shorter reference or a shorter text.",
            number=prompt.shape[1],
            limit=model.config.max_seq_len,
        )
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            generator = _Generator(model, rule, residual_codebook_size)
            frames, ended = generator.run(prompt, end_id, min(max_new_tokens, room), on_frame)
    finally:
        model.train(was_training)
    # A plain tensor: inference tensors cannot take part in training later.
    return Generation(torch.tensor(frames, dtype=torch.int64).reshape(-1, len(prompt)).T.contiguous(), ended)


class _Generator:
    """The state of one generation: the rule and the caches."""

    def __init__(self, model: DualAR, rule: SamplingRule, residual_codebook_size: int) -> None:
        self._model = model
        self._rule = rule
        self._residual_size = min(residual_codebook_size, model.config.codebook_size)
        self._device = model.norm.weight.device
        self._fast_caches = self._caches(model.config.fast, model.config.num_codebooks)

    def _caches(self, config: TransformerShape, length: int) -> list[KeyValueCache]:
        dtype = self._model.norm.weight.dtype
        return [
            KeyValueCache(1, config.n_local_heads, length, config.head_dim, dtype, self._device)
            for _ in range(config.n_layer)
        ]

    def run(
        self, prompt: Tensor, end_id: int, limit: int, on_frame: Callable[[int], None] | None
    ) -> tuple[list[list[int]], bool]:
        """Return the frames (K+1 numbers each) and whether `end_id` came."""
        length = prompt.shape[1]
        caches = self._caches(self._model.config.slow, length + limit)
        columns = prompt.to(self._device)[None]
        frames: list[Tensor] = []
        start = 0
        while len(frames) < limit:
            hidden = self._model.slow(columns, caches, start)[:, -1]
            start = length + len(frames)
            token = self._rule.token(self._model.token_logits(hidden)[0], frames)
            if token.item() == end_id:
                return [frame.tolist() for frame in frames], True
            frame = torch.stack([token, *self._codes(token, hidden, frames)])
            frames.append(frame)
            columns = frame[None, :, None]
            if on_frame is not None:
                on_frame(len(frames))
        return [frame.tolist() for frame in frames], False

    def _codes(self, token: Tensor, hidden: Tensor, frames: Sequence[Tensor]) -> list[Tensor]:
        """Return the K codes of the frame that begins with `token`."""
        model = self._model
        code = (token - model.semantic_begin_id).clamp(0, model.config.codebook_size - 1)
        codes = [code]
        # Position 0 predicts code 0, which the token gave already: it goes along with position 1.
        inputs = torch.stack([model.fast_input(hidden), model.fast_embeddings(code[None])], dim=1)
        position = 0
        for codebook in range(1, model.config.num_codebooks):
            logits = model.fast(inputs, self._fast_caches, position)[0, -1]
            position += inputs.shape[1]
            code = self._rule.code(codebook, logits[: self._residual_size], frames)
            codes.append(code)
            inputs = model.fast_embeddings(code[None, None])
        return codes
