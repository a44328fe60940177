"""The learning rate: a function of the step and the settings."""

from __future__ import annotations

import math

from ...config.settings import TrainOptions


def learning_rate(options: TrainOptions, step: int, total_steps: int | None, shift: int = 0) -> float:
    """Return the learning rate of the optimizer step that follows `step` completed ones.

    It rises linearly over `warmup_steps`; then it stays, or falls to 0 at `total_steps` as a cosine or a
    line. Without a known total it stays.

    Args:
        shift: how many more steps the run would be at now, had all of them been of today's size. So the
            schedule goes by the share of the run that is done, whatever a step was worth before.
    """
    rate = options.learning_rate
    if step < options.warmup_steps:
        return rate * (step + 1) / (options.warmup_steps + 1)
    if options.schedule == "constant" or total_steps is None:
        return rate
    span = max(total_steps + shift - options.warmup_steps, 1)
    progress = min(max((step + shift - options.warmup_steps) / span, 0.0), 1.0)
    if options.schedule == "linear":
        return rate * (1 - progress)
    return rate * 0.5 * (1 + math.cos(math.pi * progress))
