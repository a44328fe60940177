"""Give thousands of damaged and hostile files to every reader, each with a limit of time and of memory.

    python benchmarks/fuzz.py --count 2000 --seed 1

Files, ways to damage them and what the commands call to read them are those of `tests/hostile_files.py`,
whose tests do a few of each. Every input is read in a child process with a limit of 20 s and of the
addresses that it may take beyond those of an idle one. Prints what was neither a result nor a refusal in a
sentence, one line a kind, with how often, where, and the number of the first input (`--first N --count 1`
repeats it alone), and exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.hostile_files import ADDRESSES, READERS, Arena, Outcome, Reader, limited
from tests.hostile_world import make_world, private_home

SECONDS = 20.0
"""Of the processor's time, so that a busy machine makes nothing hang."""
LONGEST_WAIT = 10 * SECONDS
"""Seconds by the clock: what sleeps, hangs too."""
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass
class Tally:
    """What came of the inputs so far."""

    counts: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    right: Counter[str] = field(default_factory=Counter)

    def add(self, number: int, reader: Reader, outcome: Outcome) -> bool:
        """Count an outcome; return whether it is the first of its kind."""
        if outcome.is_right:
            self.right[outcome.kind] += 1
            return False
        key = outcome.kind, reader.name, outcome.place, outcome.summary
        self.counts[key] += 1
        self.first[key] = min(number, self.first.get(key, number))
        return self.counts[key] == 1

    def show(self) -> None:
        """Print all kinds, the most frequent first."""
        print(", ".join(f"{count:,} {kind}" for kind, count in sorted(self.right.items())))
        for key, times in self.counts.most_common():
            kind, reader, place, what = key
            print(f"{times:5} {kind:10} {reader:15} #{self.first[key]:<6} {place} {what}")


def chosen(names: list[str], seed: int, number: int) -> tuple[Reader, Random]:
    """Return the reader of an input, and the randomness that makes the input."""
    reader = READERS[names[number % len(names)]]
    return reader, Random(f"{reader.name} {seed} {number}")


def serve(connection: Connection, root: Path, names: list[str], seed: int, save: Path | None) -> None:
    """Read the inputs whose numbers arrive, and answer with their outcomes; the child process."""
    os.environ |= private_home(root)
    _be_silent()
    make_world(root)
    arena = Arena(root)
    arena.prepare(names)
    connection.send(None)
    while (number := connection.recv()) is not None:
        reader, random = chosen(names, seed, number)
        file, content, is_whole = arena.damage(reader, random)
        if save is not None:
            (save / f"{reader.name.replace(' ', '-')}-{number}{file.suffix or '.bin'}").write_bytes(content)
        with limited(ADDRESSES):
            outcome = arena.judge(reader, file, content, is_whole=is_whole)
        connection.send(outcome)


def _be_silent() -> None:
    # libmpg123 writes notes about every broken frame.
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 2)


class Child:
    """A process that reads inputs, and that is replaced when one of them hangs or kills it."""

    def __init__(self, names: list[str], seed: int, save: Path | None) -> None:
        self._arguments = (names, seed, save)
        self._process: multiprocessing.process.BaseProcess | None = None

    def judge(self, number: int) -> Outcome:
        """Return what came of an input."""
        if self._process is None:
            self._start()
        begun, used = time.monotonic(), self._processor_seconds()
        self._connection.send(number)
        try:
            while self._processor_seconds() - used < SECONDS and time.monotonic() - begun < LONGEST_WAIT:
                if self._connection.poll(1.0):
                    outcome: Outcome = self._connection.recv()
                    return outcome
            what = Outcome("unforeseen", what=f"hangs: more than {SECONDS:.0f} s")
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join()
            what = Outcome("unforeseen", what=f"the process died: {self._process.exitcode}")
        self.close()
        return what

    def _processor_seconds(self) -> float:
        assert self._process is not None
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it died, or this is not Linux
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=serve, args=(theirs, self._folder, *self._arguments), daemon=True
        )
        self._process.start()
        theirs.close()
        self._connection.recv()

    def close(self) -> None:
        """End the process and remove its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        self._process = None


def main() -> int:
    """Read the inputs and print what came of them; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument(
        "--reader", action="append", choices=sorted(READERS), help="only this one; may be repeated"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", type=Path, help="keep the inputs in this folder")
    given = parser.parse_args()
    names = given.reader or list(READERS)
    if given.save:
        given.save.mkdir(parents=True, exist_ok=True)
    tally, begun = Tally(), time.monotonic()

    def work(numbers: range) -> None:
        child = Child(names, given.seed, given.save)
        try:
            for number in numbers:
                outcome = child.judge(number)
                reader, _ = chosen(names, given.seed, number)
                if tally.add(number, reader, outcome):
                    print(
                        f"#{number} {reader.name}: {outcome.kind} {outcome.place} {outcome.what[:200]}",
                        flush=True,
                    )
        finally:
            child.close()

    numbers = range(given.first, given.first + given.count)
    with ThreadPoolExecutor(given.workers) as pool:
        list(pool.map(work, [numbers[part :: given.workers] for part in range(given.workers)]))
    print(f"{given.count:,} inputs with seed {given.seed} in {time.monotonic() - begun:.0f} s")
    tally.show()
    return 1 if tally.counts else 0


if __name__ == "__main__":
    sys.exit(main())
