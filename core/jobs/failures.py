"""What a person is told when a stage raised: every exception becomes one message and one hint."""

from __future__ import annotations

import errno
import sys

from ..errors import DeviceError, DeviceMemoryError, FishtuneError, StorageError

_MEMORY_HINT = (
    "Choose a smaller batch (train: --batch-tokens, extract: --batch-size), or end what else uses the "
    "device; fishtune gpus shows it. What was saved is kept."
)
_DRIVER_HINT = (
    "Run fishtune doctor: it says whether driver and torch fit together. --device cpu works without."
)
_AGAIN = "What is already done is kept; starting again goes on from there."


def explain(error: BaseException) -> FishtuneError:
    """Return the error to show for an exception that ended a stage: itself if it is one of ours.

    What nobody foresaw becomes a plain `FishtuneError` that asks for a report.
    """
    if isinstance(error, FishtuneError):
        return error
    if _is_device_out_of_memory(error):
        return DeviceMemoryError(f"The device ran out of memory: {_first_line(error)}", _MEMORY_HINT)
    if isinstance(error, MemoryError):
        return DeviceMemoryError(
            "The machine ran out of memory.",
            f"Choose smaller batches or fewer workers, or end other programs. {_AGAIN}",
        )
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
    torch = sys.modules.get("torch")  # what torch raises can only be there if torch is
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _is_driver_trouble(text: str) -> bool:
    return "Torch not compiled with CUDA" in text or any(
        sign in text for sign in ("NVIDIA driver", "CUDA driver", "CUDA error", "No CUDA GPUs")
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
