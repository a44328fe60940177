"""What a user is told when a stage raised: every exception becomes one message and one hint."""

from __future__ import annotations

import errno
import re
import sys

from ..compute.devices import is_out_of_memory
from ..errors import DeviceError, DeviceMemoryError, FishtuneError, StorageError
from ..messages import Message, joined, of_the_system
from ..stages.registry import StageName

_OTHERS_ON_DEVICE = Message("End what else uses the device; fishtune gpus shows it.")
_DEVICE_MEMORY_ADVICE: dict[str, str] = {
    StageName.TRAIN: Message(
        "Start it again with a smaller --batch-tokens and more --accumulation, or with "
        "--checkpointing blocks: the run continues with them. Or end what else uses the "
        "device; fishtune gpus shows it."
    ),
    StageName.EXTRACT: Message(
        "Start it again with a smaller --batch-size, or end what else uses the device; "
        "fishtune gpus shows it."
    ),
    StageName.SYNTH: Message(
        "End what else uses the device (fishtune gpus shows it), or choose --device cpu."
    ),
    StageName.AUDITION: Message(
        "End what else uses the device (fishtune gpus shows it), or choose --device cpu."
    ),
}
_OTHER_PROGRAMS = Message("End other programs, or run it where there is more memory.")
_MEMORY_ADVICE: dict[str, str] = {
    StageName.TRAIN: Message(
        "Start it again with a smaller --num-workers or --batch-tokens, or end other programs."
    ),
    StageName.EXTRACT: Message(
        "Start it again with a smaller --batch-size or --num-workers, or end other programs."
    ),
    StageName.PACK: Message("Start it again with a smaller --num-workers, or end other programs."),
    StageName.VALIDATE: Message("Start it again with a smaller --num-workers, or end other programs."),
    StageName.LOUDNESS_NORM: Message("Start it again with a smaller --num-workers, or end other programs."),
}
_DRIVER_HINT = Message(
    "Run fishtune doctor: it says whether driver and torch fit together. --device cpu works without."
)
_AGAIN = Message("What is already done is kept; starting again continues from there.")


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
            "The device ran out of memory: {reason}",
            joined([_DEVICE_MEMORY_ADVICE.get(stage, _OTHERS_ON_DEVICE), _AGAIN]),
            reason=_first_line(error),
        )
    if _could_not_be_loaded(error):
        return _explain_loading(error)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return DeviceMemoryError("The machine ran out of memory.", joined([memory_advice(stage), _AGAIN]))
    if isinstance(error, OSError):
        return _explain_operating_system(error)
    text = _first_line(error)
    if isinstance(error, RuntimeError | AssertionError) and _is_driver_trouble(text):
        return DeviceError("The GPU cannot be used: {text}", _DRIVER_HINT, text=text)
    return FishtuneError(
        "The stage ended with an unexpected {kind}: {text}",
        "This is a bug in fishtune: please report it with the job's log, which holds the traceback. {again}",
        kind=type(error).__name__,
        text=text,
        again=_AGAIN,
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
            "There is not enough memory to load a library: {text}",
            "torch alone takes some gigabytes of address space: end other programs, or raise the limit of "
            "memory of this shell (ulimit -v), container or batch job.",
            text=text.strip(),
        )
    return DeviceError(
        "A library cannot be loaded: {text}",
        "The installation is incomplete or does not fit this system; fishtune doctor says more.",
        text=text.strip(),
    )


def _explain_operating_system(error: OSError) -> StorageError:
    where = str(error.filename) if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            Message("The disk is full: {file} could not be written.", file=where)
            if where
            else Message("The disk is full."),
            "Free some space on that disk. {again}",
            again=_AGAIN,
        )
    reason = of_the_system(error) or Message(_first_line(error))
    what = (
        Message("{file}: {reason}.", file=where, reason=reason)
        if where
        else Message("{reason}.", reason=reason)
    )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return StorageError(
            "A file or folder is gone: {what}",
            "Check that the disk is still mounted and that nothing moved the folder. {again}",
            what=what,
            again=_AGAIN,
        )
    return StorageError(
        "The system refused: {what}",
        "Check the disk and the permissions of that path. {again}",
        what=what,
        again=_AGAIN,
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
