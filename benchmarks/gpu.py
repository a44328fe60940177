"""Measure everything that needs a GPU, on a bare machine, within so many minutes.

    python benchmarks/gpu.py --minutes 8 --out FOLDER
    python benchmarks/gpu.py --minutes 1 --out FOLDER --tiny      tiny shapes on the CPU: is the script whole?

FOLDER gets `gpu.json`, `gpu.md` and `gpu.log`, the first two whole after every row. Parts run in processes of
their own, the most important first; one that fails or takes too long costs only itself. Random weights of
S1-mini's shape (3.6 GB) are made on the machine. docs/gpu.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from on_gpu.bench import TINY_SIZES, TRUE_SIZES, Bench
from on_gpu.parts import LOADED, PARTS
from on_gpu.report import Report
from on_gpu.running import Outcome, Part, run_parts, start_method

_LAST_SECONDS = 2.0
"""Left for ending what runs and for writing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code: 0 if every part was measured and is as it must be."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True, help="bound for everything")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the CPU; nothing is measured")
    parser.add_argument(
        "--work", type=Path, help="folder for weights, clips and recordings, kept for another time"
    )
    parser.add_argument(
        "--only", action="append", default=[], help="parts whose name holds this; may be repeated"
    )
    options = parser.parse_args(arguments)
    parts = [part for part in PARTS if not options.only or any(text in part.name for text in options.only)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    deadline = begun + options.minutes * 60 - _LAST_SECONDS
    with (
        tempfile.TemporaryDirectory(prefix="fishtune-gpu-")
        if options.work is None
        else nullcontext(options.work)
    ) as work:
        return measure(parts, Path(work), options.out, deadline, tiny=options.tiny)


def measure(parts: Sequence[Part], work: Path, out: Path, deadline: float, *, tiny: bool) -> int:
    """Run `parts` until `deadline` (`time.monotonic`), write the report to `out`; return the exit code."""
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")  # what the user's own runs have measured stays
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "results", ignore_errors=True)  # runs of another time would be resumed
    log = out / "gpu.log"
    log.unlink(missing_ok=True)
    bench = Bench(work, "cpu", TINY_SIZES) if tiny else Bench(work, "cuda", TRUE_SIZES)
    minutes = (deadline - time.monotonic()) / 60
    context = start_method(bench, log, LOADED)
    about = {
        "minutes": minutes,
        "size": bench.sizes.shape,
        "device": bench.device,
        "processes": context.get_start_method(),
    }
    report = Report(out, about)
    shown: dict[str, str] = {}

    def changed(outcomes: Sequence[Outcome]) -> None:
        report.write(outcomes)
        for outcome in outcomes:
            if shown.get(outcome.part, "waiting") != outcome.state:
                shown[outcome.part] = outcome.state
                print(f"{outcome.part}: {outcome.state} {outcome.error}".rstrip(), flush=True)

    outcomes = run_parts(parts, bench, deadline, log, context, changed)
    return 0 if all(outcome.well for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
