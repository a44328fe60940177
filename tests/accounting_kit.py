"""Accounting of models that no table knows, without a process for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from fishtune.core.hardware.memory import profiles
from fishtune.core.hardware.memory.accounting_process import Progress
from fishtune.core.hardware.memory.profile import Profile
from fishtune.core.hardware.memory.setups import Setup


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
            yield setup, profile_of(setup, advance)

    monkeypatch.setattr(profiles, "account", account)
    return done
