"""Settings of who is told when a job ends, fails, or a guard of training speaks up."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ..options import Option
from ..strict import Table
from .types import check_address


class NotifyOptions(Table):
    """Who is told that a job ended, failed, or that a guard of training warns."""

    webhook: Annotated[
        Annotated[str, AfterValidator(check_address)] | None, Option(unset="nobody is told", secret=True)
    ] = Field(default=None, repr=False)
    """Address that gets a JSON message (POST). It is a secret: nothing fishtune writes has it."""
    timeout: Annotated[float, Option(unit="seconds")] = Field(default=5.0, gt=0, le=60)
    """How long the webhook may take; a failure is only logged."""
    end: bool = True
    """Tell when a job is done or was stopped."""
    failure: bool = True
    """Tell when a job failed."""
    guard: bool = True
    """Tell when the held-out loss rises, or the training loss no longer falls."""
    after_minutes: Annotated[float, Option(unit="minutes")] = Field(default=0.0, ge=0)
    """Tell of the end of jobs that took at least this long; failures are told always."""
    bell: bool = True
    """The wizard rings the terminal's bell."""
    desktop: bool = True
    """The wizard asks the terminal for a notification of the desktop (OSC 9)."""
