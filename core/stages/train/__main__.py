"""A further process of a distributed run: settings come as JSON on standard input (see `launch`)."""

from __future__ import annotations

import sys

from ...config.settings import TrainSettings
from ...errors import StopRequested
from ...events import Reporter
from .rank_errors import leave_error


def main() -> None:
    """Train as one of several processes; what fails is left for the first one to tell."""
    try:
        # Here, so that a torch that cannot be loaded is told like everything else.
        from .launch import follow_first_rank
        from .run import run

        follow_first_rank()
        run(TrainSettings.model_validate_json(sys.stdin.read()), Reporter())
    except StopRequested:
        pass  # the first process tells it
    except BaseException as error:
        leave_error(error)
        raise


if __name__ == "__main__":
    main()
