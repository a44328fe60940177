"""A headless Chromium for the pages that fishtune makes; whatever a page says or asks for is a failure."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT = 20_000  # ms, on a busy machine
MISSING = "Chromium" if CHROMIUM is None else "playwright" if find_spec("playwright") is None else ""
NOT_TESTED = f"NO {MISSING.upper()}: the pages to listen to are not tested. Install it: make test-browser"
if MISSING:
    warnings.warn(NOT_TESTED, stacklevel=1)
needs_browser = pytest.mark.skipif(bool(MISSING), reason=NOT_TESTED)

SOUNDING = "[...document.querySelectorAll('audio')].filter(each => !each.paused && !each.ended)"
NAMELESS = (
    "[...document.querySelectorAll('button, input, select, textarea')].filter("
    "each => !each.textContent.trim() && !each.ariaLabel && !each.labels?.length).length"
)
"""How many controls have no name that a screen reader could say."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Give a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@contextmanager
def opened_page(browser: Any, page_file: Path, ready: str) -> Iterator[Any]:
    """Give a page, opened in English; what it writes to the console or asks for is a failure.

    Args:
        ready: selector of what is there once the page is.
    """
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, locale="en-US", accept_downloads=True
    )
    page = context.new_page()
    page.set_default_timeout(WAIT)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_selector(ready)
    yield page
    assert [text for text in said if text != page_file.as_uri()] == []
    context.close()


def wait_until(page: Any, condition: str) -> None:
    """Wait until a JavaScript expression is true; the page's policy forbids the driver's own way."""
    deadline = time.monotonic() + WAIT / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def wait_for_sound(page: Any, after: float = 0.0) -> None:
    """Wait until exactly one clip sounds and is past a position."""
    wait_until(page, f"{SOUNDING}.length === 1 && {SOUNDING}[0].currentTime > {after}")
