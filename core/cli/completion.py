"""What the Tab key completes besides commands and options: names that the disk knows. Loads no torch.

A completer answers with names, or with pairs of a name and what a shell may show beside it. Where it has none
the shell completes files.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from ..config.options import Description
from ..config.presets import Kind, preset_names, read_preset
from ..config.run_files import list_checkpoints
from ..errors import FishtuneError
from ..jobs.find import jobs_of
from ..jobs.record import Place
from .running import places_here

Answer = list[str | tuple[str, str]]
Completer = Callable[[], Answer]


def _silent(find: Callable[[], Iterable[str | tuple[str, str]]]) -> Completer:
    """Return a completer that has nothing to say where the disk cannot be read: no error fits there."""

    def answer() -> Answer:
        with (
            contextlib.suppress(FishtuneError, OSError),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            return list(find())
        return []

    return answer


def _presets(kind: Kind) -> Iterator[tuple[str, str]]:
    for name in preset_names(kind):
        try:
            about = str(read_preset(kind, name).get("description", ""))
        except FishtuneError:  # a broken one is named when it is used
            about = ""
        yield name, about


def _runs() -> Iterator[str]:
    return (place.project for place in _places())


def _checkpoints() -> Iterator[str]:
    here = Path.cwd()
    for place in _places():
        for path in list_checkpoints(place.folder):
            yield str(path.relative_to(here) if path.is_relative_to(here) else path)


def _places() -> list[Place]:
    from ..pipeline.runs import has_run  # every command imports this module, and few ask for runs

    return [place for place in places_here() if has_run(place)]


def _jobs() -> list[tuple[str, str]]:
    return [(job.id, str(job.record.stage)) for job in reversed(jobs_of(places_here()))]


runs = _silent(_runs)
jobs = _silent(_jobs)
models = _silent(partial(_presets, "models"))
lora_presets = _silent(partial(_presets, "lora"))
_checkpoints_here = _silent(_checkpoints)

_BY_FIELD: dict[str, Completer] = {
    "asr_model": _silent(partial(_presets, "recognition")),
    "average": _checkpoints_here,
    "checkpoint": _checkpoints_here,
    "config_name": _silent(partial(_presets, "codec")),
    "lora_config": lora_presets,
    "lora_weight": _checkpoints_here,
    "name": models,
    "project": runs,
    "resume": _checkpoints_here,
    "runs": runs,
    "speaker_model": _silent(partial(_presets, "speaker")),
    "text_source": _silent(partial(_presets, "texts")),
}
_RUN = "RUN"


def completer_of(field: Description) -> Completer | None:
    """Return what completes the value of a field, None where that is left to typer and the shell."""
    return runs if field.option.metavar == _RUN else _BY_FIELD.get(field.name)
