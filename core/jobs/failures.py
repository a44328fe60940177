"""What a person is told when a stage raised: every exception becomes one message and one hint."""

from __future__ import annotations

import errno
import re
import sys

from ..compute.devices import is_out_of_memory
from ..errors import DeviceError, DeviceMemoryError, FishtuneError, StorageError
from ..stages.registry import StageName

_OTHERS_ON_DEVICE = "End what else uses the device; fishtune gpus shows it."
_DEVICE_MEMORY_ADVICE: dict[str, str] = {
    StageName.TRAIN: "Start it again with a smaller --batch-tokens and more --accumulation, or with "
    "--checkpointing blocks: the run goes on with them. Or end what else uses the device; fishtune gpus "
    "shows it.",
    StageName.EXTRACT: "Start it again with a smaller --batch-size, or end what else uses the device; "
    "fishtune gpus shows it.",
    StageName.SYNTH: "End what else uses the device (fishtune gpus shows it), or choose --device cpu.",
    StageName.AUDITION: "End what else uses the device (fishtune gpus shows it), or choose --device cpu.",
}
_OTHER_PROGRAMS = "End other programs, or run it where there is more memory."
_MEMORY_ADVICE: dict[str, str] = {
    StageName.TRAIN: "Start it again with a smaller --num-workers or --batch-tokens, or end other programs.",
    StageName.EXTRACT: "Start it again with a smaller --batch-size or --num-workers, or end other programs.",
    StageName.PACK: "Start it again with a smaller --num-workers, or end other programs.",
    StageName.VALIDATE: "Start it again with a smaller --num-workers, or end other programs.",
    StageName.LOUDNESS_NORM: "Start it again with a smaller --num-workers, or end other programs.",
}
_DRIVER_HINT = (
    "Run fishtune doctor: it says whether driver and torch fit together. --device cpu works without."
)
_AGAIN = "What is already done is kept; starting again goes on from there."


def memory_advice(stage: str) -> str:
    """Return what to change before a stage that ran out of the machine's memory is started again."""
    return _MEMORY_ADVICE.get(stage, _OTHER_PROGRAMS)


def explain(error: BaseException, stage: str = "") -> FishtuneError:
    """Return the error to show for an exception that ended a stage: itself if it is one of ours.

    What nobody foresaw becomes a plain `FishtuneError` that asks for a report.

    Args:
        stage: name of the stage, whose settings the advice may name.
    """
    if isinstance(error, FishtuneError):
        return error
    if _is_device_out_of_memory(error):
        return DeviceMemoryError(
            f"The device ran out of memory: {_first_line(error)}",
            f"{_DEVICE_MEMORY_ADVICE.get(stage, _OTHERS_ON_DEVICE)} {_AGAIN}",
        )
    if _could_not_be_loaded(error):
        return _explain_loading(error)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return DeviceMemoryError("The machine ran out of memory.", f"{memory_advice(stage)} {_AGAIN}")
    if isinstance(error, OSError):
        return _explain_operating_system(error)
    text = _first_line(error)
    if isinstance(error, RuntimeError | AssertionError) and _is_driver_trouble(text):
        return DeviceError(f"The GPU cannot be used: {text}", _DRIVER_HINT)
    return FishtuneError(
        f"The stage ended with an unexpected {type(error).__name__}: {text}",
        "This is a bug in fishtune: please report it with the job's log, which holds the traceback. "
        f"{_AGAIN}",
    )


def _could_not_be_loaded(error: BaseException) -> bool:
    """Whether a library like torch is installed, but the system could not load it."""
    if isinstance(error, ImportError):
        return not isinstance(error, ModuleNotFoundError) and _LOADING.search(str(error)) is not None
    # What the loader of shared libraries reports has no error number.
    return isinstance(error, OSError) and error.errno is None and _NO_ROOM.search(str(error)) is not None


_NO_ROOM = re.compile(r"failed to map segment|cannot allocate memory(?! in static TLS)", re.IGNORECASE)
_LOADING = re.compile(
    rf"{_NO_ROOM.pattern}|shared object|undefined symbol|\.so\b|\.dylib|DLL load failed|static TLS",
    re.IGNORECASE,
)


def _explain_loading(error: BaseException) -> FishtuneError:
    text = next((line for line in str(error).splitlines() if _LOADING.search(line)), _first_line(error))
    if _NO_ROOM.search(text):
        return DeviceMemoryError(
            f"There is not enough memory to load a library: {text.strip()}",
            "torch alone takes some gigabytes of address space: end other programs, or raise the limit of "
            "memory of this shell (ulimit -v), container or batch job.",
        )
    return DeviceError(
        f"A library cannot be loaded: {text.strip()}",
        "The installation is incomplete or does not fit this system; fishtune doctor says more.",
    )


def _explain_operating_system(error: OSError) -> StorageError:
    where = str(error.filename) if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f": {where} could not be written." if where else "."
        return StorageError(f"The disk is full{what}", f"Free some space on that disk. {_AGAIN}")
    reason = error.strerror or _first_line(error)
    what = f"{where}: {reason}." if where else f"{reason}."
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return StorageError(
            f"A file or folder is gone: {what}",
            f"Check that the disk is still mounted and that nothing moved the folder. {_AGAIN}",
        )
    return StorageError(
        f"The system refused: {what}", f"Check the disk and the permissions of that path. {_AGAIN}"
    )


def _is_device_out_of_memory(error: BaseException) -> bool:
    # What torch raises can only be there if torch is.
    return "torch" in sys.modules and isinstance(error, RuntimeError) and is_out_of_memory(error)


def _is_driver_trouble(text: str) -> bool:
    return "Torch not compiled with CUDA" in text or any(
        sign in text for sign in ("NVIDIA driver", "CUDA driver", "CUDA error", "No CUDA GPUs")
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
