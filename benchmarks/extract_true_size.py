"""Time and memory of extraction with a codec of the published size (391 M parameters, random weights).

    python benchmarks/extract_true_size.py WORK_FOLDER --data DATA [--batch-sizes 1 4 8] [--device cpu]

Makes a checkpoint in WORK_FOLDER/base once (3.6 GB), copies the recordings of DATA, and runs the stage once
for each batch size, in a process of its own whose peak resident memory the kernel keeps. Pages of the mapped
weights count as resident. CPU seconds tell more than wall-clock seconds on a machine that others use too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from measures import Measure

GIB = 1 << 30
RECORDINGS, RECORDING_SECONDS = 8, 4


def main() -> None:
    """Run extraction once for each batch size and print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="a data set: one folder a speaker")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--num-workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options, options.one)))
        return
    base = options.folder / "base"
    make_base(base)
    print(f"codec.pth: {(base / 'codec.pth').stat().st_size / GIB:.2f} GiB")
    for size in options.batch_sizes:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(size)]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(f"batch {size}: {result.stdout.strip() or f'failed with {result.returncode}'}", flush=True)


def make_base(base: Path) -> None:
    """Write the checkpoint, unless it is there."""
    if not base.exists():
        from fishtune.core.demo.checkpoint import write_checkpoint

        write_checkpoint(base, shape="s1-mini")


def measure(options: argparse.Namespace, batch_size: int) -> dict[str, object]:
    """Extract all codes of a fresh copy of the recordings."""
    import torch
    from fishtune.core.config.settings import ExtractSettings
    from fishtune.core.events import Reporter
    from fishtune.core.stages.extract.run import run

    data = options.folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    for source in options.data.glob("*/*"):
        target = data / source.relative_to(options.data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    settings = ExtractSettings(
        data=data,
        checkpoint_path=options.folder / "base" / "codec.pth",
        batch_size=batch_size,
        batch_seconds=1e6,  # on a CPU batches would be cut otherwise
        num_workers=options.num_workers,
        device=options.device,
    )
    began, cpu_began = time.monotonic(), time.process_time()
    result = run(settings, Reporter())
    codes = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(data.rglob("*.npy"))))
    measured: dict[str, object] = {
        "clips": result.encoded,
        "audio_seconds": round(result.audio_seconds, 1),
        "seconds": round(time.monotonic() - began, 1),
        "encoding_seconds": round(result.elapsed, 1),
        "times_real_time": round(result.speed, 2),
        "cpu_seconds": round(time.process_time() - cpu_began, 1),
        "threads": torch.get_num_threads(),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2),
        "codes": codes.hexdigest()[:12],
    }
    if torch.cuda.is_available():
        measured["peak_device_gib"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
    return measured


def measures(folder: Path) -> Iterator[Measure]:
    """Measure eight recordings at once against one at a time."""
    make_base(folder / "base")
    data = folder / "recordings" / "speaker"
    data.mkdir(parents=True, exist_ok=True)
    for number in range(RECORDINGS):
        samples = np.random.default_rng(number).normal(0, 0.1, RECORDING_SECONDS * 44_100)
        soundfile.write(data / f"{number}.wav", samples.astype(np.float32), 44_100)
    one, eight = (
        json.loads(
            subprocess.run(
                [sys.executable, __file__, folder, "--data", data.parent, "--one", str(size)],
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        )
        for size in (1, RECORDINGS)
    )
    shutil.rmtree(data.parent)
    yield Measure("one recording at a time, speed", one["times_real_time"], "× real time")
    yield Measure(f"{RECORDINGS} at once, speed", eight["times_real_time"], "× real time")
    ratio = eight["cpu_seconds"] / one["cpu_seconds"]
    yield Measure(f"{RECORDINGS} at once to one at a time (CPU)", ratio, "×", at_most=1.1)
    yield Measure(f"memory of the process, {RECORDINGS} at once", eight["peak_gib"], "GiB")
    yield Measure("different codes of the two", len({one["codes"], eight["codes"]}) - 1, "", at_most=0)


if __name__ == "__main__":
    main()
