"""A merge with its proof of S1-mini's true size, against a loop that reads, hashes and writes the weights.

    python benchmarks/merging.py WORK_FOLDER

WORK_FOLDER gets the checkpoint of random weights that `true_size_model.py` makes, unless it has it, and an
adapter of `r_8_alpha_16`. Merge and loop take turns, each a process of its own, and the best of each counts.
The base's hash is not known to the merge, as after a download; files are in the system's cache. CPU seconds
are those of a merge with one thread, since threads that wait for others on a busy machine burn them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from measures import Measure, show
from processes import took

ROUNDS = 2
STEPS = Path(__file__).with_name("true_size_model.py")
PLAIN = """
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    while block := source.read(1 << 24):
        digest.update(block)
        target.write(block)
"""


def measures(folder: Path) -> Iterator[Measure]:
    """Measure in `folder`."""
    for step in ("checkpoint", "adapter"):
        took(folder, STEPS, folder, "--step", step)
    weights, copy = folder / "base" / "model.pth", folder / "copy"
    plain, single, merges = [], [], []
    for _ in range(ROUNDS):
        plain.append(took(folder, "-c", PLAIN, weights, copy))
        copy.unlink()
        for taken, threads in ((single, 1), (merges, None)):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            taken.append(took(folder, STEPS, folder, "--step", "merge", threads=threads))
    shutil.rmtree(folder / "merged")
    loop, merge = (min(taken.cpu for taken in kind) for kind in (plain, single))
    yield Measure("plain loop over the weights (CPU)", loop, "s")
    yield Measure("merge with its proof (CPU)", merge, "s")
    yield Measure("merge to the plain loop (CPU)", merge / loop, "×", at_most=9)
    yield Measure("merge with its proof", min(taken.wall for taken in merges), "s", at_most=15)
    peak = max(taken.memory for taken in merges)
    base = weights.stat().st_size / 2**20
    yield Measure("memory above the size of the base", peak - base, "MiB", at_most=1024)
    yield Measure("memory of the whole process", peak, "MiB")


if __name__ == "__main__":
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    sys.exit(not show("merging", measures(work)))
