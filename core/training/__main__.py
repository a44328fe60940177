"""A further process of a distributed run: settings come as JSON on standard input (see `launch`)."""

from __future__ import annotations

import contextlib
import sys

from ..errors import StopRequested
from ..events import Reporter
from ..settings import TrainSettings
from .launch import follow_first_rank
from .run import run

if __name__ == "__main__":
    follow_first_rank()
    with contextlib.suppress(StopRequested):  # the first process tells it
        run(TrainSettings.model_validate_json(sys.stdin.read()), Reporter())
