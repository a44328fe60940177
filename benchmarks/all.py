"""All benchmarks of the CPU that have limits, in one table beside them.

    python benchmarks/all.py [NAME …] [--work FOLDER] [--write]

NAME is a module of this folder, such as `packing`; without one, all are run. Exits with 1 if a limit is
exceeded. A benchmark joins by a function `measures(folder)`; what it needs it makes in the folder, and finds
again there. Each runs in a process of its own. Nothing here is a test, because a loaded machine would fail
it; ratios are to something that is measured in the same run.

    --work FOLDER  keeps weights and recordings for another run (4 GB)
    --write        puts the tables of what was run into docs/performance.md
"""

from __future__ import annotations

import argparse
import importlib
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from measures import Measure, rows, show

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
_JOINED = re.compile(r"^def measures\(", re.MULTILINE)


def benchmarks() -> list[str]:
    """Return the names of the benchmarks that have joined."""
    return sorted(path.stem for path in HERE.glob("*.py") if _JOINED.search(path.read_text("utf-8")))


def run_here(name: str, folder: Path, found: Path) -> None:
    """Run a benchmark in this process, print its table, and put its measures into the file `found`."""
    measured: list[Measure] = []

    def kept() -> Iterator[Measure]:
        for measure in importlib.import_module(name).measures(folder):
            measured.append(measure)
            yield measure

    show(name, kept())
    found.write_bytes(pickle.dumps(measured))


def run(name: str, folder: Path) -> list[Measure] | None:
    """Run a benchmark in a process of its own; return its measures, or None if it failed."""
    found = folder / f"{name}.measures"
    found.unlink(missing_ok=True)
    subprocess.run([sys.executable, __file__, name, "--work", folder, "--found", found], check=False)
    return pickle.loads(found.read_bytes()) if found.exists() else None


def conditions(load: tuple[float, ...]) -> str:
    """Return what a table was measured on.

    Args:
        load: averages of a minute when it began.
    """
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    now = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores of {names[0] if names else '?'}, "
        f"torch {version('torch')}; load average {load[0]:.1f} at the beginning, {now:.1f} at the end."
    )


def write(name: str, measured: list[Measure], about: str) -> None:
    """Put a benchmark's table into its place on the page."""
    text = PAGE.read_text("utf-8")
    begin, end = f"<!-- {name}: made by benchmarks/all.py -->", f"<!-- end of {name} -->"
    if begin not in text:
        text += f"\n### {name.replace('_', ' ').capitalize()}\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    table = "\n".join(("| what | measured | limit |", "| --- | --- | --- |", *rows(measured)))
    PAGE.write_text(f"{before}{begin}\n{about}\n\n{table}\n{end}{after}", "utf-8")


def main() -> int:
    """Run the benchmarks that are asked for; return 1 if a limit is exceeded or one failed."""
    known = benchmarks()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(known)}")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--found", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"there is no benchmark {unknown[0]!r}; name any of: {', '.join(known)}")
    if options.found:
        run_here(options.names[0], options.work, options.found)
        return 0
    is_within = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names or known:
            load = os.getloadavg()
            measured = run(name, folder)
            is_within = is_within and measured is not None and all(each.is_within for each in measured)
            if measured is not None and options.write:
                write(name, measured, conditions(load))
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
