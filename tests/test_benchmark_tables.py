"""`benchmarks/all.py`: who takes part, and the tables that it puts on the page."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The script as a module, with a page of its own."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("all")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    module.PAGE.write_text("# Page\n\nWritten by hand.\n")
    yield module
    for name in ("all", "measures"):
        sys.modules.pop(name, None)


def test_every_benchmark_with_measures_takes_part(script: ModuleType) -> None:
    assert {"limits", "packing", "merging", "training_step", "wizard"} <= set(script.benchmarks())
    assert "measures" not in script.benchmarks()


def test_a_table_is_replaced_and_everything_else_stays(script: ModuleType) -> None:
    measure = script.Measure
    script.write("packing", [measure("a", 12_345.6, "s"), measure("b", 2, "×", at_most=1)], "Today, load 1.")
    script.write("training_step", [measure("c", 0.5, "", at_most=1)], "Today, load 2.")
    page = script.PAGE.read_text()
    assert page.startswith("# Page\n\nWritten by hand.\n\n### Packing\n")
    assert "| a | 12,346 s |  |\n| b | 2 × | ≤ 1 (exceeded) |" in page
    assert "### Training step" in page and "| c | 0.5 | ≤ 1 |" in page

    script.write("packing", [measure("a", 1, "s")], "Tomorrow, load 3.")
    again = script.PAGE.read_text()
    assert "12,346" not in again and "Today, load 1." not in again and "Tomorrow, load 3." in again
    assert again.count("### Packing") == 1
    assert again.partition("### Training step")[2] == page.partition("### Training step")[2]
