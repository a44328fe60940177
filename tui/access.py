"""What a widget, a dialog or a step may ask of the application and of the project that is open.

Application and project screen lie above all that asks, so they are known here by what they promise alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.notifications import SeverityLevel

    from ..core.config.project import Project
    from ..core.config.strict import Table
    from ..core.errors import FishtuneError
    from ..core.hardware.readings import GpuReading
    from ..core.jobs.record import Job
    from ..core.pipeline.steps import StepName
    from ..core.stages.registry import StageName
    from .engine import Engine
    from .glyphs import Glyphs
    from .project_state import ProjectState
    from .trouble import Show
    from .wizard_settings import WizardSettings


@runtime_checkable
class SaysEnter(Protocol):
    """A widget that knows what Enter does in it."""

    @property
    def enter_does(self) -> str:
        """What Enter does, a word for the footer; "" for nothing."""


class WizardAccess(Protocol):
    """The application.

    Attributes:
        gpus: the newest reading, None before the first.
        running: jobs that were running when last looked, by id.
    """

    settings: WizardSettings
    glyphs: Glyphs
    gpus: GpuReading | None
    running: dict[str, tuple[Job, Project]]

    @property
    def engine(self) -> Engine:
        """The only way to the engine."""

    def open_project(self, path: Path) -> None:
        """Open a project's screen, or say why it cannot be opened."""

    def tell(self, text: str) -> None:
        """Show a short message about something the user just did; never foreign text."""

    def tell_error(self, error: FishtuneError) -> None:
        """Show an error that belongs to no step."""

    def notify(self, message: str, *, severity: SeverityLevel = ..., markup: bool = ...) -> None:
        """Show a message, which is plain text without `markup`."""

    def copy(self, text: str) -> None:
        """Put `text` on the user's clipboard and say so."""

    def suspend(self) -> AbstractContextManager[None]:
        """Leave the terminal to another program while the block runs."""

    def action_leave(self) -> None:
        """Leave; whatever runs goes on."""


class ProjectAccess(Protocol):
    """The screen of the project that is open."""

    project: Project
    state: ProjectState

    def save_project(self) -> None:
        """Put a change into the project file; called at every one. What changed on disk meanwhile is kept."""

    def reread_project(self, show: Show | None = None) -> bool:
        """Take over a project file that was changed on disk; return whether it can be used."""

    def start_job(
        self, step: StepName, stage: StageName, settings: Table, secrets: Mapping[str, str] | None
    ) -> None:
        """Start a job of a step in a thread; an error is shown in its pane."""

    def stop_job(self, step: StepName) -> None:
        """Ask a step's job to stop; asked again, end it at once."""

    def is_stopping(self, job: Job) -> bool:
        """Whether a job was asked to stop here."""

    def fill(self, step: StepName) -> None:
        """Tell a step's new pane everything that is known; panes call this once they are mounted."""

    def go_to(self, step: StepName) -> None:
        """Open a step with the focus on its main button."""

    def focus_steps(self) -> None:
        """Put the focus on the list of steps."""

    def show_keys(self) -> None:
        """Say in the footer what the keys do that depend on where the focus is and what the buttons say."""

    def enter_step(self) -> None:
        """Put the focus on the first thing of the open step."""


def wizard(node: DOMNode) -> WizardAccess:
    """Return the application that `node` belongs to."""
    return cast("WizardAccess", node.app)


def project_screen(node: DOMNode) -> ProjectAccess:
    """Return the project's screen that `node` belongs to."""
    return cast("ProjectAccess", node.screen)
