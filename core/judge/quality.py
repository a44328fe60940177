"""How clean a recording is: DNSMOS P.835, an estimate of what listeners would say of its background.

Reddy et al. 2022, "DNSMOS P.835: A Non-Intrusive Perceptual Objective Speech Quality Metric to Evaluate
Noise Suppressors". The network comes with the package `speechmos`, which is looked for and never imported:
it would bring librosa and pandas along, of which the network needs nothing.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..audio.mixing import Waveform
from .extra import is_installed

if TYPE_CHECKING:
    import onnxruntime

SAMPLE_RATE = 16_000
"""Hz."""
_SAMPLES = round(9.01 * SAMPLE_RATE)
"""What the network takes; shorter recordings are repeated."""
_TO_OPINION = (-0.13166888, 1.60915514, -0.39604546)
"""Polynomial from the network's second output to an opinion of the background, 1 … 5; published with it."""
_BACKGROUND = 1


def dnsmos_file() -> Path | None:
    """Return the network, or None where nothing that carries it is installed."""
    if not is_installed("speechmos", "onnxruntime"):
        return None
    package = importlib.util.find_spec("speechmos")
    folders = package.submodule_search_locations if package is not None else None
    files = [Path(folder) / "dnsmos_models" / "sig_bak_ovr.onnx" for folder in folders or ()]
    return next((file for file in files if file.is_file()), None)


@dataclass(frozen=True)
class QualityMeter:
    """Estimates the quality of the background."""

    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, file: Path, threads: int = 1) -> QualityMeter:
        """Return the meter on the network of `dnsmos_file`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        return cls(onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]))

    def background(self, samples: Waveform) -> float:
        """Return the opinion of the background of mono samples at `SAMPLE_RATE`: 5 is silence, 1 very
        annoying."""
        pieces = max(1, len(samples) // _SAMPLES)
        scores = []
        for piece in range(pieces):
            part = np.resize(samples[piece * _SAMPLES : (piece + 1) * _SAMPLES], _SAMPLES).astype(np.float32)
            outputs = self.session.run(None, {"input_1": part[None]})[0][0]
            scores.append(float(np.polyval(_TO_OPINION, outputs[_BACKGROUND])))
        return float(np.mean(scores))
