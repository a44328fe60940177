"""The start page: the six steps, recent projects, a new one, the demo, and what this machine has."""

from __future__ import annotations

import contextlib
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ...core.errors import FishtuneError, SettingsError
from ..access import wizard
from ..actions import Command
from ..base_screen import WizardScreen
from ..catalogue import _, mark
from ..trouble import in_thread
from ..widgets.button import Button
from ..widgets.frame import FooterBar, HeaderBar
from ..widgets.notice import Notice
from ..widgets.panel import is_roomy
from ..widgets.plain import Plain, PlainVertical
from ..wording import age, fit_path, padded

if TYPE_CHECKING:
    from ...core.config.project import Project
    from ...core.hardware.readings import GpuReading
    from ..models_found import FoundModel
    from ..project_state import ShownStep

_STEPS = (
    (mark("Dataset"), mark("check and normalise the recordings")),
    (mark("Model"), mark("find the base model or download it")),
    (mark("Extract"), mark("turn every clip into codes")),
    (mark("Pack"), mark("join codes and transcripts for training")),
    (mark("Train"), mark("train an adapter and watch the curves")),
    (mark("Merge"), mark("choose a checkpoint by ear and merge it")),
)
_MOST_RECENT = 12
_STATE_CELLS, _AGE_CELLS = 24, 13


class StartScreen(WizardScreen[None], Plain):
    """What a user sees first."""

    DEFAULT_CSS = """
    StartScreen #start { padding: 0 2; }
    StartScreen #parts { height: auto; }
    StartScreen .part { height: auto; border-top: solid $frame; border-title-color: $foreground; }
    StartScreen .part { border-title-style: bold; }
    StartScreen OptionList { height: auto; max-height: 5; border: none; padding: 0; }
    StartScreen #choices { height: 1; margin: 1 0 0 0; }
    StartScreen #choices Button { margin: 0 2 0 0; }
    StartScreen #none-yet { color: $text-muted; display: none; }
    StartScreen .lines { height: auto; color: $text-muted; }
    StartScreen.-wide #start { padding: 1 2; }
    StartScreen.-wide #parts { layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-rows: auto; }
    StartScreen.-wide #parts { grid-gutter: 1 2; margin: 1 0 0 0; }
    StartScreen.-wide .part { border: solid $frame; padding: 1 2; height: auto; }
    StartScreen.-wide #projects { column-span: 2; }
    StartScreen.-wide OptionList { max-height: 12; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._recent: list[tuple[Path, float]] = []
        """Folder and last use, as they are shown."""
        self._states: dict[Path, ShownStep] = {}
        """What is next in each project."""
        self._models: list[FoundModel] = []
        self._begun = False
        """Whether the first paint is over: what takes imports may be shown."""
        self._was_left = False

    def compose(self) -> ComposeResult:
        yield HeaderBar(wizard(self).glyphs)
        with PlainVertical(id="start", classes="framed"):
            yield Static(Text(_("Fine-tune fish-speech on your own recordings, in six steps.")), markup=False)
            yield Notice(id="notice")
            with PlainVertical(id="parts"):
                with Vertical(id="projects", classes="part") as projects:
                    projects.border_title = _("Recent projects")
                    yield OptionList(markup=False, compact=True, id="recent")
                    yield Static(
                        Text(_("None yet: open or create one, or see how it works with the demo.")),
                        markup=False,
                        id="none-yet",
                    )
                    with Horizontal(id="choices"):
                        yield Button(_("Open or create…"), "open", main=True)
                        yield Button(_("Try the demo"), "demo")
                        yield Button(_("Quit"), "quit")
                with Vertical(id="six", classes="part") as six:
                    six.border_title = _("Six steps")
                    yield Static(self._six_steps(), classes="lines", markup=False)
                with Vertical(id="here", classes="part") as here:
                    here.border_title = _("This machine")
                    yield Static("", id="machine", classes="lines", markup=False)
        yield FooterBar()

    def _six_steps(self) -> Text:
        width = max(cell_len(_(title)) for title, _what in _STEPS) + 2
        return Text("\n").join(
            Text.assemble((f"{number} {padded(_(title), width)}", "bold"), _(what))
            for number, (title, what) in enumerate(_STEPS, 1)
        )

    def on_mount(self) -> None:
        self.query_one("Button").focus()
        self.watch(self, "focused", self.show_keys)

    def on_resize(self, event: events.Resize) -> None:
        """Put the parts beside one another where there is room."""
        self.set_class(is_roomy(event.size), "-wide")
        self._show_rows()
        self._show_machine()

    def show_keys(self) -> None:
        """Say in the footer what the keys do that depend on where the focus is."""
        names, keys = ["leave", "show_help", "show_gpus", "next_theme"], wizard(self).settings.keys
        enter = (wizard(self).glyphs.enter, self.enter_does())
        for footer in self.query_children(FooterBar):
            footer.show(names, keys, extra=[enter], instead=self.keys_on_top)

    def enter_does(self) -> str:
        return _("Open") if isinstance(self.focused, OptionList) else super().enter_does()

    def on_screen_resume(self) -> None:
        self.show_keys()
        if self._was_left:
            self.call_later(self.show_what_is_there)

    def on_screen_suspend(self) -> None:
        self._was_left = True
        self.show_keys()

    def show_what_is_there(self) -> None:
        """Show the recent projects and this machine, which takes imports: the first paint is without them."""
        from ...core.config.recent import recent_projects

        used: dict[Path, float] = {}
        for entry in recent_projects():  # one folder may have had runs of several names
            if entry.file is not None:
                used.setdefault(entry.file.parent, entry.used)
        self._begun = True
        self._recent = list(used.items())[:_MOST_RECENT]
        self._show_rows()
        self.query_one("#none-yet").display = not used
        if used:
            self.query_one("#recent", OptionList).highlighted = 0
            self.query_one("#recent", OptionList).focus()
        self.show_gpus(wizard(self).gpus)
        self._look()

    def _look(self) -> None:
        """Look in a thread at what each project is at, and which models are here."""
        engine, folders = wizard(self).engine, [folder for folder, _used in self._recent]

        def work() -> None:
            from ...core.config.project import Project
            from ...core.config.settings import MODELS_FOLDER
            from ..models_found import models_in

            places = [Path.cwd() / MODELS_FOLDER]
            for folder in folders:
                if not self.is_current:
                    return
                with contextlib.suppress(FishtuneError):  # opening it says what is wrong
                    project = Project.load(folder)
                    places.append(project.base.parent)
                    state = engine.inspect_project(project)
                    self.app.call_from_thread(self._take_state, folder, state.step(state.first_to_do))
            self.app.call_from_thread(self._take_models, models_in(places))

        in_thread(self, work, self.query_one("#notice", Notice).show_error, "look")

    def _take_state(self, folder: Path, step: ShownStep) -> None:
        self._states[folder] = step
        self._show_rows()

    def _take_models(self, models: list[FoundModel]) -> None:
        self._models = models
        self._show_machine()

    def _show_rows(self) -> None:
        """Show the recent projects, a running one first; the cursor stays on its project."""
        if not self._begun:
            return
        options = self.query_one("#recent", OptionList)
        at = options.highlighted
        under = self._recent[at][0] if at else None  # whoever has not moved it yet is on the first
        self._recent.sort(key=lambda entry: (not self._runs(entry[0]), -entry[1]))
        options.clear_options()
        options.add_options([Option(self._row(folder, used)) for folder, used in self._recent])
        options.display = bool(self._recent)
        if at is not None and self._recent:
            folders = [folder for folder, _used in self._recent]
            options.highlighted = folders.index(under) if under in folders else 0

    def _runs(self, folder: Path) -> bool:
        step = self._states.get(folder)
        return step is not None and step.state.value == "running"

    def _row(self, folder: Path, used: float) -> Text:
        # Without the colours of states: the cursor's bar has a colour of its own.
        step = self._states.get(folder)
        width = max(self.app.size.width - (16 if self.has_class("-wide") else 8), 60)
        text = Text(no_wrap=True, overflow="crop")
        if step is None:
            text.append(padded("  …", _STATE_CELLS))
        else:
            sign = getattr(wizard(self).glyphs, step.state.value)
            text.append(padded(f"{sign} {_(step.title)}: {step.word}", _STATE_CELLS))
        path = fit_path(folder, width - _STATE_CELLS - _AGE_CELLS - 2)
        text.append(f"{padded(path, width - _STATE_CELLS - _AGE_CELLS - 1)}")
        text.append(age(used, time()).rjust(_AGE_CELLS))
        return text

    def show_gpus(self, reading: GpuReading | None) -> None:
        """Show what this machine has."""
        for header in self.query(HeaderBar):
            header.gpus = reading
        self._show_machine()

    def _show_machine(self) -> None:
        if not self._begun:
            return
        from ..machine import machine_lines

        most = 8 if self.has_class("-wide") else 1
        for static in self.query("#machine").results(Static):
            lines = machine_lines(wizard(self).gpus, self._models, most, wizard(self).glyphs)
            text = "\n".join(lines)
            if str(static.content) != text:
                static.update(Text(text, no_wrap=True, overflow="ellipsis"))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._open(self._recent[event.option_index][0])

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.name:
            case "open":
                self.action_open()
            case "demo":
                self.action_demo()
            case _:
                wizard(self).action_leave()

    def action_open(self) -> None:
        """Ask for a folder; open the project in it or make one."""
        self.ask_for_folder(Path.cwd())

    def ask_for_folder(self, begin: Path) -> None:
        """Ask for a folder, beginning with one, and open the project in it or make one."""
        from ..dialogs.folders import FolderScreen

        def chosen(folder: Path | None) -> None:
            if folder is not None:
                self._open(folder)

        question = _("Folder of the project (an existing one, or a new one for a new project):")
        self.app.push_screen(FolderScreen(question, begin), chosen)

    def _open(self, folder: Path) -> None:
        from ...core.config.project import PROJECT_FILE

        notice = self.query_one("#notice", Notice)
        notice.clear()
        try:
            if not (folder / PROJECT_FILE).exists():
                create_project(folder)
            wizard(self).open_project(folder)
        except FishtuneError as error:
            notice.show_error(error)

    def action_demo(self) -> None:
        """Ask for a folder, set up the demo project there and open it."""
        from ..dialogs.demo import ask_for_demo

        ask_for_demo(self, self.query_one("#notice", Notice))

    def commands(self) -> list[Command]:
        """Return what the palette can do here besides the actions with keys."""
        return [
            (_("Open or create…"), _("Open a project's folder, or make one."), self.action_open),
            (_("Try the demo"), _("Make a small project to try every step with."), self.action_demo),
        ]

    def help_text(self) -> str:
        """Return what should be known here."""
        return _(
            "A project is a folder with the file fishtune.toml; every choice is kept there. Runs and their "
            "checkpoints go to results/NAME inside it.\n"
            "The demo brings a dozen short clips and a tiny model with random weights: all six steps in a "
            "few minutes, without a GPU and without a download. What it learns is worth nothing."
        )

    def text_to_copy(self) -> str:
        """Return the path of the project under the cursor."""
        highlighted = self.query_one("#recent", OptionList).highlighted
        return str(self._recent[highlighted][0]) if highlighted is not None and self._recent else ""


def create_project(folder: Path) -> Project:
    """Make a project in `folder`, named after it.

    Raises:
        SettingsError: `folder` is a file, or its name cannot name a run.
        StorageError: it cannot be written.
    """
    from ...core.config.project import Project

    if folder.is_file():
        raise SettingsError(f"{folder} is a file.", "Choose a folder.")
    project = Project.create(folder, folder.name or "fishtune")
    project.save(commented=True)
    return project
