"""The list of steps."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ...core.pipeline.steps import StepState
from ..access import project_screen
from ..catalogue import _
from ..glyphs import LINES, Glyphs
from ..project_state import ShownStep
from ..wording import fit, padded

_ROWS_EACH = 3
_MARK_CELLS = 2


def in_two(words: str, width: int) -> tuple[str, str]:
    """Return words in two lines, broken at their comma, where one of `width` cells is too short."""
    first, comma, rest = words.partition(", ")
    return (first, rest) if comma and cell_len(words) > width else (words, "")


class StepList(Widget, can_focus=True):
    """The six steps, each with a mark, a word and a colour for its state; below them the one to do next."""

    DEFAULT_CSS = """
    StepList { width: 18; height: 100%; border-right: solid $frame; }
    StepList > .step--done { color: $success; }
    StepList > .step--ready { color: $foreground; }
    StepList > .step--running { color: $primary; }
    StepList > .step--unfinished, StepList > .step--stale { color: $warning; }
    StepList > .step--failed { color: $error; }
    StepList > .step--locked { color: $muted; }
    """
    COMPONENT_CLASSES = {f"step--{state.value}" for state in StepState}
    BINDINGS = [
        Binding("up", "screen.previous_step", show=False),
        Binding("down", "screen.next_step", show=False),
        Binding("enter", "run", show=False),
        Binding("right", "enter_step", show=False),
    ]
    current: reactive[int] = reactive(0)
    steps: reactive[Sequence[ShownStep]] = reactive(())

    class Chosen(Message):
        """Another step is to be shown."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    class Run(Message):
        """Enter was pressed on a step."""

    def __init__(self, glyphs: Glyphs = LINES, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs

    def render(self) -> Text:
        text = Text(no_wrap=True, overflow="crop")
        width = self.size.width
        for index, step in enumerate(self.steps):
            chosen = index == self.current
            state = self.get_component_rich_style(f"step--{step.state.value}", partial=True)
            title = f" {getattr(self._glyphs, step.state.value)} {index + 1} {_(step.title)}"
            line = Text(padded(title, width), no_wrap=True)
            if chosen and self.has_focus:
                line.stylize("reverse")
            else:
                line.stylize(state, 0, None if step.state is StepState.LOCKED else _MARK_CELLS)
                line.stylize("bold" if chosen else "")
            text.append_text(line).append("\n")
            for words in in_two(step.word, width - 3):
                text.append(fit(f"   {words}", width).rstrip() + "\n", style=state)
        to_do = (StepState.READY, StepState.UNFINISHED)
        following = next((step for step in self.steps if step.state in to_do), None)
        if following is not None:
            text.append("\n" * (self.size.height - _ROWS_EACH * len(self.steps) - 2))
            text.append("─" * width + "\n")
            text.append(fit(" " + _("next: {step}").format(step=_(following.title)), width))
        return text

    def action_run(self) -> None:
        self.post_message(self.Run())

    def action_enter_step(self) -> None:
        # At once and not by a message: the next key may be there already and means the new focus.
        project_screen(self).enter_step()

    def on_click(self, event: events.Click) -> None:
        index = event.y // _ROWS_EACH
        if index < len(self.steps):
            self.post_message(self.Chosen(index))
