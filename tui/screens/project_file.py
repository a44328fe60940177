"""The file of a project that is open: saved at every change, and read again where it changed on disk."""

from __future__ import annotations

from typing import Any

from ...core.config.project import Change, Project
from ...core.errors import FishtuneError
from ...core.pipeline.steps import StepName
from ..access import wizard
from ..base_screen import WizardScreen
from ..catalogue import _
from ..steps.base import StepPane
from ..trouble import Show, caught
from ..widgets.form import Field, Form, as_written
from ..wording import harmless


class ProjectFileScreen(WizardScreen[None]):
    """A screen of a project. The file on disk wins over what is in memory."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self._panes: dict[StepName, StepPane] = {}
        self._file_trouble = ""
        self._changes: list[Change] = []
        """What was saved here and can be taken back, the newest last."""
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
            self._save()
        self.refresh_state()

    def _save(self) -> None:
        with caught(wizard(self).tell_error):
            change = self.project.save()
            if change is not None:
                self._changes.append(change)

    def action_undo(self) -> None:
        """Take back what is typed and not stored yet, else the newest change that was saved here."""
        if any(form.forget_typed() for form in self.query(Form) if form.has_focus_within):
            return
        if not self.reread_project(show=wizard(self).tell_error):
            return
        if not self._changes:
            self._say(_("Nothing was changed here that could be undone."))
            return
        change = self._changes.pop()
        undone = self.project.take_back(change)
        with caught(wizard(self).tell_error):
            self.project.save()
        told = [_undone(*place, value) for place, value in undone.items()]
        told += [
            _("{what} was changed in the file since, and stays.").format(what=_label(*place))
            for place in change.values()
            if place not in undone
        ]
        self._show_again()
        self._say("\n".join(told))

    def _say(self, text: str) -> None:
        for pane in self._panes.values():
            if pane.display and pane.ready:
                pane.notice.show_plain(text)

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
            self._show_again()
            wizard(self).tell(_("fishtune.toml was changed on disk and is read again."))
        return True

    def _show_again(self) -> None:
        self._outdated = set(self._panes)
        for pane in self._panes.values():
            self._bring_up_to_date(pane)
        self.refresh_state()

    def _bring_up_to_date(self, pane: StepPane) -> None:
        if pane.ready and pane.step in self._outdated:
            self._outdated.discard(pane.step)
            with caught(pane.notice.show_error):
                pane.project_changed()


def _label(table: str, name: str) -> str:
    return _(Field(table, name).label)


def _undone(table: str, name: str, value: Any) -> str:
    """Return what a setting is again."""
    match value:
        case None:
            shown = _("not set")
        case list():
            shown = ", ".join(map(str, value)) or _("none")
        case _:
            shown = as_written(value)
    return _("Undone. {what}: {value}").format(what=_label(table, name), value=harmless(shown, 60))
