"""The application: themes, keys, the screens it opens, and how it is left."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cached_cell_len
from rich.style import Style
from textual import events
from textual.app import App, SystemCommand
from textual.command import CommandPalette
from textual.filter import ANSIToTruecolor, LineFilter
from textual.screen import Screen
from textual.strip import Strip

from ..core.errors import FishtuneError
from . import clipboard
from .actions import ACTIONS, bindings
from .base_screen import WizardScreen
from .catalogue import _, sentence
from .glyphs import ASCII, LINES
from .messages import GpusRead
from .terminal import too_small
from .themes import DEFAULTS, NAMED_ON_LIGHT, OURS
from .trouble import caught, note
from .wizard_settings import THEMES, WizardSettings
from .wording import harmless

if TYPE_CHECKING:
    from ..core.config.project import Project
    from ..core.hardware.readings import GpuReading
    from ..core.jobs.record import Job
    from .engine import Engine
    from .screens.start import StartScreen
    from .watch import GpuWatch

_OUTPUT_SECONDS = 0.02
"""What the output thread gets to put the first screen out."""

_TIDY_SECONDS = 3.0
_LONG_TIDYING = 0.02
"""CPU seconds; longer, and what stays (the clips of a large data set) is passed over from then on."""


class Wizard(App[None]):
    """The wizard.

    Args:
        project: project folder or file to open at once; None shows the start page.
        engine: the wizard's only way to the engine; tests give another.
        no_color: whether the user asked for no colours.

    Attributes:
        farewell: what to print after the screen is gone.
        trouble: what ended the program, if it was not the user.
        running: jobs that were running when last looked, by id.
    """

    CSS_PATH = "wizard.tcss"
    TITLE = "fishtune"
    BINDINGS = bindings("everywhere")
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        settings: WizardSettings,
        project: Path | None = None,
        engine: Engine | None = None,
        no_color: bool = False,
    ) -> None:
        super().__init__(ansi_color=True if no_color else None)
        self.settings = settings
        self._engine = engine
        self.glyphs = ASCII if settings.ascii else LINES
        self.farewell = ""
        self.trouble: FishtuneError | None = None
        self.gpus: GpuReading | None = None
        self.running: dict[str, tuple[Job, Project]] = {}
        self._first_project = project
        self._loop_of_app: asyncio.AbstractEventLoop | None = None
        self._gpu_watch: GpuWatch | None = None
        # Nothing moves by itself: every animated frame is bytes on somebody's link.
        self.animation_level = "none"
        for theme in OURS:
            self.register_theme(theme)
        self.ansi_theme_light = NAMED_ON_LIGHT
        self.theme = settings.theme or THEMES[0]
        # Else Textual reads all styles in the colours of its own theme, and a moment later again in these.
        self.stylesheet.set_variables(self.get_css_variables())
        self._read_with: str | None = self.theme
        if settings.keys:
            self.set_keymap(dict(settings.keys))
        self._ascii: LineFilter | None = None
        if settings.ascii:
            from .ascii_only import AsciiOnly

            self._ascii = AsciiOnly()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return DEFAULTS

    def refresh_css(self, animate: bool = True) -> None:
        """Read the styles again in other colours; at the start they are those of the theme already."""
        read_with, self._read_with = self._read_with, None
        if read_with != self.theme:
            super().refresh_css(animate)

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return filters if self._ascii is None else [*filters, self._ascii]

    def on_mount(self) -> None:
        from .screens.start import StartScreen

        self._loop_of_app = asyncio.get_running_loop()
        start = StartScreen()
        self.push_screen(start, wait_for_dismiss=False)
        # The engine's types cost as much time as Textual itself: something is to be seen before.
        start.call_after_refresh(self.set_timer, _OUTPUT_SECONDS, partial(self._begin, start))
        self.set_interval(_TIDY_SECONDS, self.tidy)

    def tidy(self) -> None:
        """Collect cycles of objects; what the first time finds, modules above all, is passed over later.

        Python would do it while much is allocated, which is when a key is answered, and look at everything
        each time: 40 ms instead of 2. What is collected late is memory that the program keeps.
        """
        begun = time.thread_time()
        gc.collect()
        if not gc.get_freeze_count() or time.thread_time() - begun > _LONG_TIDYING:
            gc.freeze()
        # What is remembered of lines that were on the screen once comes to thousands of styles and texts.
        for remembered in (Strip.render_ansi, ANSIToTruecolor.truecolor_style, Style._add, cached_cell_len):
            remembered.cache_clear()

    def _begin(self, start: StartScreen) -> None:
        gc.enable()
        from .watch import GpuWatch

        first = self._first_project
        begin_one = first is not None and not _has_project(first)
        if first is not None and not begin_one:
            self.open_project(first)
        if self.screen is start:
            with caught(self.tell_error):  # whoever leaves at once takes the page down meanwhile
                start.show_what_is_there()
                if first is not None and begin_one:
                    start.ask_for_folder(first.expanduser().absolute())
        self._gpu_watch = GpuWatch(self.engine.gpu_source, self.post_message)
        self._gpu_watch.start()

    @property
    def engine(self) -> Engine:
        """The only way to the engine."""
        if self._engine is None:
            from .engine import Engine

            self._engine = Engine()
        return self._engine

    def on_unmount(self) -> None:
        if self._gpu_watch is not None:
            self._gpu_watch.close()

    # leaving

    def leave_from_outside(self, code: int) -> None:
        """Ask the application to end; may be called from any thread."""
        if self._loop_of_app is not None:
            self._loop_of_app.call_soon_threadsafe(lambda: self.exit(return_code=code))

    def action_leave(self) -> None:
        """Leave; whatever runs goes on."""
        self.farewell = self._farewell()
        self.exit()

    async def action_quit(self) -> None:
        """Textual's own name for leaving."""
        self.action_leave()

    def _farewell(self) -> str:
        lines = []
        for job, project in self.running.values():
            lines.append(
                _("{stage} keeps running (job {job}). Come back with: fishtune-tui {folder}").format(
                    stage=job.record.stage, job=job.id, folder=_quoted(project.folder)
                )
            )
        return "\n".join(lines)

    def _fatal_error(self) -> None:
        """Leave with a sentence in place of Textual's pages of traceback, which go to a file."""
        if self.trouble is None and self._exception is not None:
            self.trouble = note(self._exception)
            self.farewell = self._farewell()
        self._close_messages_no_wait()

    # projects

    def open_project(self, path: Path) -> None:
        """Open a project's screen, or say why it cannot be opened."""
        from ..core.config.project import Project
        from .screens.project import ProjectScreen

        try:
            project = Project.load(path.expanduser())
        except FishtuneError as error:
            self.tell_error(error)
            return
        self.show_project(ProjectScreen(project))

    def show_project(self, screen: Screen[None]) -> None:
        """Put a project's screen in the place of whatever lies over the start page."""
        while len(self.screen_stack) > 2:
            self.pop_screen()
        self.push_screen(screen)

    def tell_error(self, error: FishtuneError) -> None:
        """Show an error that belongs to no step."""
        message, hint = harmless(sentence(error.message)), harmless(sentence(error.hint))
        text = f"{message}\n→ {hint}" if hint else message
        if any(toast.message == text for toast in self._notifications):
            return  # what is looked at again and again is said once
        self.notify(text, severity="error", timeout=12, markup=False)

    def tell(self, text: str) -> None:
        """Show a short message about something the user just did; never foreign text."""
        self.notify(text, timeout=4, markup=False)

    # GPU readings go to whatever screens want them

    def on_gpus_read(self, message: GpusRead) -> None:
        self.gpus = message.reading
        for screen in self.screen_stack:
            if isinstance(screen, WizardScreen):
                screen.show_gpus(message.reading)

    # actions

    def action_show_help(self) -> None:
        from .screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            topic = self.screen.help_text() if isinstance(self.screen, WizardScreen) else ""
            self.push_screen(HelpScreen(topic))

    def action_show_gpus(self) -> None:
        from .screens.gpus import GpuScreen

        if not isinstance(self.screen, GpuScreen):
            self.push_screen(GpuScreen())

    def action_next_theme(self) -> None:
        position = THEMES.index(self.theme) if self.theme in THEMES else -1
        self.theme = THEMES[(position + 1) % len(THEMES)]
        self.tell(
            _('Theme: {theme}. Keep it with theme = "{theme}" in wizard.toml.').format(theme=self.theme)
        )

    def action_copy(self) -> None:
        text = self.screen.text_to_copy() if isinstance(self.screen, WizardScreen) else ""
        if text := text or self.screen.get_selected_text() or "":
            self.copy(text)

    def copy(self, text: str) -> None:
        """Put `text` on the user's clipboard and say so."""
        done = clipboard.copy(self, text)
        self.tell(_("Copied.") if done else _("tmux did not take the text."))

    async def action_back(self) -> None:
        if isinstance(self.screen, WizardScreen):
            self.screen.go_back()

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(id="--command-palette", placeholder=_("What do you want to do?")))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Return every action of the registry that `screen` can do, and what stands on its buttons."""
        for label, help_text, callback in screen.commands() if isinstance(screen, WizardScreen) else ():
            yield SystemCommand(label, help_text, callback)
        for action in ACTIONS:
            owner = screen if hasattr(screen, f"action_{action.name}") else self
            method = getattr(owner, f"action_{action.name}", None)
            if method is not None:
                yield SystemCommand(_(action.label), _(action.help), method)

    # the window

    def on_resize(self, event: events.Resize) -> None:
        from .screens.too_small import TooSmallScreen

        sentence = too_small(event.size.width, event.size.height)
        if isinstance(self.screen, TooSmallScreen):
            if sentence:
                self.screen.show(sentence)
            else:
                self.pop_screen()
        elif sentence:
            self.push_screen(TooSmallScreen(sentence))


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _has_project(path: Path) -> bool:
    """Whether what was given is a project, or a file that is to be read as one."""
    from ..core.config.project import PROJECT_FILE

    path = path.expanduser()
    try:
        return path.is_file() or (path / PROJECT_FILE).exists()
    except OSError:  # no permission, for one: opening it says so
        return True


if TYPE_CHECKING:
    from .access import WizardAccess

    def _keeps_its_promise(app: Wizard) -> WizardAccess:
        return app
