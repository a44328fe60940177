"""One HTML file of a template, its styles, its scripts and its data.

The page's own policy (Content-Security-Policy) lets only what is in it run and apply, by hash, and lets it
load nothing but data: addresses. Foreign text travels as JSON, and scripts put it into the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any

from ..errors import UsageError
from ..reading import open_regular, reading
from ..terminal import json_text

_POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; media-src data:; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)

_HEAD = 1 << 12
"""Bytes of a page in which stands what made it."""


def check_output(output: Path, generator: str) -> None:
    """Refuse to replace what is not a page by `generator` ("fishtune listen"); an earlier one is made again.

    Raises:
        UsageError: something else is there.
    """
    if not os.path.lexists(output):
        return
    if output.is_file():
        with open_regular(output, UsageError) as file, reading(output, UsageError):
            if f'<meta name="generator" content="{generator}"'.encode() in file.read(_HEAD):
                return
    raise UsageError(
        "{file} exists already, and fishtune did not write it.", "Choose another --output.", file=output
    )


def self_contained(
    template: Traversable,
    styles: Sequence[Traversable],
    scripts: Sequence[Traversable],
    data: Any,
    *,
    title: str,
    language: str = "en",
) -> str:
    """Return the page that a template, styles and scripts make.

    The template names `$language`, `$title`, `$policy`, `$style`, `$data` and `$script`.

    Args:
        scripts: files that are run one after another in one scope of their own.
        data: what JSON can hold; the page finds it in its element `data`.
    """
    style = _joined(styles)
    parts = _joined(scripts)
    script = f'(() => {{\n"use strict";\n{parts}\n}})();\n'
    # "<" would end the element that holds the data, or begin a comment in it.
    held = json_text(data, None).replace("<", "\\u003c")
    return Template(template.read_text("utf-8")).substitute(
        language=html.escape(language),
        title=html.escape(title),
        policy=html.escape(policy(style, script)),
        style=style,
        data=held,
        script=script,
    )


def _joined(files: Sequence[Traversable]) -> str:
    return "\n".join(file.read_text("utf-8") for file in files)


def policy(style: str, script: str | None = None) -> str:
    """Return the policy of a page that has this style and, if any, this script, and nothing else."""
    return _POLICY.format(script=_hash(script) if script is not None else "'none'", style=_hash(style))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
    return f"'sha256-{digest}'"
