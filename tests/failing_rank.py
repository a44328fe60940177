"""A further process of a distributed run that fails as `FAILING_RANK` says; for `test_training_devices`."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from fishtune.core.errors import ShardError
from fishtune.core.stages.train import module
from fishtune.core.stages.train.__main__ import main

_ERRORS: dict[str, BaseException] = {
    "shard": ShardError("ANN.protos is damaged at byte 12.", "Pack the recordings again."),
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "bug": KeyError("codes"),
}


def _fail(*_: Any) -> Any:
    how = os.environ["FAILING_RANK"]
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise _ERRORS[how]


if __name__ == "__main__":
    if os.environ["FAILING_RANK"] == "at start":
        from fishtune.core.stages.train import data

        os.environ["FAILING_RANK"] = "shard"
        data.ShardIndex.open = classmethod(_fail)  # type: ignore[method-assign, assignment]
    module.TrainingModule._accumulate = _fail  # type: ignore[method-assign]
    main()
