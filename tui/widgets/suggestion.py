"""The memory table behind a batch size, and the suggestion that follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Static

from ...core.errors import FishtuneError
from ..access import project_screen, wizard
from ..catalogue import _
from ..trouble import in_thread
from ..wording import harmless, plain, right, size
from .button import Button
from .panel import panel
from .table import Table

if TYPE_CHECKING:
    from ..estimates import Estimate, StageWithMemory


class Suggestion(Vertical):
    """Computed in a thread whenever the settings change; a model that no table knows takes a while."""

    DEFAULT_CSS = """
    Suggestion { height: auto; margin: 1 0 0 0; }
    Suggestion #advice { height: auto; }
    Suggestion #take { height: 1; display: none; }
    Suggestion #take.-shown { display: block; }
    Suggestion Table { height: auto; max-height: 14; }
    """

    class Taken(Message):
        """The user wants the suggested values."""

        def __init__(self, values: dict[str, Any]) -> None:
            super().__init__()
            self.values = values

    def __init__(self, stage: StageWithMemory, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._stage: StageWithMemory = stage
        self._values: dict[str, Any] = {}
        panel(self, _("Memory"), ruled=True)

    def compose(self) -> ComposeResult:
        yield Static("", id="advice", markup=False)
        with Horizontal(id="take"):
            yield Button(_("Take this"), "take")
        parts = Table([(_("part"), None, "left"), (_("needed"), 11, "right")], id="parts", only_read=True)
        parts.display = False
        yield parts

    def on_mount(self) -> None:
        self.estimate_again()

    def estimate_again(self) -> None:
        """Estimate the memory again, in a thread, from the project as it is now."""
        project, reading = project_screen(self).project, wizard(self).gpus
        stage = self._stage

        def work() -> None:
            from ...core.hardware.memory.profiles import Profiles
            from ..estimates import estimate

            profiles = Profiles(
                lambda done, total: self.app.call_from_thread(self._show_progress, done, total)
            )
            found = estimate(stage, project, reading, profiles)
            self.app.call_from_thread(self._show, found)

        in_thread(self, work, self._not_estimated, "estimate")

    def _not_estimated(self, error: FishtuneError) -> None:
        self._show(None)
        wizard(self).tell_error(error)

    def _show_progress(self, done: int, total: int) -> None:
        """Say that the model or the settings are new, and how far accounting them is."""
        counted = _("Batch {done} of {total}.").format(done=done, total=total) if total else ""
        sentence = _("Measuring how much memory this model needs, once. {counted}")
        self.query_one("#advice", Static).update(Text(sentence.format(counted=counted).rstrip()))
        self.query_one("#take").set_class(False, "-shown")

    def _show(self, found: Estimate | None) -> None:
        self.display = found is not None
        if found is None:
            return
        self._values = found.values
        self.query_one("#advice", Static).update(Text(harmless(found.sentence, 1000)))
        self.query_one("#take").set_class(bool(found.values), "-shown")
        rows: list[tuple[str, tuple[object, object]]] = [
            (name, (_(name), size(number))) for name, number in found.rows
        ]
        rows.append(("needed", (plain(_("needed in all"), "bold"), right(size(found.needed), "bold"))))
        if found.free is not None:
            rows.append(("free", (plain(_("free now"), "bold"), right(size(found.free), "bold"))))
        parts = self.query_one("#parts", Table)
        parts.show_rows(rows)
        parts.display = True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.Taken(self._values))
