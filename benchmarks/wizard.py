"""What the wizard costs, against the limits it was designed for, in a real pseudo-terminal.

    python benchmarks/wizard.py [--seconds 20]

Ends with 1 where a limit is exceeded. First paint, resident memory (pages shared with other programs
included), bytes a second (idle and while a training runs that writes 20 steps and 20
log lines a second after a history of 100,000 steps), and how soon a key is answered meanwhile. The
machine should have nothing else to do; for comparison the smallest possible Textual program is timed too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "tui"))
from fishtune.core.config.project import Project
from fishtune.core.events import Step, encode_event
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import Job, Place, create_job
from fishtune.core.stages.registry import StageName
from measures import Measure, show
from pty_terminal import Terminal, wizard_command

HELLO = (
    "from textual.app import App\nfrom textual.widgets import Static\n"
    "class Hello(App):\n    def compose(self):\n        yield Static('hello world')\nHello().run()"
)
PAINTS = 8
HISTORY = 100_000
FIRST_PAINT_SECONDS = 0.6
FIRST_PAINT_OF_HELLO = 1.4
RESIDENT_MEBIBYTES = 50
TRAINING_MEBIBYTES = 55
OPENS_SECONDS = 1
BYTES_A_SECOND = 40 * 1024
KEY_MILLISECONDS = 50


def measures(_: Path, seconds: float = 20.0) -> Iterator[Measure]:
    """Measure everything.

    Args:
        seconds: how long bytes are counted.
    """
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        for name in ("CONFIG", "STATE", "CACHE"):
            os.environ[f"XDG_{name}_HOME"] = str(home / name.lower())
        os.environ["HOME"] = temporary
        # As an installation has it: compiling our modules anew each time would be a third of the first paint.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        yield from first_paint(home)
        yield from idle(home, seconds)
        for size in ((80, 24), (120, 40)):
            yield from training(home / f"{size[0]}", size, seconds)


def main() -> int:
    """Measure everything, print a table, and return 1 if a limit is exceeded."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=20.0, help="How long bytes are counted.")
    seconds = arguments.parse_args().seconds
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if show("wizard", measures(Path(), seconds)) else 1


def first_paint(home: Path) -> Iterator[Measure]:
    """Time from the start of the process until the start page is on the screen.

    Both programs take turns, since what else the machine does concerns both.
    """
    hello, ours = [], []
    for _ in range(PAINTS):
        hello.append(painted([sys.executable, "-c", HELLO], "hello world", home))
        ours.append(painted(wizard_command(), "This machine", home))
    ratio, median = min(ours) / min(hello), statistics.median(ours)
    yield Measure("hello world in Textual, first paint, best", min(hello), "s")
    yield Measure("first paint, best", min(ours), "s")
    yield Measure("first paint, median", median, "s", at_most=FIRST_PAINT_SECONDS)
    yield Measure("first paint to that of hello world, best", ratio, "×", at_most=FIRST_PAINT_OF_HELLO)


def painted(command: list[str], text: str, home: Path) -> float:
    """Return after how many seconds a program shows `text`."""
    with Terminal(command, folder=home) as terminal:
        terminal.wait_for(text, 60)
        return time.monotonic() - terminal.begun


def idle(home: Path, seconds: float) -> Iterator[Measure]:
    """Memory and bytes of the start page when nothing happens."""
    with Terminal(wizard_command(), folder=home) as terminal:
        terminal.wait_for("Base models found", 60)
        terminal.settle(1.0)
        before = terminal.received
        count(terminal, seconds / 2)
        sent = terminal.received - before
        yield Measure("resident memory, start page", resident(terminal), "MiB", at_most=RESIDENT_MEBIBYTES)
        yield Measure("bytes a second, start page", sent / (seconds / 2), "B", at_most=0)


def training(folder: Path, size: tuple[int, int], seconds: float) -> Iterator[Measure]:
    """A running training, as its files tell it: this process is the job."""
    project = Project.create(folder, "bench")
    project.save()
    job = create_job(Place(results=project.results, project="bench"), StageName.TRAIN, {}, ["bench"])
    job.write(process=ProcessIdentity.of(os.getpid()))
    job.events_path.write_bytes(b"".join(encode_event(step(number)) for number in range(1, HISTORY + 1)))
    ended = threading.Event()
    writer = threading.Thread(target=write, args=(job, ended), daemon=True)
    name = f"{size[0]}×{size[1]}"
    with Terminal(wizard_command(str(folder)), width=size[0], height=size[1], folder=folder) as terminal:
        terminal.wait_for("bench", 60)
        begun = time.monotonic()
        terminal.wait_for("/ 1,000,000", 60)
        opened = time.monotonic() - begun
        terminal.wait_for(r"100,000 / 1,000,000", 60)
        writer.start()
        count(terminal, 3)
        before = terminal.received
        count(terminal, seconds)
        rate = (terminal.received - before) / seconds
        delays = [1000 * delay for delay in key_delays(terminal)]
        memory = resident(terminal)
    ended.set()
    writer.join()
    late = sorted(delays)[int(0.95 * len(delays))]
    median = statistics.median(delays)
    yield Measure(f"{name}: a run of 100,000 steps opens in", opened, "s", at_most=OPENS_SECONDS)
    yield Measure(
        f"{name}: bytes a second while it trains", rate / 1024, "KiB", at_most=BYTES_A_SECOND / 1024
    )
    yield Measure(f"{name}: a key is answered in, median", median, "ms")
    yield Measure(f"{name}: a key is answered in, 95 %", late, "ms", at_most=KEY_MILLISECONDS)
    yield Measure(f"resident memory, {name}, training screen", memory, "MiB", at_most=TRAINING_MEBIBYTES)


def step(number: int) -> Step:
    """Return a step as training reports it."""
    return Step(
        step=number,
        total_steps=1_000_000,
        clip_passes=number / 50,
        loss=8 - number / 2e5 + (number * 7919 % 100) / 100,
        base_loss=3 + (number * 104_729 % 100) / 100,
        semantic_loss=5 - number / 2e5,
        learning_rate=1e-4,
        tokens_per_second=20_000 + number % 500,
        eta=3600.0 + number % 60,
    )


def write(job: Job, ended: threading.Event) -> None:
    """Write 20 steps and 20 log lines a second."""
    with job.events_path.open("ab") as events, job.log_path.open("ab") as log:
        number = HISTORY
        while not ended.wait(0.05):
            number += 1
            events.write(encode_event(step(number)))
            events.flush()
            log.write(f"12:00:00 step {number}, loss 7.123 (base 3.1, semantic 4.0), lr 1.0e-04\n".encode())
            log.flush()


def count(terminal: Terminal, seconds: float) -> None:
    """Take output for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        terminal.pump(0.1)


def key_delays(terminal: Terminal) -> list[float]:
    """Return how long after a key its effect is on the screen: a switch above the curve is turned."""
    terminal.press("<escape>")
    terminal.settle(0.2, 1.0)
    terminal.press("<right>")
    terminal.settle(0.2, 1.0)
    shown = ("base loss", "semantic loss", "total loss")
    delays = []
    for turn in range(45):
        begun = time.monotonic()
        os.write(terminal._master, b"\x1b[C")
        while f"‹ {shown[turn % 3]} ›" not in terminal.screen.text:
            terminal.pump(0.005)
            assert time.monotonic() - begun < 5, terminal.screen.text
        delays.append(time.monotonic() - begun)
        count(terminal, 0.13)
    return delays


def resident(terminal: Terminal) -> float:
    """Return the resident memory of the program in MiB."""
    status = Path(f"/proc/{terminal.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
