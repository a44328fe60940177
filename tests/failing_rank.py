"""A further process of a distributed run that fails as `FAILING_RANK` says; for `test_training_devices`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from fishtune.core.errors import ShardError
from fishtune.core.stages.train.__main__ import main
from fishtune.core.stages.train.rank_errors import READY, leave_error

LAUNCH = "fishtune.core.stages.train.launch"


def _error(how: str) -> BaseException:
    if how == "memory":
        import torch

        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if how.startswith("bug"):
        return KeyError("codes")
    return ShardError("ANN.protos is damaged at byte 12.", "Pack the recordings again.")


def _fail(*_: Any) -> Any:
    how = os.environ["FAILING_RANK"]
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise _error(how)


class _Broken(ModuleType):
    """A module that cannot be imported from: torch is not even loaded then."""

    __getattr__ = _fail


if __name__ == "__main__":
    if os.environ["FAILING_RANK"].endswith("once ready"):
        Path(os.environ[READY]).touch()
        while not Path(os.environ["BROKEN_CONNECTION"]).exists():
            time.sleep(0.02)
        leave_error(_error(os.environ["FAILING_RANK"]))
        sys.exit(1)
    if os.environ["FAILING_RANK"].endswith("at start"):
        sys.modules[LAUNCH] = _Broken(LAUNCH)
    else:
        from fishtune.core.stages.train import module

        module.TrainingModule._accumulate = _fail  # type: ignore[method-assign]
    main()
