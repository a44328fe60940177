"""What training survives: memory that grows short in the midst of a run, and SIGKILL."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator

import torch
from fishtune.core.config.run_files import checkpoint_path
from fishtune.core.events import Event, Step
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.stages.train import module
from fishtune.core.stages.train.checkpoints import read_run_state
from fishtune.core.stages.train.loss import LossSums, loss_sums

from .bench import Bench
from .running import Row
from .training import Watch, settings_of, train

STEPS = 4
DISTURBED_AT = 3
_LEFT = 0.6
"""Share of what a step takes beside the weights that is left free."""
_LEAST_LEFT = 1 << 28
"""Bytes: the driver does not give away the very last ones."""
_SAME_LOSS = 0.01
"""Relative difference: pieces of a micro-batch draw another dropout, and bf16 sums in another order."""


class Ballast(Watch):
    """Takes most of the device's free memory once the first steps are over."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.bytes = 0
        self._held: torch.Tensor | None = None

    def emit(self, event: Event) -> None:
        """Take an event."""
        super().emit(event)
        if isinstance(event, Step) and event.step == DISTURBED_AT - 1:
            if self._bench.device == "cpu":
                module.loss_sums = _one_clip_at_most  # nothing less would make a CPU's memory short
            else:
                self._fill()

    def _fill(self) -> None:
        torch.cuda.synchronize()
        at_rest = torch.cuda.memory_allocated()
        taken_by_a_step = torch.cuda.max_memory_allocated() - at_rest
        torch.cuda.empty_cache()
        # What stays cached lies in pieces between tensors, where a step can use it and the ballast cannot.
        cached = torch.cuda.memory_reserved() - at_rest
        left = max(_LEFT * taken_by_a_step - cached, _LEAST_LEFT)
        self.bytes = max(0, int(torch.cuda.mem_get_info()[0] - left))
        self._held = torch.empty(self.bytes, dtype=torch.uint8, device=self._bench.device)


def _one_clip_at_most(model: DualAR, tokens: torch.Tensor, labels: torch.Tensor) -> LossSums:
    if len(tokens) > 1:
        raise torch.OutOfMemoryError("As on a device with memory for one clip.")
    return loss_sums(model, tokens, labels)


def out_of_memory(bench: Bench) -> Iterator[Row]:
    """Yield whether a run whose memory grows short is the run that it would have been."""
    plain, tight = Watch(), Ballast(bench)
    tokens = bench.sizes.tight_tokens
    train(settings_of(bench, "roomy", max_steps=STEPS, batch_tokens=tokens), plain)
    gc.collect()  # Lightning's parts hold one another, and with them the first run's memory
    train(settings_of(bench, "tight", max_steps=STEPS, batch_tokens=tokens), tight)
    short = [warning for warning in tight.warnings if warning.startswith("Out of memory in step")]
    same = _same_coverage(bench, "roomy", "tight")
    difference = _loss_difference(plain.steps, tight.steps)
    yield {
        "what": f"ballast in the midst of {STEPS} steps",
        "ballast bytes": tight.bytes,
        "halved": len(short),
        "same coverage": same,
        "largest difference of a loss": difference,
        "passed": bool(short) and same and difference <= _SAME_LOSS,
    }


def killed_and_resumed(bench: Bench) -> Iterator[Row]:
    """Yield whether a run that SIGKILL ended and that was resumed is the run that it would have been."""
    settings = {
        name: settings_of(bench, name, max_steps=STEPS, checkpoint_every=2)
        for name in ("undisturbed", "killed")
    }
    # Forked before anything here uses the device, which does not survive a fork.
    process = multiprocessing.get_context("fork").Process(target=train, args=(settings["killed"], _Killed()))
    process.start()
    process.join()
    yield {
        "what": f"SIGKILL in step {DISTURBED_AT}",
        "exit code": process.exitcode,
        "passed": process.exitcode == -signal.SIGKILL,
    }
    plain, resumed = Watch(), Watch()
    train(settings["undisturbed"], plain)
    train(settings["killed"], resumed)
    same = _same_coverage(bench, "undisturbed", "killed")
    equal = _equal_weights(bench, "undisturbed", "killed")
    difference = _loss_difference(plain.steps, resumed.steps)
    yield {
        "what": f"resumed from step {resumed.steps[0].step - 1}",
        "same coverage": same,
        "equal to the bit": equal,
        "largest difference of a loss": difference,
        # Fused attention sums gradients in the order in which its blocks end.
        "passed": same and difference <= _SAME_LOSS and (equal or bench.device != "cpu"),
    }


class _Killed(Watch):
    """Ends its process by SIGKILL."""

    def emit(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Step) and event.step == DISTURBED_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def _same_coverage(bench: Bench, one: str, other: str) -> bool:
    states = [read_run_state(checkpoint_path(bench.work / "results" / run, STEPS)) for run in (one, other)]
    return torch.equal(states[0].coverage, states[1].coverage)


def _equal_weights(bench: Bench, one: str, other: str) -> bool:
    weights, others = (
        torch.load(checkpoint_path(bench.work / "results" / run, STEPS), weights_only=True)["state_dict"]
        for run in (one, other)
    )
    return weights.keys() == others.keys() and all(
        torch.equal(tensor, others[name]) for name, tensor in weights.items()
    )


def _loss_difference(plain: list[Step], other: list[Step]) -> float:
    """Return the largest relative difference of a step's loss, over the steps that both saw."""
    losses = {step.step: step.loss for step in plain}
    return max(abs(step.loss - losses[step.step]) / abs(losses[step.step]) for step in other)
