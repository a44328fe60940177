"""Who speaks: a base that is loaded once, and checkpoints that are put upon it one after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ...audio.mixing import Waveform
from ...codec.checkpoint import load_codec
from ...codec.config import residual_codebook_size
from ...compute.devices import empty_cache, is_out_of_memory
from ...config.settings import CODEC_FILE
from ...events import ProgressMeter, Reporter
from ...judge.results import CandidateKind, Cell
from ...judge.rules import expected_seconds, find_faults
from ...lora.attach import apply_checkpoint, detach_adapters
from ...lora.blending import at_strength
from ...lora.files import Adapter, check_fit, read_adapter
from ...messages import Message
from ...model.checkpoint import load_model
from ...model.directory import ModelDirectory
from ...model.dual_ar import DualAR
from ...model.generate import ROWS, Generation, Request, generate_all
from .candidates import Planned
from .columns import Column
from .question import Question

T = TypeVar("T")

_PATIENCE = 3.0
"""A text may take this many times its expected length before it counts as endless."""
_TOGETHER = 2 * ROWS
"""Texts that are generated before the first of them is written."""
_STOPPED = Message("What was said until now is kept; the same command continues from there.")


class Speakers:
    """The base with whatever is put upon it, and the codec.

    Args:
        base: directory of the base.
        config_name: codec preset.
    """

    def __init__(
        self,
        base: ModelDirectory,
        config_name: str,
        question: Question,
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self._base = base
        self._residual = residual_codebook_size(config_name)
        self._question = question
        self._device = device
        self._reporter = reporter
        self._model: DualAR | None = None
        self._codec = load_codec(base.path / CODEC_FILE, config_name)
        self._attempt(lambda: self._codec.to(self._device))

    @property
    def sample_rate(self) -> int:
        """Of what is said, Hz."""
        return self._codec.config.sample_rate

    def forget_model(self) -> None:
        """Give the model's memory back; the codec stays."""
        self._model = None
        empty_cache()

    def say_all(self, columns: Sequence[Column]) -> None:
        """Let candidates say what they have not said yet, one after another; progress is told over all.

        Raises:
            CheckpointError: base and checkpoint cannot be read or do not fit together.
            StopRequested: asked to stop; what was said is kept.
        """
        recordings = [each for each in columns if each.planned.kind is CandidateKind.RECORDING]
        for column in recordings:
            self._say(column, self._play_all)
        speaking = [each for each in columns if each not in recordings]
        number = sum(len(column.missing) for column in speaking)
        meter = ProgressMeter(self._reporter, Message("speaking"), number, "texts")
        for column in speaking:
            self._say(column, partial(self._speak, meter=meter))

    def _say(self, column: Column, saying: Callable[[Column], None]) -> None:
        self._reporter.check_stop(_STOPPED)
        if not column.missing:
            return
        column.begin()
        try:
            saying(column)
        finally:
            column.save()

    def _play_all(self, column: Column) -> None:
        for row, _ in column.missing:
            self._play(column, row)

    def _speak(self, column: Column, meter: ProgressMeter) -> None:
        name, wanted = column.candidate.name, column.missing
        with self._speaking_as(column.planned) as model:
            for row, seed, generation in self._said(model, wanted, name, meter):
                self._take(column, row, seed, generation)
                column.save_now_and_then()

    @contextmanager
    def _speaking_as(self, planned: Planned) -> Iterator[DualAR]:
        """Yield the model with a checkpoint upon it, which is taken off again."""
        model = self._loaded()
        if planned.kind is not CandidateKind.CHECKPOINT or planned.path is None:
            yield model
            return
        self._reporter.log(f"Loading {planned.path}")
        source = read_adapter(planned.path)
        shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        check_fit(source, shapes, model.config.tie_word_embeddings, self._base.path)
        # Checkpoints are read on the CPU; what they are held against must be there, too.
        source = at_strength(source, planned.strength, lambda name: model.get_parameter(name).cpu())
        apply_checkpoint(model, source)
        self._attempt(lambda: model.to(self._device))
        try:
            yield model
        finally:
            if isinstance(source, Adapter):
                detach_adapters(model)
            else:  # its weights took the base's place
                self._model = None

    def _loaded(self) -> DualAR:
        if self._model is None:
            self._reporter.log(f"Loading {self._base.path} on {self._device}")
            self._model = load_model(self._base.path)
            model = self._model
            self._attempt(lambda: model.to(self._device))
        return self._model

    def _said(
        self, model: DualAR, wanted: Sequence[tuple[int, int | None]], name: str, meter: ProgressMeter
    ) -> Iterator[tuple[int, int | None, Generation]]:
        """Yield rows and seeds with what the model says to each, some at a time, as the candidate `name`.

        Where the device's memory does not suffice, these and those that follow are said on the CPU.
        """
        for begin in range(0, len(wanted), _TOGETHER):
            part = wanted[begin : begin + _TOGETHER]
            generations = self._attempt(partial(self._generate, model, part, name, meter))
            if generations is None:
                generations = self._generate(model, part, name, meter)
            for (row, seed), generation in zip(part, generations, strict=True):
                yield row, seed, generation
            meter.advance(len(part), name)

    def _generate(
        self, model: DualAR, wanted: Sequence[tuple[int, int | None]], name: str, meter: ProgressMeter
    ) -> list[Generation]:
        base, rate = self._base, self._codec.config.frame_rate

        def count(frames: int) -> None:
            self._reporter.check_stop(_STOPPED)
            meter.advance(0, Message("{name}, {seconds:.1f} s of speech", name=name, seconds=frames / rate))

        return generate_all(
            model,
            [self._request(row, seed) for row, seed in wanted],
            base.rule(base.family.sampling),
            end_id=base.tokenizer.end_id,
            residual_codebook_size=self._residual,
            on_frame=count,
            log=self._reporter.log,
        )

    def _request(self, row: int, seed: int | None) -> Request:
        question, base = self._question, self._base
        text = question.texts[row].text
        references = [] if question.reference is None else [question.reference]
        expected = expected_seconds(text, question.bytes_per_second)
        return Request(
            prompt=torch.from_numpy(base.prompts.prompt(references, text)),
            seed=seed or 0,
            max_new_tokens=math.ceil(_PATIENCE * expected * self._codec.config.frame_rate),
        )

    def _take(self, column: Column, row: int, seed: int | None, generation: Generation) -> None:
        codes = generation.codes.numpy()
        samples = self.decoded(codes)
        text, rate = self._question.texts[row].text, self.sample_rate
        expected = expected_seconds(text, self._question.bytes_per_second)
        faults = find_faults(codes, samples, sample_rate=rate, ended=generation.ended, expected=expected)
        cell = Cell(
            text=row,
            seed=seed,
            audio=column.audio_name(row, seed) if len(samples) else "",
            seconds=len(samples) / rate,
            expected_seconds=expected,
            ended=generation.ended,
            rules=faults,
            findings=faults,
        )
        column.add(cell, samples, rate)

    def _play(self, column: Column, row: int) -> None:
        """Write the user's own recording, as the codec gives it back."""
        turn, rate = self._question.recordings[row], self.sample_rate
        samples = self.decoded(turn.codes)
        cell = Cell(
            text=row,
            seed=None,
            audio=column.audio_name(row, None),
            seconds=len(samples) / rate,
            expected_seconds=expected_seconds(turn.text, self._question.bytes_per_second),
            ended=True,
            findings=[],
        )
        column.add(cell, samples, rate)

    def decoded(self, codes: npt.NDArray[np.integer[Any]]) -> Waveform:
        """Return the samples `(n,)` of codes `(K, frames)`; none of no frames."""
        if not codes.shape[1]:
            return np.zeros(0, dtype=np.float32)

        def decode() -> Waveform:
            given = torch.from_numpy(codes.astype(np.int64))[None].to(self._codec.device)
            return self._codec.decode(given)[0, 0].cpu().numpy()

        samples = self._attempt(decode)
        return decode() if samples is None else samples

    def _attempt(self, work: Callable[[], T]) -> T | None:
        """Return `work()`; None after moving to the CPU where the device's memory did not suffice for it."""
        try:
            return work()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).strip().splitlines()[0]
        # Outside of the handler, whose traceback still holds the tensors of the failed attempt.
        self._device = torch.device("cpu")
        self._codec.to(self._device)
        if self._model is not None:
            self._model.to(self._device)
        empty_cache()
        self._reporter.warn(
            "Out of GPU memory: the audition continues on the CPU. {reason}",
            "It is slower there. fishtune gpus shows what else uses the device.",
            reason=reason,
        )
        return None
