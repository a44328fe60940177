"""The one registry of actions: keys, footer, command palette and help are made from it.

An action `name` calls `action_<name>` of the screen, or of the application where the screen has none.
Keys can be changed in the settings file, table `[keys]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding, BindingType

from .catalogue import mark

Scope = Literal["everywhere", "project"]
Command = tuple[str, str, Callable[[], None]]
"""Label, help and callback of what only the palette offers: what stands on a screen's buttons."""


@dataclass(frozen=True)
class Action:
    """Something a user can do with a key.

    Args:
        keys: default keys in Textual's names, comma separated.
        label: short word for the footer and the palette.
        help: one sentence for help and palette.
    """

    name: str
    keys: str
    label: str
    help: str
    scope: Scope = "everywhere"


ACTIONS = (
    Action(
        "leave",
        "q,ctrl+q",
        mark("Quit"),
        mark("Leave the wizard. A running job keeps running; the last line says how to come back."),
    ),
    Action(
        "show_help", "question_mark,f1", mark("Help"), mark("Explain the step that is open, with its keys.")
    ),
    Action("previous_step", "ctrl+up", mark("Previous step"), mark("Go to the step above."), "project"),
    Action("next_step", "ctrl+down", mark("Next step"), mark("Go to the step below."), "project"),
    Action("run_step", "r", mark("Run"), mark("Do what the step's main button does."), "project"),
    Action(
        "stop_job",
        "s",
        mark("Stop"),
        mark(
            "Ask the running job to save and stop; a training asks back first. Pressed again: end it at once."
        ),
        "project",
    ),
    Action("toggle_log", "l", mark("Log"), mark("Show or hide the job's log."), "project"),
    Action(
        "save_log", "w", mark("Save log"), mark("Write the job's log into a file of your choice."), "project"
    ),
    Action("page_log", "v", mark("Page log"), mark("Open the whole log in $PAGER."), "project"),
    Action(
        "search",
        "slash",
        mark("Search"),
        mark("Search the clips of the data set: names and transcripts. Esc shows all again."),
        "project",
    ),
    Action(
        "copy",
        "y",
        mark("Copy"),
        mark("Copy the selected row, path or command to the clipboard, also over SSH and inside tmux."),
    ),
    Action(
        "undo",
        "ctrl+z,u",
        mark("Undo"),
        mark("Take back the last change of a setting, in the form and in the file; again: the one before."),
        "project",
    ),
    Action("refresh", "ctrl+r", mark("Refresh"), mark("Look at the disk again."), "project"),
    Action("show_gpus", "g", mark("GPUs"), mark("Show every GPU and the processes that hold its memory.")),
    Action("next_theme", "ctrl+t", mark("Theme"), mark("Change to the next theme.")),
    Action(
        "back",
        "escape",
        mark("Back"),
        mark("Go back: from a field to the steps, from there to the start page."),
    ),
)
BY_NAME = {action.name: action for action in ACTIONS}

BUTTON_KEYS = {
    "audition": "a",
    "result": "a",
    "continue": "c",
    "demo": "d",
    "proofread": "e",
    "settings": "e",
    "choose": "f",
    "verify": "f",
    "listen": "i",
    "normalise": "m",
    "run": "n",
    "save": "o",
    "prepare": "p",
    "say": "t",
    "token": "t",
}
"""A key for each of a step's buttons, by the button's name, in every language. The main button has Enter, and
what stops a job the action's own key."""


def bindings(scope: Scope) -> list[BindingType]:
    """Return Textual bindings of all actions of `scope`; the action's name is the key-map id."""
    return [
        Binding(action.keys, action.name, action.label, show=False, id=action.name)
        for action in ACTIONS
        if action.scope == scope
    ]


def keys_of(name: str, changed: Mapping[str, str]) -> str:
    """Return the keys of an action, from the user's key map or the default."""
    return changed.get(name, BY_NAME[name].keys)


def key_label(keys: str) -> str:
    """Return the first of some keys as people write it: `?`, `Ctrl+R`, `Esc`."""
    first = keys.split(",")[0].strip()
    names = {
        "question_mark": "?",
        "escape": "Esc",
        "enter": "⏎",
        "tab": "Tab",
        "slash": "/",
        "space": "␣",
        "up": "↑",
        "down": "↓",
    }
    parts = [names.get(part, part if len(part) == 1 else part.capitalize()) for part in first.split("+")]
    if len(parts) > 1:
        parts[-1] = parts[-1].upper() if len(parts[-1]) == 1 else parts[-1]
    return "+".join(parts)
