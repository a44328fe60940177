"""Elements of a page that is written whole; what is put into them is escaped when the page is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement


def add(parent: Element, tag: str, text: str = "", attributes: Mapping[str, str] | None = None) -> Element:
    """Add an element with a text, and return it."""
    element = SubElement(parent, tag, dict(attributes or {}))
    element.text = text or None
    return element


def table(
    parent: Element, headings: Sequence[str] | None, rows: Sequence[tuple[Sequence[str], bool]]
) -> None:
    """Add a table; the first cell of a row is its heading, and chosen rows are marked."""
    grid = add(add(parent, "div", attributes={"class": "scroll"}), "table")
    if headings is not None:
        line = add(add(grid, "thead"), "tr")
        for heading in headings:
            add(line, "th", heading, {"scope": "col"})
    body = add(grid, "tbody")
    for cells, is_chosen in rows:
        line = add(body, "tr", attributes={"class": "chosen"} if is_chosen else None)
        for place, cell in enumerate(cells):
            add(line, "td" if place else "th", cell, None if place else {"scope": "row"})
