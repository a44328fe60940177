"""SVG pictures of the wizard's screens into docs/screens/, at 80×24 and 120×40.

    python benchmarks/screenshots.py [PROJECT]

Without PROJECT the demo project is made and run through all steps first (two minutes). All that is shown
is real but for the GPU: readings of one are made up, so that the header can be seen on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "tui"))
from fishtune.tui.app import Wizard
from fishtune.tui.engine import Engine
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.wizard_settings import WizardSettings
from wizard_helpers import READING, FakeGpus

SIZES = ((80, 24), (120, 40))
STEPS = ("1-dataset", "2-model", "3-extract", "4-pack", "5-train", "6-merge")


class _Engine(Engine):
    def gpu_source(self) -> FakeGpus:
        return FakeGpus(READING)


def main() -> None:
    """Make all pictures."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("project", nargs="?", type=Path)
    arguments.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "docs" / "screens")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_STATE_HOME"] = temporary
        project = chosen.project
        if project is None:
            project = Path(temporary) / "demo"
            subprocess.run(
                [sys.executable, "-P", "-m", "fishtune.core.cli", "demo", str(project)], check=True
            )
        chosen.output.mkdir(parents=True, exist_ok=True)
        for size in SIZES:
            asyncio.run(_picture_all(project, size, chosen.output))


async def _picture_all(project: Path, size: tuple[int, int], output: Path) -> None:
    app = Wizard(WizardSettings(), engine=_Engine())
    suffix = f"{size[0]}x{size[1]}"
    async with app.run_test(size=size) as pilot:
        await pilot.pause(1.5)
        _save(app, output / f"0-start-{suffix}.svg")
        app.open_project(project)
        while not (isinstance(app.screen, ProjectScreen) and app.screen.pane is not None):
            await pilot.pause(0.1)
        for number, name in enumerate(STEPS, start=1):
            await pilot.press(str(number))
            await pilot.pause(2.0)
            if name == "6-merge":
                app.screen.pane.show_monitor(False)
                await pilot.pause(0.5)
            _save(app, output / f"{name}-{suffix}.svg")
        await pilot.press("5")
        await pilot.pause(0.5)
        app.screen.pane.show_monitor(False)
        await pilot.pause(2.0)
        _save(app, output / f"5-train-before-{suffix}.svg")


def _save(app: Wizard, target: Path) -> None:
    picture = app.export_screenshot(title="fishtune-tui")
    # The same screen gives the same file: no random names, and no font from somebody else's server.
    picture = re.sub(r"terminal-\d+", "terminal", picture)
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    target.write_text(picture, encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
