"""Generation: one frame of codes after another, for several texts at once.

Per frame the slow transformer gives the token of row 0, and with it code 0; the fast transformer then
gives the other codes one by one (formats.md section 2, *Generation*). Every frame needs all weights, and
reading them is what takes the time: a frame of eight texts takes little longer than a frame of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from .cache import rows_that_fit
from .dual_ar import DualAR
from .recording import StepRunner
from .rows import Rows
from .sampling import SamplingRule

ROWS = 8
"""Texts at once, at most."""


@dataclass(frozen=True)
class Request:
    """What is to be generated.

    Attributes:
        prompt: token matrix `(K+1, T)`.
        seed: of the random numbers. The same one draws the same, as far as sums in another order allow.
        max_new_tokens: frames at most; the model's `max_seq_len` is a limit, too.
    """

    prompt: Tensor
    seed: int
    max_new_tokens: int


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
    seed: int = 0,
    end_id: int,
    max_new_tokens: int,
    residual_codebook_size: int,
    on_frame: Callable[[int], None] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Generation:
    """Return the frames that `model` continues `prompt` with; see `Request` and `generate_all`."""
    (generation,) = generate_all(
        model,
        [Request(prompt, seed, max_new_tokens)],
        rule,
        end_id=end_id,
        residual_codebook_size=residual_codebook_size,
        on_frame=on_frame,
        log=log,
    )
    return generation


def generate_all(
    model: DualAR,
    requests: Sequence[Request],
    rule: SamplingRule,
    *,
    end_id: int,
    residual_codebook_size: int,
    rows: int = ROWS,
    on_frame: Callable[[int], None] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> list[Generation]:
    """Return for each request the frames that `model` continues its prompt with.

    Requests do not see each other: each gets the frames that it would get alone, as far as sums in another
    order allow. When one ends, the next that waits takes its row. What all prompts begin with is read once.

    The model may carry adapters. It is in evaluation mode meanwhile, and in its former mode afterwards.

    Args:
        rule: picks from the logits of every request.
        end_id: id of the token that ends a generation.
        residual_codebook_size: codes 1 … K−1 are drawn below this, since the codec's residual
            codebooks may be smaller than `codebook_size`.
        rows: requests at once, at most; fewer where a GPU's memory is short.
        on_frame: called for each frame with the number of frames so far, of all requests together; an
            exception of it ends the generation.
        log: gets a sentence where a GPU cannot generate as fast as it could.

    Raises:
        UsageError: a prompt leaves no room in the model's longest sequence.
    """
    for request in requests:
        if request.prompt.shape[1] >= model.config.max_seq_len:
            raise UsageError(
                "The prompt takes {number} tokens; the model holds {limit}.",
                "Use a shorter reference or a shorter text.",
                number=request.prompt.shape[1],
                limit=model.config.max_seq_len,
            )
    if not requests:
        return []
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            batch = _Batch(model, requests, rule, rows, end_id, residual_codebook_size, log)
            batch.run(on_frame)
    finally:
        model.train(was_training)
    return [Generation(text.tokens(), text.ended) for text in batch.texts]


@dataclass
class _Text:
    """A request, and how far it is."""

    request: Request
    limit: int
    """Frames at most."""
    made: int = 0
    """Frames so far."""
    frames: Tensor | None = None
    """All of them, `(frames, K+1)`, once there are no more to come."""
    ended: bool = False

    def tokens(self) -> Tensor:
        """Return the frames as a token matrix on the CPU.

        To be called outside of inference mode, whose tensors cannot take part in training later.
        """
        if self.frames is None:
            return torch.zeros(len(self.request.prompt), 0, dtype=torch.int64)
        return self.frames.T.clone(memory_format=torch.contiguous_format).cpu()


class _Batch:
    """Texts that share rows; all rows are at the same frame step, though each at its own length."""

    def __init__(
        self,
        model: DualAR,
        requests: Sequence[Request],
        rule: SamplingRule,
        rows: int,
        end_id: int,
        residual_codebook_size: int,
        log: Callable[[str], None],
    ) -> None:
        config, weight = model.config, model.norm.weight
        self.texts = [
            _Text(request, min(request.max_new_tokens, config.max_seq_len - request.prompt.shape[1]))
            for request in requests
        ]
        self._waiting = [text for text in reversed(self.texts) if text.limit > 0]
        self._end_id = end_id
        self._shared = shared_columns([request.prompt for request in requests])
        length = max(text.request.prompt.shape[1] + text.limit for text in self.texts)
        frames = max(text.limit for text in self.texts)
        rows = rows_that_fit(config.slow, length, min(rows, len(self.texts)), weight.dtype, weight.device)
        self._texts: list[_Text | None] = [None] * rows
        self._runner = StepRunner(weight.device, frames, log)
        self._rows = Rows(model, rule, rows, length, frames, residual_codebook_size, self._runner)

    def run(self, on_frame: Callable[[int], None] | None) -> None:
        """Generate until every text has ended."""
        if self._shared:
            self._rows.share(self.texts[0].request.prompt[:, : self._shared])
        made = 0
        try:
            while speaking := self._fill_rows():
                tokens = self._rows.next([0 if text is None else text.made for text in self._texts])
                for row, text in speaking:
                    text.ended = tokens[row] == self._end_id
                    if not text.ended:
                        text.made += 1
                        made += 1
                        if on_frame is not None:
                            on_frame(made)
                    if text.ended or text.made == text.limit:
                        text.frames = self._rows.frames(row, text.made)
                        self._texts[row] = None
        finally:
            self._runner.close()

    def _fill_rows(self) -> list[tuple[int, _Text]]:
        """Give free rows to texts that wait; return the rows that have a text."""
        for row, text in enumerate(self._texts):
            if text is None and self._waiting:
                begun = self._texts[row] = self._waiting.pop()
                request = begun.request
                self._rows.begin(row, request.prompt, self._shared, request.seed, begun.limit)
        return [(row, text) for row, text in enumerate(self._texts) if text is not None]


def shared_columns(prompts: Sequence[Tensor]) -> int:
    """Return how many columns at the beginning of several prompts `(K+1, T)` are the same.

    The last column of none is among them: what follows it is each text's own.
    """
    if len(prompts) == 1:
        return 0
    shortest = min(prompt.shape[1] for prompt in prompts) - 1
    begins = torch.stack([prompt[:, :shortest] for prompt in prompts])
    same = (begins == begins[:1]).all(dim=0).all(dim=0)
    return int(same.long().cumprod(0).sum())
