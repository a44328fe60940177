"""The file of a project that is open: saved at every change, and read again where it changed on disk."""

from __future__ import annotations

from ...core.config.project import Project
from ...core.errors import FishtuneError
from ...core.pipeline.steps import StepName
from ..access import wizard
from ..base_screen import WizardScreen
from ..catalogue import _
from ..steps.base import StepPane
from ..trouble import Show, caught


class ProjectFileScreen(WizardScreen[None]):
    """A screen of a project. The file on disk wins over what is in memory."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self._panes: dict[StepName, StepPane] = {}
        self._file_trouble = ""
        self._outdated: set[StepName] = set()
        """Steps whose widgets were made, or are being made, from an older content of the file."""

    def refresh_state(self) -> None:
        """Inspect the disk in a thread; what was seen arrives as a message."""
        raise NotImplementedError

    def note_file(self, changed: bool) -> None:
        """Take note of whether the file says something else than when it was read."""
        if changed:
            self.reread_project()
        else:
            self._file_trouble = ""

    def save_project(self) -> None:
        """Put a change into the project file; called at every one. What changed on disk meanwhile is kept."""
        if self.reread_project(show=wizard(self).tell_error):
            with caught(wizard(self).tell_error):
                self.project.save()
        self.refresh_state()

    def reread_project(self, show: Show | None = None) -> bool:
        """Take over a project file that was changed on disk, by an editor or a command.

        Args:
            show: is given why the file cannot be used, every time; None says it once.

        Returns:
            Whether the file can be used. Until it can, what was read before counts and nothing is saved.
        """
        before = self.project.name
        try:
            changed = self.project.reread()
        except FishtuneError as error:
            if show is not None or error.message != self._file_trouble:
                (show or wizard(self).tell_error)(error)
            self._file_trouble = error.message
            return False
        self._file_trouble = ""
        if self.project.name != before:  # another run, with other jobs
            self.app.call_later(wizard(self).open_project, self.project.file)
        elif changed:
            self._outdated = set(self._panes)
            for pane in self._panes.values():
                self._bring_up_to_date(pane)
            wizard(self).tell(_("fishtune.toml was changed on disk and is read again."))
            self.refresh_state()
        return True

    def _bring_up_to_date(self, pane: StepPane) -> None:
        if pane.ready and pane.step in self._outdated:
            self._outdated.discard(pane.step)
            with caught(pane.notice.show_error):
                pane.project_changed()
