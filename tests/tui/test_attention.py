"""Calling a user who looks elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fishtune.core.config.project import Project
from fishtune.core.config.settings import NotifyOptions
from fishtune.core.events import Finished, Step, Warned
from fishtune.core.stages.registry import StageName
from fishtune.tui.app import Wizard
from fishtune.tui.attention import call_for_attention, notification
from fishtune.tui.screens import project_jobs
from wizard_helpers import FakeEngine, until, until_shown


class Terminal:
    """An application that keeps what it writes to its terminal."""

    is_headless = False

    def __init__(self) -> None:
        self._driver = self
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)

    def bell(self) -> None:
        self.write("\x07")


@pytest.mark.parametrize(("bell", "desktop"), [(True, True), (True, False), (False, True), (False, False)])
def test_bell_and_notification_are_as_the_user_wants_them(
    monkeypatch: pytest.MonkeyPatch, bell: bool, desktop: bool
) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    app: Any = Terminal()
    call_for_attention(app, "yoona: train: finished", NotifyOptions(bell=bell, desktop=desktop))
    expected = ["\x07"] * bell + ["\x1b]9;yoona: train: finished\x07"] * desktop
    assert app.written == expected


def test_tmux_is_asked_to_hand_it_on_and_nothing_in_it_is_obeyed() -> None:
    assert notification("a\x07b\x1b[2J\n\x9c", in_tmux=False) == "\x1b]9;a\\x07b\\x1b[2J\\n\\x9c\x07"
    assert notification("x", in_tmux=True) == "\x1bPtmux;\x1b\x1b]9;x\x07\x1b\\"


async def test_guards_and_the_end_of_a_job_that_is_watched_call_the_user(
    wizard: Callable[..., Wizard],
    engine: FakeEngine,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(project_jobs, "call_for_attention", lambda app, text, options: said.append(text))
    job = engine.new_job(project, StageName.TRAIN)
    step = Step(step=40, total_steps=100, loss=8, base_loss=3, semantic_loss=5, learning_rate=1e-4)
    engine.say(job, [step, Warned(message="An ordinary one.")])
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(app, "40 / 100")
        assert said == []
        engine.say(job, [Warned(message="The loss rises.", guard=True)])
        await until(lambda: len(said) == 1, app)
        engine.say(job, [Finished(summary={})])
        await until(lambda: len(said) == 2, app)
        await pilot.pause()
    assert said == [f"{project.name}: The loss rises.", f"{project.name}: train: finished"]
