"""States are told apart by whoever sees colours in another way, or none at all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
from fishtune.core.pipeline.steps import StepName, StepState
from fishtune.tui.app import Wizard
from fishtune.tui.project_state import WORDS, ShownStep
from fishtune.tui.themes import ANSI, DARK, HIGH_CONTRAST, LIGHT
from fishtune.tui.widgets.step_list import StepList
from fishtune.tui.wizard_settings import WizardSettings
from test_contrast import XTERM
from textual.theme import Theme
from wizard_helpers import FakeEngine, shown, until_open, until_shown

Matrix = tuple[tuple[float, float, float], ...]
Linear = tuple[float, ...]
SEEN: dict[str, Matrix] = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""How linear RGB is seen: Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of
Color Vision Deficiency", IEEE TVCG 15 (2009), the matrices of severity 1.0."""
LEAST = 15.0
"""Least CIE 1976 ΔE*ab between two states; 2.3 is just noticeable side by side."""
STATES = ("primary", "success", "warning", "error")
"""Running (and the accent), done, needs update or unfinished, failed."""


def linear(color: str) -> Linear:
    """Return an sRGB colour `#rrggbb` as linear RGB (IEC 61966-2-1)."""
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def seen(color: Linear, matrix: Matrix) -> Linear:
    """Return how a linear colour is seen, cut to what a screen can show."""
    mixed = (sum(a * b for a, b in zip(row, color, strict=True)) for row in matrix)
    return tuple(min(max(part, 0.0), 1.0) for part in mixed)


def lab(color: Linear) -> Linear:
    """Return linear RGB as CIE 1976 L*a*b* under D65."""
    red, green, blue = color
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    fx, fy, fz = (
        part ** (1 / 3) if part > (6 / 29) ** 3 else part / (3 * (6 / 29) ** 2) + 4 / 29 for part in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def difference(one: Linear, other: Linear) -> float:
    """Return ΔE*ab of two linear colours."""
    return sum((a - b) ** 2 for a, b in zip(lab(one), lab(other), strict=True)) ** 0.5


def colors_of(theme: Theme) -> dict[str, Linear]:
    """Return the colours of states."""
    return {name: linear(str(getattr(theme, name))) for name in STATES}


@pytest.mark.parametrize("vision", SEEN)
@pytest.mark.parametrize("theme", [DARK, LIGHT, HIGH_CONTRAST], ids=lambda theme: theme.name)
def test_the_colours_of_states_stay_apart(theme: Theme, vision: str) -> None:
    colors = {name: seen(color, SEEN[vision]) for name, color in colors_of(theme).items()}
    close = {
        f"{one}, {other}": round(found, 1)
        for one, other in combinations(STATES, 2)
        if (found := difference(colors[one], colors[other])) < LEAST
    }
    assert not close


def test_the_terminal_s_own_colours_are_not_enough_for_everybody_so_signs_tell() -> None:
    # What xterm makes of them; nobody but the terminal's owner can change that.
    names = ("bright_green", "bright_yellow")
    assert (ANSI.success, ANSI.warning) == tuple(f"ansi_{name}" for name in names)
    green, yellow = (linear(XTERM.ansi_colors[at].hex) for at in (10, 11))
    matrix = SEEN["protanopia"]
    assert difference(seen(green, matrix), seen(yellow, matrix)) < LEAST


def test_the_difference_of_colours_is_that_of_the_standard() -> None:
    white, black, red = linear("#ffffff"), linear("#000000"), linear("#ff0000")
    assert difference(white, black) == pytest.approx(100, abs=0.01)
    assert lab(red) == pytest.approx((53.24, 80.09, 67.20), abs=0.02)
    assert difference(seen(red, SEEN["protanopia"]), red) > LEAST


@pytest.mark.parametrize("ascii_only", [False, True], ids=["lines", "ascii"])
async def test_without_any_colour_each_state_has_a_sign_and_a_word_in_the_list_of_steps(
    wizard: Callable[..., Wizard], monkeypatch: pytest.MonkeyPatch, ascii_only: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    settings = WizardSettings(theme="ansi-dark", ascii=ascii_only)
    project = wizard()._first_project
    app = Wizard(settings, project=project, engine=FakeEngine(), no_color=True)
    told: dict[StepState, tuple[str, str]] = {}
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        for states in (list(StepState)[:6], list(StepState)[1:]):  # there are seven
            screen.query_one(StepList).steps = [
                ShownStep(name, state, WORDS[state], "") for name, state in zip(StepName, states, strict=True)
            ]
            await pilot.pause()
            await until_shown(app, *(WORDS[state] for state in states))
            rows = [row[2:17] for row in shown(app).splitlines()[1:]]
            for number, state in enumerate(states):
                told[state] = rows[3 * number].split()[0], rows[3 * number + 1].strip()
    for part in range(2):
        assert len({both[part] for both in told.values()}) == len(StepState), told
