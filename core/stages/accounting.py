"""Accounts what the real steps of the stages need of memory: a program that reads set-ups, writes profiles.

Started by `hardware.memory.accounting_process`, for models and settings that no table knows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import FishtuneError
from ..hardware.memory.accounting_process import SETUPS, say
from ..hardware.memory.profile import Moments, Profile
from ..hardware.memory.setups import Batch, EncodingSetup, Setup


def accounting_of(setup: Setup) -> Callable[[Any], Moments]:
    """Return a function that gives the moments of a batch; torch is loaded here.

    Raises:
        SettingsError: the targets match nothing.
    """
    if isinstance(setup, EncodingSetup):
        from .extract.accounting import encoding_accounting

        return encoding_accounting(setup)
    from .train.accounting import training_accounting

    return training_accounting(setup)


def profile_of(setup: Setup, done: Callable[[], object] = lambda: None) -> Profile:
    """Return the profile of a set-up.

    Args:
        done: called after each batch.
    """
    measure, measured = accounting_of(setup), {}
    line, probes = setup.line(), setup.probes()
    for batch in batches_of(setup):
        measured[batch] = measure(batch)
        done()
    return Profile.of(measured, line, probes)


def batches_of(setup: Setup) -> Iterable[Batch]:
    """Return the batches that a profile is made from, each once."""
    return dict.fromkeys([*setup.line(), *setup.probes()])


def main() -> None:
    """Answer for each set-up of standard input, in its order."""
    setups = SETUPS.validate_json(sys.stdin.buffer.read())
    total = sum(len(list(batches_of(setup))) for setup in setups)
    count = 0

    def done() -> None:
        nonlocal count
        count += 1
        say(done=count, total=total)

    for setup in setups:
        try:
            say(profile=profile_of(setup, done).model_dump(mode="json"))
        except FishtuneError as error:
            say(message=error.message, hint=error.hint)
            return


if __name__ == "__main__":
    main()
