"""One clip in full: what was found, its words, what packing strips, its waveform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from ...core.config.project import Project
from ...core.dataset.findings import Finding
from ...core.errors import FishtuneError
from ...core.messages import from_data
from ..access import wizard
from ..base_screen import Dialog
from ..catalogue import _, sentence
from ..glyphs import Glyphs, waveform
from ..trouble import in_background
from ..widgets.button import Button
from ..wording import decimal, harmless

_LONGEST_TRANSCRIPT = 2000
_ROWS, _TALL = 3, 36
"""Lines of the waveform, and from which height of the screen on it has twice as many."""


class ClipScreen(Dialog[bool | None]):
    """Gives True if the clip was left out, False if it was taken in again, None if nothing was decided.

    Args:
        clip: SPEAKER/NAME; None for a finding that concerns no single clip.
    """

    BINDINGS = [
        Binding("escape,q", "close", show=False),
        Binding("x", "leave_out", show=False),
        Binding("y", "copy_path", show=False),
        Binding("question_mark,f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    ClipScreen .dialog { width: 96%; max-width: 110; height: auto; }
    ClipScreen VerticalScroll { height: auto; max-height: 70vh; }
    ClipScreen Static { height: auto; }
    ClipScreen #wave { color: $primary; margin: 1 0 0 0; }
    """

    def __init__(self, project: Project, clip: str | None, finding: Finding | None) -> None:
        super().__init__()
        self._project = project
        self._clip = clip
        self._finding = finding

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            with VerticalScroll():
                yield Static(self._found(), markup=False)
                yield Static("", id="wave", markup=False)
                yield Static("", id="detail", markup=False)
            with Horizontal(classes="buttons"):
                if self._clip is not None:
                    yield Button(self._toggle_label(), "toggle")
                yield Button(_("Copy path"), "copy")
                yield Button(_("Close"), "close", main=True)

    def on_mount(self) -> None:
        self.query(Button).last().focus()
        if self._clip is not None:
            in_background(self, self._look_closer, self._show_error)

    def _toggle_label(self) -> str:
        return _("Include again") if self._is_left_out else _("Leave this clip out")

    @property
    def _is_left_out(self) -> bool:
        return self._clip in self._project.dataset.exclude

    def _found(self) -> Text:
        text = Text()
        if self._finding is not None:
            text.append(harmless(sentence(self._finding.what)) + "\n", style="bold")
            text.append("→ " + harmless(sentence(self._finding.what_to_do)) + "\n")
            text.append(harmless(self._finding.path), style="dim")
        elif self._clip is not None:
            text.append(harmless(self._clip), style="bold")
        return text

    async def _look_closer(self) -> None:
        assert self._clip is not None, "only started for a clip"
        points = max(min(self.size.width - 10, 96), 20)
        detail = await wizard(self).engine.inspect_clip(self._project, self._clip, points)
        if detail["outline"]:
            rows = _ROWS if self.size.height < _TALL else 2 * _ROWS
            wave = self.query_one("#wave", Static)
            wave.update(drawn_wave(wizard(self).glyphs, detail["outline"], detail.get("seconds"), rows))
        self.query_one("#detail", Static).update(detail_text(detail, self._finding))

    def _show_error(self, error: FishtuneError) -> None:
        self.query_one("#detail", Static).update(Text(harmless(sentence(error.message))))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.name:
            case "toggle":
                self.action_leave_out()
            case "copy":
                self.action_copy_path()
            case _:
                self.action_close()

    def action_leave_out(self) -> None:
        if self._clip is None:
            return
        left_out = not self._is_left_out
        others = [key for key in self._project.dataset.exclude if key != self._clip]
        self._project.dataset.exclude = sorted([*others, self._clip]) if left_out else others
        self.dismiss(left_out)

    def action_copy_path(self) -> None:
        path = self._finding.path if self._finding is not None else self._project.data / str(self._clip)
        wizard(self).copy(str(path))

    def help_text(self) -> str:
        """Return what should be known here."""
        return _(
            "x leaves the clip out of training or takes it in again, y copies the path, Esc closes. The "
            "recording and its transcript are never touched; correct them in your own editor and check again."
        )

    def action_close(self) -> None:
        self.dismiss(None)


def drawn_wave(glyphs: Glyphs, outline: list[float], seconds: float | None, rows: int) -> Text:
    """Return the waveform, and a line with the times of its ends below it."""
    text = Text(waveform(glyphs, outline, rows), no_wrap=True, overflow="crop")
    if seconds is not None:
        begin, end = "0 s", _("{seconds} s").format(seconds=decimal(seconds, 1))
        gap = " " * max(len(outline) - len(begin) - len(end), 1)
        text.append(f"\n{begin}{gap}{end}", style="dim")
    return text


def detail_text(detail: dict[str, Any], shown: Finding | None = None) -> Text:
    """Return what a closer look told about a clip.

    Args:
        shown: the finding that stands above already.
    """
    text = Text()
    if detail.get("dropped"):
        text.append(_("Not used: {reason}.").format(reason=_(detail["dropped"])) + "\n", style="bold")
    for found in detail.get("findings", ()):
        what, advice = sentence(from_data(found["what"])), sentence(from_data(found["what_to_do"]))
        if shown is None or what != sentence(shown.what):
            text.append(harmless(what) + "\n", style="bold")
            text.append("→ " + harmless(advice) + "\n\n")
    numbers = []
    if detail.get("seconds") is not None:
        numbers = [
            _("{seconds} s").format(seconds=decimal(detail["seconds"], 2)),
            f"{detail['sample_rate']:,} Hz",
            _("mono")
            if detail["channels"] == 1
            else _("{channels} channels").format(channels=detail["channels"]),
            f"{decimal(detail['loudness'], 1)} LUFS",
            _("peak {peak} dBFS").format(peak=decimal(detail["peak"], 1)),
        ]
    if numbers:
        text.append(" · ".join(numbers) + "\n", style="dim")
    for title, key in ((_("Transcript"), "transcript"), (_("As it is trained"), "packed")):
        if detail.get(key):
            text.append(f"\n{title}\n", style="bold")
            text.append(harmless(detail[key], _LONGEST_TRANSCRIPT) + "\n")
    if detail.get("stripped"):
        text.append("\n" + _("Packing strips") + "\n", style="bold")
        text.append("  ".join(harmless(part) for part in detail["stripped"]) + "\n")
    audio: Path | str | None = detail.get("audio")
    if audio:
        text.append("\n" + harmless(audio), style="dim")
    return text
