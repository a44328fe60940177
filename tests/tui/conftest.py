"""A wizard with injected GPU readings and jobs whose events the tests write themselves."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers beside this file

from fishtune.core.config.project import Project
from fishtune.tui import app as wizard_app
from fishtune.tui.app import Wizard
from fishtune.tui.catalogue import use_language
from fishtune.tui.wizard_settings import WizardSettings
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from wizard_helpers import FakeEngine

from tests.accounting_kit import made_up_memory  # noqa: F401 - fixture


@pytest.fixture(autouse=True, scope="module")
def _seldom_garbage() -> Iterator[None]:
    """Search for garbage seldom: an opened wizard is made of thousands of objects that stay."""
    usual = gc.get_threshold()
    gc.set_threshold(10_000, 20, 100)
    yield
    gc.set_threshold(*usual)


@pytest.fixture(autouse=True)
def _no_tidying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wizard tidies by the clock; here that would be through all that other tests have loaded."""
    monkeypatch.setattr(wizard_app, "_TIDY_SECONDS", 3600.0)


_PARSED: dict[tuple[object, ...], list[RuleSet]] = {}
_parse_rules = Stylesheet._parse_rules


@pytest.fixture(autouse=True)
def _styles_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all wizards share what their styles come to in a theme, as the widgets of one wizard do."""

    def parse_rules(stylesheet: Stylesheet, *source: Any, **how: Any) -> list[RuleSet]:
        key = (*source, *how.items(), *stylesheet._variables.items())
        if key not in _PARSED:
            _PARSED[key] = _parse_rules(stylesheet, *source, **how)
        return _PARSED[key]

    monkeypatch.setattr(Stylesheet, "_parse_rules", parse_rules)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    use_language("en")
    yield
    use_language("en")


@pytest.fixture(autouse=True)
def _known_memory(made_up_memory: None) -> None:  # noqa: F811
    """Models that no table knows are accounted in no time."""


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
