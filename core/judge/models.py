"""Which models listen, and where they lie: chosen by language and free memory, fetched once, pinned.

They are kept in the user's cache folder, one folder per model. What is there is used without asking the hub.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..compute.devices import UsableGpu
from ..config.presets import HearingPreset, hearing_preset, preset_names
from ..errors import DeviceMemoryError, DownloadError, UsageError
from ..events import Reporter
from ..hub.transfer import adopt, fetch, is_complete
from ..messages import Message, joined
from ..units import format_bytes
from .extra import models_folder
from .recognition import Placement, Recogniser, check_folder

SPEAKER = "campplus"
"""The speaker encoder that is used where none is named."""
_ON_GPU = "large-v3-turbo"
_ON_CPU, _ON_CPU_ENGLISH = "small", "small.en"

Hearing = Literal["recognition", "speaker"]
_AT_HAND: dict[Hearing, Message] = {
    "recognition": Message(
        "Or name a model that this machine has: --asr-model FOLDER, with Whisper for CTranslate2."
    ),
    "speaker": Message(
        "Or name an encoder that this machine has: --speaker-model FILE, .onnx or CAM++ as .pt."
    ),
}
"""What to do where a model cannot be downloaded."""


def place(preset: HearingPreset | None, gpu: UsableGpu | None) -> Placement:
    """Return where recognition computes.

    Args:
        preset: the model; None = one of the user's own, of a size that is not known, which gets the GPU.
    """
    needed = preset.gpu_memory if preset else 0
    if gpu is None or (gpu.free is not None and gpu.free < needed):
        return Placement()
    return Placement(device="cuda", index=gpu.number, compute_type="float16")


def default_recognition(language: str | None, gpu: UsableGpu | None) -> str:
    """Return the name of the model for a language on this machine; see `place`."""
    if place(hearing_preset("recognition", _ON_GPU), gpu).device == "cuda":
        return _ON_GPU
    return _ON_CPU_ENGLISH if language == "en" else _ON_CPU


def load_recogniser(
    name: str, gpu: UsableGpu | None, reporter: Reporter, *, threads: int = 0, insist: bool = False
) -> Recogniser:
    """Return a model for recognition, fetched if it has to be; on the CPU where the GPU cannot be used.

    Args:
        name: of a preset, or a folder.
        threads: on the CPU; 0 = as many as suit it.
        insist: whether a GPU that cannot be used is an error.

    Raises:
        UsageError, CheckpointError, DownloadError, StorageError, StopRequested: see `recognition_folder`.
        DeviceMemoryError: the GPU cannot be used, and `insist`.
    """
    folder = recognition_folder(name, reporter)
    placement = replace(place(recognition_preset(name), gpu), threads=threads)
    reporter.log(f"Loading {name} for recognition on {placement}")
    try:
        return Recogniser.load(folder, placement)
    except DeviceMemoryError as error:
        if insist:
            raise
        reporter.warn(error.message, "Recognition uses the CPU, more slowly.")
    return Recogniser.load(folder, Placement(threads=threads))


def recognition_at_hand(language: str | None, gpu: UsableGpu | None) -> str | None:
    """Return the name of a model for a language that is here already, the default one first; None if none is.

    Args:
        gpu: see `place`.
    """
    names = preset_names("recognition")
    for name in (default_recognition(language, gpu), *names):
        preset = hearing_preset("recognition", name)
        is_for_it = language == "en" or not name.endswith(".en")
        folder = models_folder() / "recognition" / name
        if is_for_it and is_complete(folder, preset.repository, list(preset.files), preset.revision):
            return name
    return None


def recognition_preset(name: str) -> HearingPreset | None:
    """Return the preset of that name; None where it names a folder.

    Raises:
        UsageError: it is neither.
    """
    if Path(name).is_dir():
        return None
    if name not in preset_names("recognition"):
        raise UsageError(
            "{name} is neither a folder with a model nor a known one.",
            "Choose one of {preset_names}, or give a folder with Whisper in CTranslate2's format.",
            name=name,
            preset_names=", ".join(preset_names("recognition")),
        )
    return hearing_preset("recognition", name)


def recognition_folder(name: str, reporter: Reporter, endpoint: str | None = None) -> Path:
    """Return the folder of a model for recognition, fetched if it has to be.

    Args:
        name: of a preset, or a folder, which is used as it lies there.
        endpoint: see `fetch`.

    Raises:
        UsageError: neither.
        CheckpointError: the folder is no model.
        DownloadError, StorageError, StopRequested: see `fetch`.
    """
    preset = recognition_preset(name)
    if preset is None:
        check_folder(Path(name))
        return Path(name)
    return _fetched("recognition", name, preset, reporter, endpoint)


def speaker_file(name: str, reporter: Reporter, endpoint: str | None = None) -> Path:
    """Return the file of a speaker encoder, fetched if it has to be; as `recognition_folder`, but a file."""
    if Path(name).is_file():
        return Path(name)
    if name not in preset_names("speaker"):
        raise UsageError(
            "{name} is neither a file nor a known speaker encoder.",
            "Choose {preset_names}, or give an ONNX file.",
            name=name,
            preset_names=", ".join(preset_names("speaker")),
        )
    preset = hearing_preset("speaker", name)
    return _fetched("speaker", name, preset, reporter, endpoint) / next(iter(preset.files))


def _fetched(
    kind: Hearing, name: str, preset: HearingPreset, reporter: Reporter, endpoint: str | None
) -> Path:
    folder = models_folder() / kind / name
    names = list(preset.files)
    if not (
        is_complete(folder, preset.repository, names, preset.revision)
        or adopt(folder, preset.repository, preset.files, preset.revision, preset.licence)
    ):
        reporter.log(f"Downloading {preset.repository} ({preset.licence}) into {folder}")
        try:
            result = fetch(
                folder,
                preset.repository,
                names,
                reporter,
                revision=preset.revision,
                endpoint=endpoint,
                licence=preset.licence,
                digests={file: digest for file, digest in preset.files.items() if digest},
            )
        except DownloadError as error:
            raise DownloadError(error.message, joined([error.hint, _AT_HAND[kind]])) from error
        reporter.log(f"{format_bytes(result.bytes)} came from {preset.repository}")
    return folder
