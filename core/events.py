"""What a running stage says: typed, versioned events, one JSON line each.

Stages emit events to a `Reporter`; the command line draws them, a job appends them to `events.jsonl`, and
the wizard and `fishtune attach` read them back. Nothing else travels from a stage to a display.

Times are Unix seconds, durations seconds, sizes bytes, losses natural-log cross-entropies.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from .data_model import DataModel
from .errors import MalformedFileError, StopRequested
from .messages import AS_DATA, NOTHING, Message
from .tables import LARGEST_INTEGER, check_bounds

EVENT_VERSION = 1
LATEST: Final = 250_000_000_000
"""Unix time in the year 9892: what every calendar and time zone can still show."""
_LONGEST = 1e10
_LARGEST = 1e18


def _or_unknown(most: float) -> BeforeValidator:
    """Make an estimate that nobody can mean (not finite, negative, beyond `most`) an unknown one."""

    def check(value: Any) -> Any:
        is_number = isinstance(value, int | float)
        return None if is_number and not 0 <= value <= most else value  # NaN is not in any range

    return BeforeValidator(check)


Instant = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]
"""Unix time that can be shown as a date."""
Counted = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Estimate = Annotated[float | None, _or_unknown(_LARGEST)]
Remaining = Annotated[float | None, _or_unknown(_LONGEST)]
"""Seconds to go; at most some 300 years."""


class _Event(DataModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer writer may add fields

    v: int = EVENT_VERSION
    time: Instant = Field(default_factory=time.time)


class Started(_Event):
    """The stage has begun; `settings` is its settings model as JSON."""

    kind: Literal["started"] = "started"
    stage: str
    settings: dict[str, Any] = {}
    resumed_from: str = ""


class Progress(_Event):
    """How far a stage is. Each replaces the one before it of the same `task`."""

    kind: Literal["progress"] = "progress"
    task: Message  # what is counted, in words: "encoding", "model.pth"
    done: Counted
    total: Estimate = None
    unit: str = ""  # "clips", "bytes", "steps", "s" of audio
    rate: Estimate = None  # units a second
    eta: Remaining = None  # seconds to go
    detail: Message = NOTHING  # "37.2 × real time", the current file


class Phase(_Event):
    """What the stage is doing now, where nothing is counted: "loading the model". Replaces the one before."""

    kind: Literal["phase"] = "phase"
    name: Message


class ItemFailed(_Event):
    """One clip, file or item could not be used; the stage goes on without it."""

    kind: Literal["item_failed"] = "item_failed"
    item: str
    message: Message
    hint: Message = NOTHING


class Step(_Event):
    """One optimizer step of training. `clip_passes` is the mean number of times a training clip was seen."""

    kind: Literal["step"] = "step"
    step: Whole
    total_steps: Annotated[int | None, _or_unknown(LARGEST_INTEGER)] = None
    clip_passes: Counted = 0.0
    loss: float
    base_loss: float
    semantic_loss: float
    top_5_accuracy: float | None = None
    learning_rate: float
    gradient_norm: float | None = None
    tokens_per_second: Estimate = None
    eta: Remaining = None
    memory_bytes: int | None = None  # peak of the training process on its device


class Validation(_Event):
    """Held-out losses at a step."""

    kind: Literal["validation"] = "validation"
    step: Whole
    clip_passes: Counted = 0.0
    loss: float
    base_loss: float
    semantic_loss: float
    top_5_accuracy: float


class CheckpointSaved(_Event):
    """A checkpoint is complete on disk. `adapter` is the PEFT folder beside it."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: Whole
    path: str
    adapter: str = ""
    bytes: Whole = 0
    clip_passes: Counted = 0.0
    validation_loss: float | None = None


class MemoryMeasured(_Event):
    """Predicted and measured peak device memory of the stage that starts."""

    kind: Literal["memory"] = "memory"
    predicted_bytes: Whole
    measured_bytes: Whole | None = None
    device: str = ""
    parts: dict[str, Whole] = {}


class ClipsListed(_Event):
    """What a check says of some of the clips, in their order: a `core.dataset.rows.ClipRow` each.

    They come as events of some hundred, so that the last event of a large data set's check stays small.
    """

    kind: Literal["clips"] = "clips"
    clips: list[dict[str, Any]]


class Log(_Event):
    """A line worth showing that has no type of its own."""

    kind: Literal["log"] = "log"
    message: str


class Warned(_Event):
    """Something a user should know; the stage goes on."""

    kind: Literal["warning"] = "warning"
    message: Message
    hint: Message = NOTHING
    guard: bool = False  # a guard of training says so, and somebody may have asked to be told


class Failed(_Event):
    """The stage ended with an error; the traceback is in the log."""

    kind: Literal["failed"] = "failed"
    error: str  # class name of the error
    message: Message
    hint: Message = NOTHING


class Stopped(_Event):
    """The stage ended because it was asked to; `saved` says what is kept."""

    kind: Literal["stopped"] = "stopped"
    saved: Message = NOTHING


class Finished(_Event):
    """The stage is done; `summary` is its result as JSON."""

    kind: Literal["finished"] = "finished"
    summary: dict[str, Any] = {}


Event = Annotated[
    Started
    | Progress
    | Phase
    | ItemFailed
    | Step
    | Validation
    | CheckpointSaved
    | MemoryMeasured
    | ClipsListed
    | Log
    | Warned
    | Failed
    | Stopped
    | Finished,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))
LAST_EVENTS = (Failed, Stopped, Finished)


def encode_event(event: Event) -> bytes:
    """Return the event as one UTF-8 JSON line, newline included; what is not UTF-8 becomes `?`."""
    try:
        return event.model_dump_json(exclude_none=True, context=AS_DATA).encode("utf-8") + b"\n"
    except ValueError:  # half of a surrogate pair: a name whose bytes are no UTF-8
        content = json.dumps(
            event.model_dump(exclude_none=True, context=AS_DATA), ensure_ascii=False, default=str
        )
        return content.encode("utf-8", errors="replace") + b"\n"


def decode_event(line: bytes) -> Event | None:
    """Return the event of one line, or None if it is torn, damaged or of a kind this version does not know.

    Times that no calendar has and counts beyond any sense are damage; estimates of that kind are unknown.
    """
    try:
        event = _ADAPTER.validate_json(line)
        if isinstance(event, Started | Finished):
            # Their tables hold anything: bounds that the types do not know.
            check_bounds(event.settings if isinstance(event, Started) else event.summary, "an event")
    except (MalformedFileError, ValidationError):
        return None
    numbers = (value for value in event.__dict__.values() if isinstance(value, float))
    return event if all(map(math.isfinite, numbers)) else None


_END: Final = re.compile(
    rb'\{"v":[0-9]{1,6},"time":([0-9]{1,11}(?:\.[0-9]{1,9})?),"kind":"(finished|failed|stopped)",.*\}\n',
    re.DOTALL,
)
"""A last event as `encode_event` writes it."""


def decode_end(line: bytes) -> tuple[str, float] | None:
    """Return kind and time of the last event of one line, None for any other; a result is not read."""
    if (found := _END.fullmatch(line)) is not None:
        return found[2].decode(), float(found[1])
    event = decode_event(line)
    return (event.kind, event.time) if isinstance(event, LAST_EVENTS) else None


class Reporter:
    """Receives a stage's events and carries a request to stop to it.

    This base class drops events; displays and jobs override `emit`. A stage calls `check_stop` between
    units of work that can be lost, or looks at `stop_requested` where it must save first. `request_stop`
    may be called from a signal handler or another thread.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()

    def emit(self, event: Event) -> None:
        """Take one event. Never raises: a display that broke must not end the work."""

    @property
    def stop_requested(self) -> bool:
        """Whether the stage was asked to stop."""
        return self._stop.is_set()

    def request_stop(self) -> None:
        """Ask the stage to stop at its next safe point."""
        self._stop.set()

    def check_stop(self, saved: str = NOTHING, /, **values: object) -> None:
        """Raise `StopRequested(saved)` if the stage was asked to stop; `values` fill in its places."""
        if self.stop_requested:
            raise StopRequested(saved, **values)

    def warn(self, message: str, hint: str = NOTHING, /, **values: object) -> None:
        """Emit a `Warned` event; `values` fill in the places of both sentences."""
        self.emit(Warned(message=Message.of(message, values), hint=Message.of(hint, values)))

    def guard(self, message: str, hint: str = NOTHING, /, **values: object) -> None:
        """Emit a `Warned` event of which whoever asked for it is told (`[notify]`)."""
        event = Warned(message=Message.of(message, values), hint=Message.of(hint, values), guard=True)
        self.emit(event)

    def phase(self, name: str) -> None:
        """Emit a `Phase` event: from now on the stage does this."""
        self.emit(Phase(name=Message.of(name, {})))

    def log(self, message: str) -> None:
        """Emit a `Log` event, which is in English everywhere."""
        self.emit(Log(message=message))


_TELLING = 1e-3
"""Share of the units from which on they tell how long the others take."""


class ProgressMeter:
    """Counts units of one task and emits `Progress` at most `frequency` times a second.

    Rate and time to go come from the units counted by this meter; `done` at the start (a resumed stage)
    does not speed them up. Of many units the very first tell nothing: they waited for the stage's start.
    """

    def __init__(
        self,
        reporter: Reporter,
        task: str,
        total: float | None,
        unit: str,
        done: float = 0,
        frequency: float = 2.0,
    ) -> None:
        self._reporter = reporter
        self._task = Message.of(task, {})
        self._total = total
        self._unit = unit
        self._done = done
        self._begun_with = done
        self._begun_at = time.monotonic()
        self._interval = 1.0 / frequency
        self._shown_at = 0.0

    def advance(self, units: float = 1, detail: str = NOTHING) -> None:
        """Count `units` more; emit if the last event is old enough or the task is complete."""
        self._done += units
        now = time.monotonic()
        if now - self._shown_at >= self._interval or (self._total is not None and self._done >= self._total):
            self._shown_at = now
            self.show(detail)

    def show(self, detail: str = NOTHING) -> None:
        """Emit the present state."""
        elapsed = time.monotonic() - self._begun_at
        counted = self._done - self._begun_with
        rate = counted / elapsed if counted > 0 and elapsed > 0 else None
        eta = None
        if rate and self._total is not None and counted >= _TELLING * (self._total - self._begun_with):
            eta = (self._total - self._done) / rate
        self._reporter.emit(
            Progress(
                task=self._task,
                done=self._done,
                total=self._total,
                unit=self._unit,
                rate=rate,
                eta=eta,
                detail=Message.of(detail, {}),
            )
        )
