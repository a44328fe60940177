"""Pages with recordings to be heard: one file of what they all have and of what each has itself."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ...files import write_text
from ..html import self_contained
from ..languages import page_texts

MADE_BY = "fishtune listen"
"""Which command writes these pages; `page.html` says so."""
_SCRIPTS = ("words.js", "parts.js", "drawing.js", "player.js")


def write_page(
    output: Path, own: Traversable, scripts: Sequence[str], data: dict[str, Any], title: str
) -> None:
    """Write a page.

    Args:
        own: the folder of what this page has and others have not: `page.css`, `texts.toml`, scripts.
        scripts: names of those scripts, in the order in which they are run, after the ones that all have.
        data: what JSON can hold; `texts` is added to it, `clips` are the recordings (`clips.Clip`).

    Raises:
        StorageError: it cannot be written.
    """
    common = files(__package__ or "")
    texts = page_texts(common) | page_texts(own)
    content = self_contained(
        common / "page.html",
        [common / "base.css", own / "page.css"],
        [*(common / name for name in _SCRIPTS), *(own / name for name in scripts)],
        {**data, "texts": texts},
        title=title,
    )
    write_text(output, content)
