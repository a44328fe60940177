"""What packing and validation cost, against a plain loop that reads the same files in the same run.

    python benchmarks/packing.py

20,000 clips as extraction leaves them: recordings (of a second, which packing does not read), transcripts,
codes of 2 to 10 s, and the records of what the codes were made from. Every run is a process of its own, start
included; rounds of all kinds follow one another, and the best of each counts, so that what else the machine
does hardly does. Validation is measured where headers are enough: wavs longer than the codec takes.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fishtune.core.codec.limits import LONGEST_SECONDS
from fishtune.core.dataset.codes import codes_digest
from fishtune.core.dataset.origins import FileState, Origin, append_origins, content_digest
from measures import Measure, show
from processes import Taken, took

CLIPS, SPEAKERS = 20_000, 20
LONG_CLIPS = 10_000
ROUNDS = 5
START_UP = 1.0
"""Seconds that packing may take before it begins."""
RATE = 16_000
WORDS = "the quick brown fox jumps over a lazy dog while seven boats pass under the bridge of an old town"

PLAIN = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        if name.endswith((".npy", ".lab")):
            with open(os.path.join(folder, name), "rb") as file:
                file.read()
"""


def wave_head(seconds: float) -> bytes:
    """Return the 44 bytes before the samples of a wav, mono, 16 bits."""
    size = round(seconds * RATE) * 2
    numbers = [(36 + size, 4), (16, 4), (1, 2), (1, 2), (RATE, 4), (2 * RATE, 4), (2, 2), (16, 2), (size, 4)]
    riff, length, *form, data = [number.to_bytes(width, "little") for number, width in numbers]
    return b"RIFF" + riff + b"WAVEfmt " + length + b"".join(form) + b"data" + data


def make_clips(root: Path, clips: int) -> None:
    """Write a data set as extraction leaves it."""
    random = np.random.default_rng(0)
    words = WORDS.split()
    for speaker in range(SPEAKERS):
        folder = root / f"speaker {speaker:02}"
        folder.mkdir(parents=True)
        origins = []
        for number in range(clips // SPEAKERS):
            frames = int(random.integers(43, 216))
            codes = np.concatenate(
                [random.integers(0, 4096, (1, frames)), random.integers(0, 1024, (9, frames))]
            )
            clip = folder / f"clip {number:05}"
            np.save(clip.with_suffix(".npy"), codes)
            clip.with_suffix(".lab").write_text(" ".join(random.choice(words, frames // 9)) + "\n")
            audio = clip.with_suffix(".wav")
            audio.write_bytes(wave_head(1) + random.bytes(2 * RATE))
            origin = Origin(FileState.of(audio), content_digest(audio), codes_digest(codes), "c0dec")
            origins.append((f"{clip.name}.npy", origin))
        append_origins(folder, origins)


def make_long_clips(root: Path) -> None:
    """Write recordings that the codec does not take, without their samples: nobody comes to read them."""
    head = wave_head(LONGEST_SECONDS + 10)
    size = len(head) + int.from_bytes(head[-4:], "little")
    for speaker in range(SPEAKERS):
        folder = root / f"speaker {speaker:02}"
        folder.mkdir(parents=True)
        for number in range(LONG_CLIPS // SPEAKERS):
            clip = folder / f"clip {number:05}.wav"
            with clip.open("wb") as file:
                file.write(head)
                file.truncate(size)
            clip.with_suffix(".lab").write_text(WORDS)


def protos(data: Path) -> Path:
    """Return where a data set is packed."""
    return data.with_name(f"{data.name}-protos")


def pack(folder: Path, data: Path, workers: int) -> Taken:
    """Pack with the command and return what it took."""
    command = ("-P", "-m", "fishtune.core.cli", "pack", "--input", data, "--output", protos(data))
    return took(folder, *command, "--num-workers", str(workers))


def validate(folder: Path, data: Path) -> Taken:
    """Check with the command and return what it took."""
    return took(folder, "-P", "-m", "fishtune.core.cli", "validate", data, passes=(0, 1))


def digest_of(folder: Path) -> str:
    """Return a digest of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def measure_packing(folder: Path) -> Iterator[Measure]:
    """Measure packing against the plain loop."""
    data, few = folder / "data", folder / "few"
    make_clips(data, CLIPS)
    make_clips(few, CLIPS // 4)
    plain, one, two, digests = [], [], [], set()
    for _ in range(ROUNDS):
        plain.append(took(folder, "-c", PLAIN, str(data)))
        for taken, workers in ((one, 1), (two, 2)):
            taken.append(pack(folder, data, workers))
            digests.add(digest_of(protos(data)))
    small = pack(folder, few, 1)
    loop = min(taken.wall for taken in plain)
    walls = [min(taken.wall for taken in kind) for kind in (one, two)]
    yield Measure(f"plain loop over {2 * CLIPS:,} files", loop, "s")
    yield Measure(f"packing {CLIPS:,} clips, one process", walls[0], "s")
    yield Measure(f"packing {CLIPS:,} clips, two workers", walls[1], "s")
    yield Measure("packing less 1 s, to the plain loop", (walls[1] - START_UP) / loop, "×", at_most=5)
    yield Measure("two workers to one process", walls[1] / walls[0], "×", at_most=1)
    cpu = [min(taken.cpu for taken in kind) for kind in (plain, one)]
    yield Measure("one process less 1 s, to the plain loop (CPU)", (cpu[1] - START_UP) / cpu[0], "×")
    growth = (min(taken.memory for taken in one) - small.memory) * 1024 / (CLIPS - CLIPS // 4)
    yield Measure("memory that a clip more takes, of 10 kB of codes", growth, "KiB", at_most=4)
    yield Measure("different results of all these runs", len(digests), "", at_most=1)


def measure_validation(folder: Path) -> Iterator[Measure]:
    """Measure validation where no recording has to be decoded."""
    data, none = folder / "long", folder / "none"
    make_long_clips(data)
    none.mkdir()
    begun = [validate(folder, none) for _ in range(ROUNDS)]
    taken = [validate(folder, data) for _ in range(ROUNDS)]
    start, whole = (min(each.wall for each in kind) for kind in (begun, taken))
    start_cpu, whole_cpu = (min(each.cpu for each in kind) for kind in (begun, taken))
    yield Measure("start of validation", start, "s")
    yield Measure(
        "validation where headers are enough", LONG_CLIPS / (whole - start), "clips/s", at_least=5_000
    )
    yield Measure("the same per CPU second", LONG_CLIPS / (whole_cpu - start_cpu), "clips", at_least=5_000)


def measures(folder: Path) -> Iterator[Measure]:
    """Measure everything in a folder of its own inside `folder`."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield from measure_packing(Path(name))
        yield from measure_validation(Path(name))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        sys.exit(not show("packing and validation", measures(Path(work))))
