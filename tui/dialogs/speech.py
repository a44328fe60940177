"""Saying something with the merged model: one text after another, each a job of its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Label, Static

from ...core.config.project import Project
from ...core.errors import FishtuneError
from ...core.events import Failed, Finished, Progress
from ...core.jobs.record import JobState
from ...core.messages import Message
from ...core.pipeline.steps import StepName
from ...core.stages.registry import StageName
from ...core.text.transcripts import check_typed, transcript_beside
from ..access import wizard
from ..base_screen import Dialog
from ..catalogue import _, sentence
from ..messages import JobChanged
from ..run_view import RunView
from ..trouble import in_thread
from ..watch import JobWatch
from ..widgets.button import Button
from ..widgets.copy_line import CopyLine
from ..widgets.folder_suggester import FolderSuggester, expanded
from ..widgets.notice import Notice
from ..wording import decimal, fit, harmless

SPEECH = "speech"
"""Folder of a run for what was said here."""
_WORDS_HINT = Message("Write them into the field below it, or into a .lab file beside it.")


@dataclass
class _Said:
    """One text, from when it is asked for until its recording is there."""

    text: str
    out: Path
    reference: Path | None
    words: str
    line: CopyLine
    watch: JobWatch | None = field(default=None)


class SpeechScreen(Dialog[None]):
    """A text field, and what was said so far. Closing it stops nothing."""

    BINDINGS = [
        Binding("escape", "close", show=False),
        Binding("f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    SpeechScreen .row { height: 1; }
    SpeechScreen .row Label { width: 18; color: $text-muted; }
    SpeechScreen .row Input { width: 1fr; }
    SpeechScreen #said { height: 1fr; margin: 1 0 0 0; scrollbar-size-vertical: 1; }
    SpeechScreen CopyLine { margin: 0; }
    SpeechScreen #fetch { display: none; margin: 1 0 0 0; }
    SpeechScreen #fetch.-shown { display: block; }
    """

    def __init__(self, project: Project, reference: Path | None = None) -> None:
        super().__init__()
        self._project = project
        self._reference = reference
        self._waiting: deque[_Said] = deque()
        self._speaking: _Said | None = None
        self._all: list[_Said] = []

    def compose(self) -> ComposeResult:
        reference = str(self._reference) if self._reference else ""
        with Vertical(classes="dialog") as dialog:
            dialog.styles.width = "96%"  # paths and commands are long
            title = _("Say something with {model}").format(model=self._project.merged.name)
            yield Static(Text(harmless(title)), classes="title", markup=False)
            with Horizontal(classes="row"):
                yield Label(Text(_("Text")))
                yield Input("", compact=True, select_on_focus=False, id="text")
            with Horizontal(classes="row"):
                yield Label(Text(_("Reference clip")))
                yield Input(
                    reference,
                    placeholder=_("none; 3 to 15 s of the speaker give the timbre"),
                    compact=True,
                    select_on_focus=True,
                    suggester=FolderSuggester(),
                    id="reference",
                )
            with Horizontal(classes="row"):
                yield Label(Text(_("Its words")))
                yield Input(
                    placeholder=_("those of the .lab file beside it"),
                    compact=True,
                    select_on_focus=True,
                    id="words",
                )
            yield Notice(id="notice")
            yield VerticalScroll(id="said", can_focus=False)
            yield CopyLine(_("To fetch it, on your own computer:"), "", id="fetch")
            with Horizontal(classes="buttons"):
                yield Button(_("Close"), "close")
                yield Button(_("Say it"), "say", main=True)

    def on_mount(self) -> None:
        for box in self.query(Input):
            box.cursor_blink = False
        self.query_one("#text", Input).focus()

    def on_unmount(self) -> None:
        for said in self._all:
            if said.watch is not None:
                said.watch.close()

    # asking

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._ask()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.name == "say":
            self._ask()
        else:
            self.action_close()

    def _ask(self) -> None:
        box = self.query_one("#text", Input)
        text, notice = box.value.strip(), self.query_one(Notice)
        written = self.query_one("#reference", Input).value.strip()
        words = self.query_one("#words", Input).value.strip()
        reference = self._project.resolve(expanded(written)) if written else None
        try:
            check_typed(text, _("The text"))
            if reference is not None and not words:
                transcript_beside(reference, _WORDS_HINT)
        except FishtuneError as error:
            notice.show_error(error)
            return
        notice.clear()
        box.value = ""
        box.focus()
        out = _free_name(self._project.run_folder / SPEECH, {each.out for each in self._all})
        line = CopyLine(self._about(text, _("waiting")), "")
        said = _Said(text, out, reference, words if reference else "", line)
        self._all.append(said)
        self._waiting.append(said)
        self.query_one("#said").mount(line, before=0)
        self._say_next()

    def _say_next(self) -> None:
        if self._speaking is not None or not self._waiting:
            return
        said = self._speaking = self._waiting.popleft()
        said.line.show(self._about(said.text, _("starting…")), "")
        engine, project = wizard(self).engine, self._project

        def work() -> None:
            settings = project.synth_settings(said.text, said.out)
            settings.ref_audio, settings.ref_text = said.reference, said.words
            job = engine.start(project, StageName.SYNTH, settings)
            said.watch = JobWatch(StepName.MERGE, job, self.post_message)
            said.watch.start()

        in_thread(self, work, self._could_not_start, "say", exclusive=False)

    def _could_not_start(self, error: FishtuneError) -> None:
        if self._speaking is not None:
            self._end(self._speaking, sentence(error.message), sentence(error.hint))

    # what becomes of it

    def on_job_changed(self, message: JobChanged) -> None:
        said = self._speaking
        if said is None or said.watch is None or said.watch.job.id != message.job.id:
            return
        with message.view.lock:
            end, loss = message.view.end, message.view.loss
            progress = next(reversed(message.view.progress.values()), None)
        match end:
            case Finished():
                self._finish(said, end, message.view)
            case Failed():
                self._end(said, sentence(end.message), sentence(end.hint))
            case _ if message.state is JobState.LOST:
                self._end(said, sentence(loss), str(message.job.log_path))
            case _ if message.state.is_over:
                self._end(said, _("stopped"), "")
            case _:
                said.line.show(self._about(said.text, _how_far(progress)), "")

    def _finish(self, said: _Said, end: Finished, view: RunView) -> None:
        from ...core.report.serving import copy_command  # a web server's modules, which only this needs

        seconds = end.summary.get("seconds")
        length = decimal(seconds, 1) if isinstance(seconds, int | float) else "–"
        about = _("{seconds} s").format(seconds=length)
        with view.lock:
            warnings = [sentence(each.message) for each in view.warnings]
        said.line.show(self._about(said.text, " ".join([about, *warnings[-1:]])), str(said.out))
        fetch = self.query_one("#fetch", CopyLine)
        fetch.show(fetch.purpose, copy_command(said.out))
        fetch.add_class("-shown")
        self._free(said)

    def _end(self, said: _Said, what: str, hint: str) -> None:
        said.line.show(self._about(said.text, what), "")
        self.query_one(Notice).show_failure(what, hint)
        self._free(said)

    def _free(self, said: _Said) -> None:
        if said.watch is not None:
            said.watch.close()
        self._speaking = None
        self._say_next()

    def _about(self, text: str, what: str) -> str:
        return f"{fit(text, 60)}  ·  {what}"

    # leaving

    def text_to_copy(self) -> str:
        done = [each.line.content_to_copy for each in reversed(self._all) if each.line.content_to_copy]
        return next(iter(done), "")

    def help_text(self) -> str:
        return _(
            "Enter says the text; the next can be written meanwhile. Recordings are kept in "
            "results/NAME/speech. Tab goes to them, Enter or y there copies a path.\n"
            "The model has learned a way of speaking rather than a timbre: give a clip of the speaker."
        )

    def action_close(self) -> None:
        self.dismiss(None)


def _how_far(progress: Progress | None) -> str:
    if progress is None:
        return _("loading the model…")
    return sentence(progress.detail) if progress.detail else sentence(progress.task)


def _free_name(folder: Path, taken: set[Path]) -> Path:
    """Return the first of 001.wav, 002.wav, … that is not there."""
    names = (folder / f"{number:03d}.wav" for number in count(1))
    return next(name for name in names if name not in taken and not name.exists())
