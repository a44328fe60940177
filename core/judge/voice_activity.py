"""When somebody speaks: Silero VAD, whose wheel carries its network; run by onnxruntime, without torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..audio.mixing import Waveform
from ..errors import UsageError
from .extra import PREPARE, require

if TYPE_CHECKING:
    import onnxruntime

SAMPLE_RATE = 16_000
"""Hz."""
FRAME = 512
"""Samples that one probability is of."""
_CONTEXT = 64
"""Samples before a frame that the network sees with it."""
_STATE = (1, 1, 128)
_NETWORK = "silero_vad_16k_sequence.onnx"
_FRAMES_AT_ONCE = 512
_WARM_UP = 16
"""Frames of silence that the network hears first: it doubts its first quarter of a second."""

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SpeechDetector:
    """Tells speech from everything else."""

    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, threads: int = 1) -> SpeechDetector:
        """Return the detector.

        Raises:
            UsageError: silero-vad or onnxruntime is not installed, or a version without this network.
        """
        require("Finding speech", "silero_vad", "onnxruntime", install=PREPARE)
        import onnxruntime

        # The package is looked for and never imported: it would bring torchaudio's backends along.
        package = importlib.util.find_spec("silero_vad")
        folders = package.submodule_search_locations if package is not None else None
        files = [Path(folder) / "data" / _NETWORK for folder in folders or ()]
        if not any(file.is_file() for file in files):
            raise UsageError(
                "The installed silero-vad has no file {name}.",
                "Install a newer one: pip install --upgrade silero-vad",
                name=_NETWORK,
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        file = next(file for file in files if file.is_file())
        return cls(onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]))

    def probabilities(self, pieces: Iterable[Waveform]) -> Probabilities:
        """Return how probable speech is, one number per `FRAME` samples.

        Args:
            pieces: of one recording, in order; mono, at `SAMPLE_RATE`.
        """
        found: list[Probabilities] = []
        hidden, cell = np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)
        context, rest = np.zeros(_CONTEXT, np.float32), np.zeros(0, np.float32)

        def take(frames: npt.NDArray[np.float32]) -> None:
            nonlocal hidden, cell, context
            for begin in range(0, len(frames), _FRAMES_AT_ONCE):
                block = frames[begin : begin + _FRAMES_AT_ONCE]
                contexts = np.concatenate([context[None], block[:-1, -_CONTEXT:]])
                inputs = {"input": np.concatenate([contexts, block], axis=1), "h": hidden, "c": cell}
                values, hidden, cell = self.session.run(["speech_probs", "hn", "cn"], inputs)
                context = block[-1, -_CONTEXT:]
                found.append(np.asarray(values, np.float32).reshape(-1))

        take(np.zeros((_WARM_UP, FRAME), np.float32))
        found.clear()
        for piece in pieces:
            samples = np.concatenate([rest, piece])
            count = len(samples) // FRAME
            take(samples[: count * FRAME].reshape(count, FRAME))
            rest = samples[count * FRAME :]
        if len(rest):
            take(np.pad(rest, (0, FRAME - len(rest)))[None])
        return np.concatenate(found) if found else np.zeros(0, np.float32)
