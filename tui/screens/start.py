"""The start page: recent projects, a new one, the demo, and what this machine has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ...core.errors import FishtuneError, SettingsError
from ...core.units import format_usage
from ..access import wizard
from ..actions import Command
from ..base_screen import WizardScreen
from ..catalogue import _
from ..trouble import in_background
from ..widgets.button import Button
from ..widgets.folder_suggester import expanded
from ..widgets.frame import FooterBar, HeaderBar
from ..widgets.notice import Notice
from ..widgets.plain import Plain, PlainVertical
from ..wording import clock, driver_sentence, fit_path, harmless, size

if TYPE_CHECKING:
    from ...core.config.project import Project
    from ...core.hardware.readings import GpuReading

_MOST_RECENT = 12


class StartScreen(WizardScreen[None], Plain):
    """What a user sees first."""

    DEFAULT_CSS = """
    StartScreen #start { padding: 1 2; height: 1fr; }
    StartScreen OptionList { height: auto; max-height: 8; border: none; padding: 0; }
    StartScreen .heading { text-style: bold; margin: 1 0 0 0; }
    StartScreen #choices { height: 1; margin: 1 0 0 0; }
    StartScreen #choices Button { margin: 0 2 0 0; }
    StartScreen #none-yet { color: $text-muted; display: none; }
    StartScreen #machine { height: auto; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._recent: list[Path] = []
        self._was_left = False

    def compose(self) -> ComposeResult:
        yield HeaderBar()
        with PlainVertical(id="start", classes="framed"):
            yield Static(Text(_("Fine-tune fish-speech on your own recordings, in six steps.")), markup=False)
            yield Notice(id="notice")
            yield Static(Text(_("Recent projects")), classes="heading", markup=False)
            yield OptionList(markup=False, compact=True, id="recent")
            yield Static(
                Text(_("None yet: open or create one, or see how it works with the demo.")),
                classes="quiet",
                markup=False,
                id="none-yet",
            )
            with Horizontal(id="choices"):
                yield Button(_("Open or create…"), "open", main=True)
                yield Button(_("Try the demo"), "demo")
                yield Button(_("Quit"), "quit")
            yield Static(Text(_("This machine")), classes="heading", markup=False)
            yield Static("", id="machine", markup=False)
        yield FooterBar()

    def on_mount(self) -> None:
        keys = wizard(self).settings.keys
        self.query_one(FooterBar).show(["leave", "show_help", "show_gpus", "next_theme"], keys)
        self.query_one("Button").focus()

    def on_screen_resume(self) -> None:
        if self._was_left:
            self.call_later(self.show_what_is_there)

    def on_screen_suspend(self) -> None:
        self._was_left = True

    def show_what_is_there(self) -> None:
        """Show the recent projects and this machine, which takes imports: the first paint is without them."""
        self._show_recent()
        self.show_gpus(wizard(self).gpus)

    def _show_recent(self) -> None:
        from ...core.config.recent import recent_projects

        options = self.query_one("#recent", OptionList)
        entries = [(entry.file.parent, entry.used) for entry in recent_projects() if entry.file is not None][
            :_MOST_RECENT
        ]
        self._recent = [folder for folder, _opened in entries]
        options.clear_options()
        width = max(self.app.size.width - 26, 20)
        options.add_options(
            Option(Text(f"{fit_path(folder, width)}  {clock(opened)}")) for folder, opened in entries
        )
        options.display = bool(entries)
        self.query_one("#none-yet").display = not entries
        if entries:
            options.highlighted = 0
            options.focus()

    def show_gpus(self, reading: GpuReading | None) -> None:
        """Show what this machine has."""
        if not self.query("#machine"):
            return
        self.query_one(HeaderBar).gpus = reading
        self.query_one("#machine", Static).update(Text(machine(reading)))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._open(self._recent[event.option_index])

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
        from ..dialogs.folders import FolderScreen

        def chosen(folder: Path | None) -> None:
            if folder is not None:
                self._open(folder)

        question = _("Folder of the project (an existing one, or a new one for a new project):")
        self.app.push_screen(FolderScreen(question, Path.cwd()), chosen)

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
        from ..dialogs.prompt import PromptScreen

        def chosen(answer: str | None) -> None:
            if answer:
                self.query_one("#notice", Notice).show_plain(
                    _("Setting up the demo project (half a minute)…")
                )
                in_background(self, lambda: self._make_demo(expanded(answer)), self._show_error, "demo")

        suggested = Path.cwd() / "fishtune-demo"
        self.app.push_screen(PromptScreen(_("Folder for the demo project:"), str(suggested)), chosen)

    async def _make_demo(self, folder: Path) -> None:
        await wizard(self).engine.make_demo(folder)
        self.query_one("#notice", Notice).clear()
        wizard(self).open_project(folder)

    def _show_error(self, error: FishtuneError) -> None:
        self.query_one("#notice", Notice).show_error(error)

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
        return str(self._recent[highlighted]) if highlighted is not None and self._recent else ""


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


def machine(reading: GpuReading | None) -> str:
    """Return lines on GPU, driver, free memory and disk."""
    import psutil

    lines = []
    if reading is not None:
        from ...core.hardware.readings import DriverState

        lines.append(driver_sentence(reading))
        if reading.state is DriverState.READY:
            for gpu in reading.gpus:
                memory = format_usage(gpu.memory.used, gpu.memory.total) if gpu.memory else "–"
                free = size(gpu.memory.free) if gpu.memory else "–"
                lines.append(
                    _("GPU{index} {name}: {memory} used, {free} free").format(
                        index=gpu.index, name=harmless(gpu.name), memory=memory, free=free
                    )
                )
    main_memory = psutil.virtual_memory()
    lines.append(
        _("Memory: {free} free of {total}").format(
            free=size(main_memory.available), total=size(main_memory.total)
        )
    )
    here = Path.cwd()
    disk = shutil.disk_usage(here)
    lines.append(
        _("Disk of {folder}: {free} free of {total}").format(
            folder=harmless(here), free=size(disk.free), total=size(disk.total)
        )
    )
    return "\n".join(lines)
