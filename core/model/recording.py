"""Steps recorded as CUDA graphs: hundreds of small kernels become one launch.

A frame of a small model is a thousand kernels of microseconds each, and starting them one by one takes longer
than they do. What a graph reads and writes has its place and shape for good, so inputs are copied into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DEVICES = ("cuda",)
LEAST_FRAMES = 32
"""Recording takes as long as some ten frames."""
_WARM_UPS = 3
"""Runs before the recording: libraries choose and load their kernels in the first ones."""
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Of the largest number of an output."""

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
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    step(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(self._graph):
                self._output = step(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the step gives; the next call overwrites it."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._output


class StepRunner:
    """Runs steps: each as a graph from its first call on, where that works, and otherwise as it is.

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
        self._graphs: dict[str, Step] = {}

    def run(self, name: str, step: Step, *inputs: Tensor) -> Tensor:
        """Return `step(*inputs)`; of a recorded step, the next run of this name overwrites it.

        Args:
            name: says which step this is; all of one name are the same and get inputs of the same shapes.
            step: may be run on the same inputs twice.
        """
        if self.records and name not in self._graphs:
            self._record(name, step, inputs)
        return (self._graphs[name] if self.records else step)(*inputs)

    def _record(self, name: str, step: Step, inputs: Sequence[Tensor]) -> None:
        try:
            self._graphs[name] = _recorded(step, inputs)
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
    found = graph(*inputs)
    if not (found - expected).abs().max() <= _TOLERANCE[expected.dtype] * expected.abs().max():
        raise RuntimeError("the recorded step gives other numbers")
    return graph
