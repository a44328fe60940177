"""The process of a detached job: `python -P -m fishtune.core.jobs.worker JOB_FOLDER [LOCK_DESCRIPTOR…]`.

Started by `start_job`, which hands over the locks that it won as open descriptors.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ..config.strict import parse
from ..errors import FishtuneError, StopRequested
from ..redact import restored
from ..stages.registry import STAGES, StageName
from .execute import is_first_rank, lock_paths, run_job, run_rank
from .locks import Lock
from .record import SECRETS_VARIABLE, Job


def main(arguments: list[str]) -> int:
    """Run the job and return the exit code: 0 finished, 1 failed or stopped."""
    job = Job.open(Path(arguments[0]))
    job.secrets = json.loads(os.environ.pop(SECRETS_VARIABLE, "{}"))  # popped: children must not see them
    stage = STAGES[StageName(job.record.stage)]
    settings = parse(stage.settings_model(), restored(job.record.settings, job.secrets), f"job {job.id}")
    try:
        if not is_first_rank():
            run_rank(stage, settings)
            return 0
        paths = lock_paths(job.place, stage, settings)
        locks = [Lock.adopt(path, int(number)) for path, number in zip(paths, arguments[1:], strict=True)]
        run_job(job, locks, redirect=False)
    except (FishtuneError, StopRequested) as error:
        if job.outcome() is None:  # it did not even come to its first event
            print(error, file=sys.stderr)  # noqa: T201 - standard error is the job's log
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
