"""Step 3: semantic tokens from the recordings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from textual.containers import Container, Vertical
from textual.widget import Widget

from ...core.codec.config import FRAME_RATE
from ...core.config.settings import ExtractSettings
from ...core.hardware.visibility import cuda_view
from ...core.pipeline.steps import StepName
from ...core.stages.registry import StageName
from ..access import wizard
from ..catalogue import _, mark
from ..project_state import ShownStep
from ..widgets.form import Field
from ..widgets.quiet_line import QuietLine
from ..widgets.suggestion import Suggestion
from ..wording import size
from .stage import StagePane

_BYTES_PER_MINUTE = 60 * FRAME_RATE * 10 * 8
"""Of codes of the published codec: ten codebooks, an int64 each."""


def device_options(pane: StagePane) -> tuple[tuple[str, str], ...]:
    """Return the devices that a stage would see as options; "" stands for not set."""
    reading = wizard(pane).gpus
    names = [f"cuda:{device.ordinal}" for device in cuda_view(reading).devices] if reading else []
    return (("", mark("automatic")), ("cpu", "cpu"), *((name, name) for name in names))


class ExtractPane(StagePane):
    """Device and batch size, with what fits; then clips, speed and failures."""

    step = StepName.EXTRACT
    stage = StageName.EXTRACT
    fields = (
        Field("extract", "device"),
        Field("extract", "batch_size"),
        Field("extract", "batch_seconds"),
        Field("extract", "num_workers"),
        Field("extract", "config_name"),
    )
    DEFAULT_CSS = """
    ExtractPane #parts, ExtractPane #choices { height: auto; }
    """

    def all_fields(self) -> tuple[Field, ...]:
        device, *others = self.fields
        options = device_options(self)
        return (replace(device, options=options), *others)

    def compose_before(self) -> Iterable[Widget]:
        with Container(id="parts"):
            with Vertical(id="choices"):
                yield from super().compose_before()
                yield QuietLine(id="where")
            yield Suggestion("extract", id="suggestion")

    def show_status(self, status: ShownStep) -> None:
        super().show_status(status)
        # To be known before they are made.
        self.query_one(QuietLine).say(
            _("Codes are written beside the recordings: {file}, about {size} per minute.").format(
                file=self.near(self.project.data / "SPEAKER" / "NAME.npy"), size=size(_BYTES_PER_MINUTE)
            )
        )

    def on_suggestion_taken(self, event: Suggestion.Taken) -> None:
        """Write the suggested batch into the project."""
        event.stop()
        self.take_values("extract", event.values)

    def settings(self) -> ExtractSettings:
        return self.project.extract_settings()

    def verb(self) -> str:
        return _("Extract again") if self.is_done else _("Extract")

    def help_text(self) -> str:
        return _(
            "Turns every recording into the semantic tokens that the model reads and writes; they are kept "
            "beside the audio as .npy files. Batch size and workers speed it up within the GPU's memory.\n"
            "Clips whose tokens are there, valid and newer than the audio are skipped, so a stopped or "
            "failed run goes on where it was. A clip that cannot be read is listed and does not hold up the "
            "others."
        )
