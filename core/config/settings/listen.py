"""Settings of what listens: `fishtune judge`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ..options import Option
from ..strict import Table
from .types import Device, UserPath, check_path_text

NameOrPath = Annotated[str, AfterValidator(check_path_text)]


class JudgeSettings(Table):
    """`fishtune judge`."""

    paths: Annotated[list[UserPath], Field(min_length=1), Option(argument=True)]
    """Recordings, and folders of them; what they should say stands in NAME.lab beside each."""
    reference: UserPath | None = None
    """A recording of the voice that they should have."""
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
