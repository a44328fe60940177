"""A job's whole log, outside of the screen: in a file of the user's choice, or in their pager."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import FishtuneError
from ..core.files import write_bytes
from ..core.jobs.record import Job
from ..core.messages import of_the_system
from .catalogue import _, sentence

if TYPE_CHECKING:
    from .access import WizardAccess


def copy_log(app: WizardAccess, job: Job, target: Path) -> None:
    """Write the log to `target` and say so, or why it could not be written."""
    try:
        write_bytes(target, job.log_path.read_bytes())
    except FishtuneError as error:
        app.tell_error(error)
    except OSError as error:
        what = sentence(of_the_system(error) or str(error))
        app.notify(f"{what}: {error.filename}", severity="error", markup=False)
    else:
        app.tell(_("The log was written."))


def page_log(app: WizardAccess, job: Job) -> None:
    """Open the log in $PAGER; the wizard comes back when that ends."""
    if not job.log_path.exists():
        return
    with app.suspend():
        subprocess.run([*shlex.split(os.environ.get("PAGER") or "less"), str(job.log_path)], check=False)
