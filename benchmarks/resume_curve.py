"""200 training steps on real speech, killed twice with SIGKILL and resumed: is the curve the same?

    python benchmarks/resume_curve.py DATA [--steps 200] [--kill-at 37 --kill-at 141]

Copies the recordings of DATA, extracts and packs them with a tiny random checkpoint, trains once without a
break and once with the kills, all by the real commands, and compares losses, gradients, held-out losses
and the last weights bit for bit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from fishtune.core.config.run_files import checkpoint_path
from fishtune.core.demo.checkpoint import write_checkpoint
from fishtune.core.events import Step, Validation
from fishtune.core.jobs.follow import last_events

FISHTUNE = [sys.executable, "-P", "-m", "fishtune.core.cli"]
Curve = dict[tuple[str, int], tuple[float, float, float | None]]


def read_curve(folder: Path) -> Curve:
    """Return what all jobs of a run said about each step; a repeated step must say the same again."""
    curve: Curve = {}
    for events in sorted((folder / "jobs").glob("*-train*/events.jsonl")):
        for event in last_events(events, 100_000):
            if isinstance(event, Step):
                said = event.base_loss, event.semantic_loss, event.gradient_norm
            elif isinstance(event, Validation):
                said = event.base_loss, event.semantic_loss, None
            else:
                continue
            before = curve.setdefault((event.kind, event.step), said)
            if before != said:
                sys.exit(f"{event.kind} {event.step}: {before} before the kill, {said} after it")
    return curve


def train(work: Path, project: str, steps: int, kill_at: int | None) -> None:
    """Run the command, to its end or until it reports a step."""
    line = [*FISHTUNE, "train", "--project", project, "--base", "base", "--protos", "data/protos"]
    line += ["--lora-config", "r_8_alpha_16", "--no-gate", "--device", "cpu", "--batch-tokens", "1024"]
    line += ["--max-steps", str(steps), "--learning-rate", "1e-3", "--validate-every", "25"]
    line += ["--checkpoint-every", "20"]
    process = subprocess.Popen(line, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while kill_at is not None and process.poll() is None:
        if ("step", kill_at) in read_curve(work / "results" / project):
            process.kill()
        time.sleep(0.05)
    code = process.wait()
    print(f"{project}: {'killed' if code < 0 else 'ended'} with code {code}", flush=True)
    if kill_at is None and code:
        sys.exit(1)


def main() -> None:
    """Prepare, train twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kill-at", type=int, action="append")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="fishtune-resume-") as name:
        work = Path(name)
        shutil.copytree(options.data, work / "data")
        write_checkpoint(work / "base")
        extract = [*FISHTUNE, "extract", "data", "--checkpoint-path", "base/codec.pth"]
        for line in (extract, [*FISHTUNE, "pack", "--input", "data"]):
            subprocess.run(line, cwd=work, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        train(work, "whole", options.steps, None)
        for step in options.kill_at or [37, 141]:
            train(work, "killed", options.steps, step)
        train(work, "killed", options.steps, None)
        results = work / "results"
        curves = [read_curve(results / project) for project in ("whole", "killed")]
        weights = [
            torch.load(checkpoint_path(results / project, options.steps), weights_only=True)["state_dict"]
            for project in ("whole", "killed")
        ]
    same_weights = all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    first, last = curves[0]["step", 1], curves[0]["step", options.steps]
    print(f"{len(curves[0])} steps and validations, loss {sum(first[:2]):.3f} to {sum(last[:2]):.3f}")
    print(f"curves equal: {curves[0] == curves[1]}, last weights equal: {same_weights}")
    if curves[0] != curves[1] or not same_weights:
        sys.exit(1)


if __name__ == "__main__":
    main()
