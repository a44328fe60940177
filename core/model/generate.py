"""Generation: one frame of codes after another, for several texts at once.

Per frame the slow transformer gives the token of row 0, and with it code 0; the fast transformer then
gives the other codes one by one (formats.md section 2, *Generation*). Every frame needs all weights, and
reading them is what takes the time: a frame of eight texts takes little longer than a frame of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UsageError
from .cache import rows_that_fit
from .dual_ar import DualAR
from .frame import FrameModel
from .recording import StepRunner
from .sampling import SamplingRule

ROWS = 8
"""Texts at once, at most."""


@dataclass(frozen=True)
class Request:
    """What is to be generated.

    Attributes:
        prompt: token matrix `(K+1, T)`.
        rule: picks from the logits; made for this request alone.
        max_new_tokens: frames at most; the model's `max_seq_len` is a limit, too.
    """

    prompt: Tensor
    rule: SamplingRule
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
    end_id: int,
    max_new_tokens: int,
    residual_codebook_size: int,
    on_frame: Callable[[int], None] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Generation:
    """Return the frames that `model` continues `prompt` with; see `Request` and `generate_all`."""
    (generation,) = generate_all(
        model,
        [Request(prompt, rule, max_new_tokens)],
        end_id=end_id,
        residual_codebook_size=residual_codebook_size,
        on_frame=on_frame,
        log=log,
    )
    return generation


def generate_all(
    model: DualAR,
    requests: Sequence[Request],
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
            batch = _Batch(model, requests, rows, end_id, residual_codebook_size, log)
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
    frames: list[Tensor] = field(default_factory=list)
    ended: bool = False

    @property
    def position(self) -> int:
        """Where the newest frame stands."""
        return self.request.prompt.shape[1] + len(self.frames) - 1

    def tokens(self) -> Tensor:
        """Return the frames so far as a token matrix on the CPU.

        To be called outside of inference mode, whose tensors cannot take part in training later.
        """
        if not self.frames:
            return torch.zeros(len(self.request.prompt), 0, dtype=torch.int64)
        return torch.stack(self.frames, dim=1).cpu()


class _Batch:
    """Rows of texts that are at the same frame step, though each at its own length."""

    def __init__(
        self,
        model: DualAR,
        requests: Sequence[Request],
        rows: int,
        end_id: int,
        residual_codebook_size: int,
        log: Callable[[str], None],
    ) -> None:
        longest_sequence = model.config.max_seq_len
        self.texts = [
            _Text(request, min(request.max_new_tokens, longest_sequence - request.prompt.shape[1]))
            for request in requests
        ]
        self._waiting = [text for text in reversed(self.texts) if text.limit > 0]
        self._end_id = end_id
        self._semantic_begin_id = model.semantic_begin_id
        self._codebook_size, self._codebooks = model.config.codebook_size, model.config.num_codebooks
        self._residual_size = min(residual_codebook_size, model.config.codebook_size)
        length = max(text.request.prompt.shape[1] + text.limit for text in self.texts)
        weight = model.norm.weight
        rows = rows_that_fit(
            model.config.slow, length, min(rows, len(self.texts)), weight.dtype, weight.device
        )
        self._rows: list[_Text | None] = [None] * rows
        runner = StepRunner(weight.device, max(text.limit for text in self.texts), log)
        self._model = FrameModel(model, rows, length, runner)
        self._hidden_RD = weight.new_zeros(rows, model.config.dim)
        self._shared = shared_columns([request.prompt for request in requests])

    def run(self, on_frame: Callable[[int], None] | None) -> None:
        """Generate until every text has ended."""
        if self._shared:
            self._model.read(0, self.texts[0].request.prompt[:, : self._shared], 0)
            self._model.share(self._shared)
        made = 0
        while self._fill_rows():
            frames_RK = self._draw_frames()
            speaking = self._speaking()
            for row, text in speaking:
                text.frames.append(frames_RK[row])
                made += 1
                if on_frame is not None:
                    on_frame(made)
            for row, text in speaking:
                if len(text.frames) == text.limit:
                    self._rows[row] = None
            if self._speaking():
                # A free row is computed, too; its next text overwrites what that writes.
                positions = [self._shared if text is None else text.position for text in self._rows]
                self._hidden_RD = self._model.hidden(frames_RK, positions)

    def _speaking(self) -> list[tuple[int, _Text]]:
        """Return the rows that have a text."""
        return [(row, text) for row, text in enumerate(self._rows) if text is not None]

    def _fill_rows(self) -> bool:
        """Give free rows to texts that wait; return whether any row has one."""
        for row, text in enumerate(self._rows):
            if text is None and self._waiting:
                begun = self._rows[row] = self._waiting.pop()
                rest = begun.request.prompt[:, self._shared :]
                self._hidden_RD[row] = self._model.read(row, rest, self._shared)
        return bool(self._speaking())

    def _draw_frames(self) -> Tensor:
        """Return the next frames `(R, K+1)`; texts that end leave their rows, whose frames mean nothing."""
        tokens_R = self._drawn(0, self._model.token_logits(self._hidden_RD))
        numbers = tokens_R.tolist()  # here a GPU is waited for
        for row, text in self._speaking():
            if numbers[row] == self._end_id:
                text.ended = True
                self._rows[row] = None
        code_R = (tokens_R - self._semantic_begin_id).clamp(0, self._codebook_size - 1)
        drawn = [tokens_R, code_R]
        for codebook in range(1, self._codebooks if self._speaking() else 1):
            logits_RS = self._model.code_logits(codebook, code_R, self._hidden_RD)
            code_R = self._drawn(codebook, logits_RS[:, : self._residual_size])
            drawn.append(code_R)
        return torch.stack(drawn, dim=1)

    def _drawn(self, codebook: int, logits_RE: Tensor) -> Tensor:
        """Return what the rule of each row's text draws, `(R,)`: a code, or for codebook 0 the token.

        It is 0 for a row without a text.
        """
        nothing = torch.zeros((), dtype=torch.int64, device=logits_RE.device)
        drawn = []
        for text, logits in zip(self._rows, logits_RE, strict=True):
            if text is None:
                drawn.append(nothing)
            elif codebook == 0:
                drawn.append(text.request.rule.token(logits, text.frames))
            else:
                drawn.append(text.request.rule.code(codebook, logits, text.frames))
        return torch.stack(drawn)


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
