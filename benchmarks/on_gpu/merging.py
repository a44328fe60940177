"""Merging at the model's true shape, with its proof."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from fishtune.core.config.settings import MergeSettings
from fishtune.core.stages.merge.run import run
from task_clock import TaskClock
from true_size_model import write_adapter

from .bench import Bench
from .running import Row

_LARGEST_DIFFERENCE = 1e-4


def merging(bench: Bench) -> Iterator[Row]:
    """Yield how long a merge with its proof takes, and what the proof found."""
    adapter = bench.work / "step_000000010"
    write_adapter(bench.base, "r_8_alpha_16", adapter)
    clock, began = TaskClock(), time.time()
    result = run(
        MergeSettings(
            base_weight=bench.base,
            lora_weight=adapter,
            output=bench.work / "merged",
            link=True,
            overwrite=True,
        ),
        clock,
    )
    yield {"what": "whole merge", "seconds": time.time() - began}
    for task, moment in clock.last.items():
        yield {"what": f"{task} was done", "seconds": moment - began}
    found = result.verification
    yield {
        "what": "proof",
        "arithmetic": found.arithmetic.relative_difference,
        "after rounding": found.merged.relative_difference,
        "change kept": found.captured,
        "passed": found.arithmetic.relative_difference <= _LARGEST_DIFFERENCE,
    }
    shutil.rmtree(result.output)
