"""Settings of what listens, and of what is listened to: `fishtune judge`, `fishtune listen`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ..options import Option
from ..strict import Table
from .types import Device, UserPath, check_path_text

NameOrPath = Annotated[str, AfterValidator(check_path_text)]


class ListenerSettings(Table):
    """What listens to recordings: shared by the stages that judge."""

    language: Annotated[
        Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None, Option(unset="recognised from text and sound")
    ] = None
    """Language of the recordings, two letters: en, ko, zh, ja, es, de, fr, ..."""
    asr_model: Annotated[NameOrPath | None, Option(unset="chosen by language and free memory")] = None
    """Model for recognition: base, small, small.en, large-v3-turbo, or a folder with Whisper for
    CTranslate2."""
    speaker_model: Annotated[NameOrPath | None, Option(unset="campplus")] = None
    """Speaker encoder: campplus, or a file (.onnx, or CAM++ as .pt)."""
    num_workers: Annotated[int, Option(unit="threads")] = Field(default=0, ge=0)
    """Threads for recognition on a CPU; 0 = as many as suit it."""
    device: Device = "auto"
    """auto, cpu, cuda or cuda:N."""


class JudgeSettings(ListenerSettings):
    """`fishtune judge`."""

    paths: Annotated[list[UserPath], Field(min_length=1), Option(argument=True)]
    """Recordings, and folders of them; what they should say stands in NAME.lab beside each."""
    reference: UserPath | None = None
    """A recording of the voice that they should have."""


class ListenSettings(Table):
    """`fishtune listen`."""

    runs: Annotated[list[UserPath], Option(argument=True, unset="the project's run")] = []
    """Runs that have been auditioned: their names, or their folders (results/NAME)."""
    output: Annotated[UserPath | None, Option(unset="listen.html in the run's folder")] = None
    """The page that is written."""
    votes: list[UserPath] = []
    """Votes that the page saved: they are kept with the run and count in the recommendation."""
    serve: bool = False
    """Serve the page on this machine's 127.0.0.1 until Ctrl+C."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port to serve it on; 0 = any free one."""
