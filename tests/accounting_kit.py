"""Accounting of models that no table knows, without a process for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from fishtune.core.hardware.memory import profiles
from fishtune.core.hardware.memory.accounting_process import Progress
from fishtune.core.hardware.memory.estimate import Part
from fishtune.core.hardware.memory.profile import Growth, Profile
from fishtune.core.hardware.memory.setups import EncodingSetup, Setup

MIB = 1024**2

_made: dict[str, Profile] = {}
"""By fingerprint, for all tests of a process."""


@pytest.fixture
def accounted_here(monkeypatch: pytest.MonkeyPatch) -> list[Setup]:
    """Let the process under test account what is unknown; return the list of what it accounted."""
    done: list[Setup] = []

    def account(setups: Sequence[Setup], progress: Progress) -> Iterator[tuple[Setup, Profile]]:
        # Imported here: tests that account nothing must not load torch.
        from fishtune.core.stages.accounting import batches_of, profile_of

        total, count = sum(len(list(batches_of(setup))) for setup in setups), 0

        def advance() -> None:
            nonlocal count
            count += 1
            progress(count, total)

        for setup in setups:
            done.append(setup)
            name = setup.fingerprint
            if name not in _made:
                _made[name] = profile_of(setup, advance)
            yield setup, _made[name]

    monkeypatch.setattr(profiles, "account", account)
    return done


@pytest.fixture
def made_up_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models that no table knows have profiles that are made up, in no time."""

    def account(setups: Sequence[Setup], progress: Progress) -> Iterator[tuple[Setup, Profile]]:
        for number, setup in enumerate(setups, 1):
            progress(number, len(setups))
            yield setup, _made_up(setup)

    monkeypatch.setattr(profiles, "account", account)


def _made_up(setup: Setup) -> Profile:
    if isinstance(setup, EncodingSetup):
        trained, most, slopes = 0, 10**7, ()
    else:
        trained, most, slopes = setup.rank or 100, 10**4, (0.0, 0.0, 0.0)
    lines = {
        Part.WEIGHTS: (10 * MIB, 10 * MIB),
        Part.OPTIMIZER: (trained * MIB, trained * MIB),
        Part.WORKING: (10 * MIB, 1000 * MIB),
    }
    parts = {part: Growth(line=line, slopes=slopes) for part, line in lines.items()}
    return Profile(sizes=(0, most), phases={"step": parts})
