"""Errors that a user can meet.

Every one carries a `message` (what is wrong, with the file or value) and a `hint` (what to do next); both are
templates with their values (`messages.py`):

    raise DataError("{file} is empty.", "Record it again, or remove {file}.", file=path)

They are printed without a traceback; the traceback goes to the job's log.

    FishtuneError
    ├── UsageError              wrong flags or settings (exit code 2)
    │   └── SettingsError       a project file or preset with wrong keys or values
    ├── DataError               recordings, transcripts or codes that cannot be used
    ├── ShardError              packed data that cannot be read
    ├── CheckpointError         weights, configs or tokenizers that do not fit or cannot be read
    ├── DownloadError           the hub refused, is away, or sent less than was asked
    ├── MalformedFileError      JSON, TOML or another table that is damaged or out of bounds
    ├── StorageError            the system refused: a full or failing disk, no rights, too many open files
    ├── DeviceError             no such device, driver trouble
    │   └── DeviceMemoryError   the device's memory does not suffice
    ├── TrainingError           a run that must not go on
    │   └── PreflightError      the check before the first step failed
    └── JobError                a job that cannot be started, found or stopped
        └── JobRunningError     another job already writes there

`StopRequested` is no error: it unwinds a stage that was asked to stop, after the stage has saved.
"""

from __future__ import annotations

from .messages import NOTHING, Message, joined


class FishtuneError(Exception):
    """Base of all errors that are shown to a user.

    Args:
        message: one sentence: what is wrong, naming the file or value.
        hint: what to do next; empty where the message already says it.
        values: what the places of both are filled in with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", /, **values: object) -> None:
        self.message = Message.of(message, values)
        self.hint = Message.of(hint, values)
        super().__init__(self.message)

    def __str__(self) -> str:
        return joined([self.message, self.hint]) if self.hint else self.message

    def __reduce__(self) -> tuple[type[FishtuneError], tuple[Message, Message]]:
        # Errors cross process boundaries (decoding and packing pools); keep the hint on the way.
        return type(self), (self.message, self.hint)


class UsageError(FishtuneError):
    """The command or its settings are wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """A project file or preset has unknown keys or values out of range."""


class DataError(FishtuneError):
    """A recording, transcript or code file cannot be used."""


class ShardError(FishtuneError):
    """A packed data set cannot be read."""


class CheckpointError(FishtuneError):
    """Weights, a config or a tokenizer cannot be read or do not fit."""


class DownloadError(FishtuneError):
    """The model hub refused, is unreachable, or sent less than was asked."""


class MalformedFileError(FishtuneError):
    """A table (JSON, TOML) is missing, damaged or out of bounds."""


class StorageError(FishtuneError):
    """The system refused to read or write: a full or failing disk, no rights, too many open files, no memory.

    It says nothing about the content of any file: a stage ends with it and leaves what was there.
    """


class DeviceError(FishtuneError):
    """A device does not exist or its driver does not work."""


class DeviceMemoryError(DeviceError):
    """The device's memory does not suffice."""


class TrainingError(FishtuneError):
    """A training run that must not go on."""


class PreflightError(TrainingError):
    """The check before the first step failed: the set-up would train the wrong thing."""


class JobError(FishtuneError):
    """A job cannot be started, found or stopped."""


class JobRunningError(JobError):
    """Another job already writes to the same project and stage."""


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """Unwinds a stage that was asked to stop; everything worth keeping has been saved.

    Args:
        saved: one sentence on what is kept and how to continue.
        values: what its places are filled in with.
    """

    def __init__(self, saved: str = NOTHING, /, **values: object) -> None:
        self.saved = Message.of(saved, values)
        super().__init__(self.saved)
