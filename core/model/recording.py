"""A step recorded as a CUDA graph: thousands of small kernels become one launch.

A frame of a small model is thousands of kernels of microseconds each, and starting them one by one takes
longer than they do. What a graph reads and writes has its place and shape for good, so inputs are copied into
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

DEVICES = ("cuda",)
LEAST_FRAMES = 32
"""Recording takes as long as some ten frames."""
_WARM_UPS = 3
"""Runs before the recording: libraries choose and load their kernels in the first ones."""
_SAME = 0.5
"""Share of a trial's numbers. A sum in another order may turn a draw, and with it those that follow it."""

Step = Callable[..., Tensor]


class RecordedStep:
    """A step as one CUDA graph.

    Args:
        step: takes tensors, gives one, and asks the device for no value on the way.
        examples: inputs of the shapes that it will get. It is run on them.
    """

    def __init__(self, step: Step, examples: Sequence[Tensor]) -> None:
        self._inputs = [example.clone() for example in examples]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._inputs[0].device):  # streams are of the current device
            side = _side_stream(self._inputs[0].device)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    step(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(self._graph, stream=side):
                self._output = step(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the step gives; the next call overwrites it."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._output


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream on which a device's steps are recorded: libraries keep memory for each."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class StepRunner:
    """Runs a step: as a graph from its first call on, where that works, and otherwise as it is.

    Args:
        frames: how many are to come, at most.
        log: is told where it does not work, and why.
    """

    def __init__(self, device: torch.device, frames: int, log: Callable[[str], None]) -> None:
        # Autocast keeps copies of weights from one call for the next, which a recording cannot.
        self.records = (
            device.type in DEVICES and frames >= LEAST_FRAMES and not torch.is_autocast_enabled(device.type)
        )
        self._log = log
        self._graph: Step | None = None

    def run(self, step: Step, *inputs: Tensor) -> Tensor:
        """Return `step(*inputs)`; of a recorded step, the next run overwrites it.

        Args:
            step: the same with every call where it `records`. May be run on the same inputs twice.
            inputs: of the same shapes with every call.
        """
        if self.records and self._graph is None:
            self._record(step, inputs)
        return (self._graph or step)(*inputs)

    def close(self) -> None:
        """Let go of the graph, and with it of the memory that it keeps for itself."""
        self._graph = None

    def _record(self, step: Step, inputs: Sequence[Tensor]) -> None:
        try:
            self._graph = _recorded(step, inputs)
        except Exception as error:  # noqa: BLE001 - the driver's and its libraries' errors have no base in common
            self.records = False
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._log(
                "Frames are generated without CUDA graphs, which is slower and gives the same results: "
                f"they do not work here ({reason})."
            )


def _recorded(step: Step, inputs: Sequence[Tensor]) -> Step:
    """Return `step` recorded, after a trial that gives the same numbers."""
    expected = step(*inputs).clone()
    graph = RecordedStep(step, inputs)
    if (graph(*inputs) == expected).float().mean() < _SAME:
        raise RuntimeError("the recorded step gives other numbers")
    return graph
