"""Whether a GPU computes what it must: generation as training, codes as a CPU, and the tests for GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from fishtune.core.codec.checkpoint import load_encoder
from fishtune.core.config.settings import CODEC_FILE

from .bench import Bench
from .inputs import RATE, noise
from .running import Row
from .training import Watch, settings_of, train

ROOT = Path(__file__).resolve().parents[2]
_SAME_CODES = 0.999
"""Sums in another order move a latent across the border between two entries now and then."""


def gate_in_bf16(bench: Bench) -> Iterator[Row]:
    """Yield whether generation agrees with the training forward, and gradients arrive, in bf16."""
    watch = Watch(last=1)
    train(settings_of(bench, "gate", lora_config="r_8_alpha_16", precision="bf16"), watch)
    found = [line for line in watch.said if line.startswith("Step 0:")]
    passed = any("Generation agrees with training" in line for line in found)
    yield {"what": "every module trained", "found": " ".join([*found, *watch.warnings]), "passed": passed}


def codes_like_the_cpu(bench: Bench) -> Iterator[Row]:
    """Yield how many codes of a batch of two clips are those that a CPU gives."""
    file = bench.base / CODEC_FILE
    clips = [noise(bench.sizes.compared_seconds / (row + 1), row) for row in range(2)]
    lengths = [len(clip) for clip in clips]
    audio = torch.zeros(2, 1, lengths[0])
    for row, clip in enumerate(clips):
        audio[row, 0, : len(clip)] = torch.from_numpy(clip)
    codes = {}
    for device in ("cpu", bench.device):
        encoder = load_encoder(file, "modded_dac_vq", device)
        codes[device] = encoder.encode(audio.to(device), lengths).cpu()
    expected, found = codes["cpu"], codes[bench.device]
    for row, length in enumerate(lengths):
        frames = encoder.frames(length)
        same = (expected[row, :, :frames] == found[row, :, :frames]).float()
        yield {
            "what": f"clip of {length / RATE:g} s",
            "codes": same.numel(),
            "equal": float(same.mean()),
            "equal in codebook 0": float(same[0].mean()),
            "passed": float(same.mean()) >= _SAME_CODES,
        }


def gpu_tests(bench: Bench) -> Iterator[Row]:
    """Yield what became of `pytest -m gpu`."""
    marked = [
        str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()
    ]
    result = bench.work / "gpu-tests.xml"
    code = pytest.main(
        ["-q", "-m", "gpu", "-p", "no:cacheprovider", f"--rootdir={ROOT}", f"--junitxml={result}", *marked]
    )
    suite = ElementTree.parse(result).getroot().find("testsuite")
    assert suite is not None
    for case in suite.iter("testcase"):
        kinds = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        yield {
            "what": case.get("name"),
            "outcome": kinds[0] if kinds else "passed",
            "seconds": float(case.get("time") or 0),
        }
    yield {"what": "exit code", "outcome": int(code), "passed": code == pytest.ExitCode.OK}
