"""A wizard with injected GPU readings and jobs whose events the tests write themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers beside this file

from fishtune.core.config.project import Project
from fishtune.core.hardware.memory import profiles
from fishtune.core.hardware.memory.accounting_process import Progress
from fishtune.core.hardware.memory.estimate import Part
from fishtune.core.hardware.memory.profile import Growth, Profile
from fishtune.core.hardware.memory.setups import EncodingSetup, Setup
from fishtune.tui.app import Wizard
from fishtune.tui.catalogue import use_language
from fishtune.tui.settings import WizardSettings
from wizard_helpers import FakeEngine

MIB = 1024**2


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    use_language("en")
    yield
    use_language("en")


@pytest.fixture(autouse=True)
def _known_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models that no table knows have a made-up profile: accounting them takes a process and seconds."""

    def account(setups: Sequence[Setup], progress: Progress) -> Iterator[tuple[Setup, Profile]]:
        for number, setup in enumerate(setups, 1):
            progress(number, len(setups))
            rank = 1 if isinstance(setup, EncodingSetup) else setup.rank or 100
            lines = {
                Part.WEIGHTS: (10 * MIB, 10 * MIB),
                Part.OPTIMIZER: (rank * MIB, rank * MIB),
                Part.WORKING: (0, 1000 * MIB),
            }
            parts = {part: Growth(line=line, slopes=(0.0,) * 2) for part, line in lines.items()}
            yield setup, Profile(sizes=(0, 10_000), phases={"step": parts})

    monkeypatch.setattr(profiles, "account", account)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def project(tmp_path: Path, golden: Path) -> Project:
    """A project with the golden recordings and the tiny base model, nothing packed or trained."""
    folder = tmp_path / "yoona"
    made = Project.create(
        folder, "yoona", dataset={"path": str(golden / "data")}, model={"path": str(golden / "base")}
    )
    made.dataset.protos = folder / "protos"
    made.save()
    return made


@pytest.fixture
def wizard(engine: FakeEngine, project: Project) -> Callable[..., Wizard]:
    """Make the application, with the project open unless told otherwise."""

    def make(open_it: bool = True, **settings: Any) -> Wizard:
        return Wizard(WizardSettings(**settings), project=project.folder if open_it else None, engine=engine)

    return make
