"""Typed ways from a widget to the application and to the project that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.dom import DOMNode

if TYPE_CHECKING:
    from .app import Wizard
    from .screens.project import ProjectScreen


def wizard(node: DOMNode) -> Wizard:
    """Return the application that `node` belongs to."""
    return cast("Wizard", node.app)


def project_screen(node: DOMNode) -> ProjectScreen:
    """Return the project's screen that `node` belongs to."""
    return cast("ProjectScreen", node.screen)
