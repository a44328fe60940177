"""Pages with recordings to be heard: one file of what they all have and of what each has itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import write_text
from ...reading import open_regular, reading
from ..html import self_contained
from ..languages import page_texts

_MADE_BY = b'<meta name="generator" content="fishtune listen">'
_HEAD = 1 << 12
"""Bytes of a page in which that stands."""
_SCRIPTS = ("words.js", "parts.js", "drawing.js", "player.js")


def check_output(output: Path) -> None:
    """Refuse to replace what is not a page of ours; an earlier one is made again.

    Raises:
        UsageError: something else lies there.
    """
    if not os.path.lexists(output):
        return
    if output.is_file():
        with open_regular(output, UsageError) as file, reading(output, UsageError):
            if _MADE_BY in file.read(_HEAD):
                return
    raise UsageError(
        "{file} exists already, and fishtune did not write it.", "Choose another --output.", file=output
    )


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
