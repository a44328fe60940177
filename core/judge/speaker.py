"""Whose voice it is: an embedding of a recording, near those of the same speaker's other recordings.

The encoder is an ONNX file, run by onnxruntime, that takes mel features `(1, frames, 80)` as those of
3D-Speaker and WeSpeaker do; or a checkpoint of CAM++ as its authors publish it (`campplus`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..audio.mixing import Waveform
from ..errors import CheckpointError
from ..messages import Message
from ..reading import check_regular, reading
from .extra import require

if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 16_000
"""Hz; what all of the judge's networks take."""
SHORTEST_SECONDS = 0.4
"""Less speech has no voice to speak of."""
_BANDS = 80
_LOUDEST_PART = 1e-4
"""Power, relative to the loudest window's, of what is left of a recording: silence is nobody's voice."""
_WINDOW = 800  # samples, 50 ms
_ONNX = ".onnx"
_WRONG = Message("Give a speaker encoder as ONNX (features in, an embedding out), or CAM++ as a .pt file.")

Embedding = npt.NDArray[np.float32]
"""`(size,)`, of length 1."""


@dataclass(frozen=True)
class SpeakerEncoder:
    """Makes embeddings; `compute` takes features `(1, frames, 80)` and returns `(1, size)`."""

    compute: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

    @classmethod
    def load(cls, path: Path) -> SpeakerEncoder:
        """Return the encoder of a file.

        Raises:
            CheckpointError: it is missing, damaged, or another network.
            UsageError: it is ONNX, and onnxruntime is not installed.
            StorageError: the system refused to read it.
        """
        return cls(_load_onnx(path) if path.suffix.lower() == _ONNX else _load_campplus(path))

    def embed(self, samples: Waveform) -> Embedding | None:
        """Return the voice of mono samples at `SAMPLE_RATE`; None where there is too little speech."""
        speech = _without_silence(samples)
        if len(speech) < SHORTEST_SECONDS * SAMPLE_RATE:
            return None
        embedding = np.asarray(self.compute(_features(speech)), np.float32).reshape(-1)
        length = float(np.linalg.norm(embedding))
        return embedding / length if np.isfinite(length) and length > 0 else None


def similarity(one: Embedding, other: Embedding) -> float:
    """Return the cosine of two embeddings, −1 … 1."""
    return float(one @ other)


def centre(embeddings: list[Embedding]) -> Embedding:
    """Return the voice that several recordings have in common."""
    mean = np.mean(embeddings, axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


def _features(samples: Waveform) -> npt.NDArray[np.float32]:
    """Return log mel energies `(1, frames, 80)` less their mean: windows of 25 ms every 10 ms, as Kaldi's."""
    import torch
    from torchaudio.compliance import kaldi

    # Kaldi's samples are 16-bit numbers; only the floor of its logarithm depends on that.
    scaled = torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None] * 32768
    bands: torch.Tensor = kaldi.fbank(
        scaled, num_mel_bins=_BANDS, sample_frequency=SAMPLE_RATE, dither=0.0, window_type="povey"
    )
    features: npt.NDArray[np.float32] = (bands - bands.mean(0))[None].numpy()
    return features


def _without_silence(samples: Waveform) -> Waveform:
    count = len(samples) // _WINDOW
    if not count:
        return samples
    windows = samples[: count * _WINDOW].reshape(count, _WINDOW)
    power = np.square(windows, dtype=np.float64).mean(axis=1)
    speech: Waveform = windows[power > _LOUDEST_PART * power.max()].reshape(-1)
    return speech


def _load_onnx(path: Path) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    require(Message("A speaker encoder in ONNX"), "onnxruntime")
    import onnxruntime

    check_regular(path, CheckpointError, Message("Give another --speaker-model."))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with reading(path, CheckpointError, _WRONG):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 3 or (shape[2] not in (_BANDS, None) and not isinstance(shape[2], str)):
        raise CheckpointError(
            "{file} does not take mel features of {bands} bands.", _WRONG, file=path, bands=_BANDS
        )
    name = inputs[0].name

    def compute(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        embedding: npt.NDArray[np.float32] = session.run(None, {name: features})[0]
        return embedding

    return compute


def _load_campplus(path: Path) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    import torch

    from .campplus import CamPlusPlus

    network = CamPlusPlus.load(path)
    return lambda features: network(torch.from_numpy(features)).numpy()
