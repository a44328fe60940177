"""Settings of what listens, and of what is listened to: `fishtune judge`, `prepare` and `listen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from ...file_names import is_usable_name
from ...messages import Message
from ..options import BASIC, FirstRunOnly, Option
from ..strict import Table
from .types import Device, UserPath, check_path_text

# fmt: off
LANGUAGES = frozenset({
    "af", "am", "ar", "as", "az", "ba", "be", "bg", "bn", "bo", "br", "bs", "ca", "cs", "cy", "da", "de",
    "el", "en", "es", "et", "eu", "fa", "fi", "fo", "fr", "gl", "gu", "ha", "haw", "he", "hi", "hr", "ht",
    "hu", "hy", "id", "is", "it", "ja", "jw", "ka", "kk", "km", "kn", "ko", "la", "lb", "ln", "lo", "lt",
    "lv", "mg", "mi", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn", "no", "oc", "pa", "pl",
    "ps", "pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "sn", "so", "sq", "sr", "su", "sv", "sw", "ta",
    "te", "tg", "th", "tk", "tl", "tr", "tt", "uk", "ur", "uz", "vi", "yi", "yo", "yue", "zh",
})
# fmt: on
"""What recognition can be told to expect: the languages of Whisper's tokenizer. A model may know fewer."""


def _check_language(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(Message("no model for recognition knows this language"))
    return language


NameOrPath = Annotated[str, AfterValidator(check_path_text)]


class ListenerSettings(Table):
    """What listens to recordings: shared by the stages that judge."""

    language: Annotated[
        Annotated[str, AfterValidator(_check_language)] | None,
        Option("Language", group=BASIC, unset="recognised from text and sound"),
    ] = None
    """Language of the recordings, two letters: en, ko, zh, ja, es, de, fr, ..."""
    asr_model: Annotated[
        NameOrPath | None,
        Option("Recognition model", group=BASIC, unset="chosen by language and free memory"),
    ] = None
    """Model for recognition: base, small, small.en, large-v3-turbo, or a folder with Whisper for
    CTranslate2."""
    speaker_model: Annotated[NameOrPath | None, Option("Speaker encoder", group=BASIC, unset="campplus")] = (
        None
    )
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
    """Runs that have been auditioned: their names, or their folders (results/NAME). Or the folder of a data
    set."""
    output: Annotated[UserPath | None, Option(unset="listen.html or proofread.html in that folder")] = None
    """The page that is written."""
    least_sure: Annotated[Annotated[int, Field(ge=1)] | None, Option(unset="all", unit="clips")] = None
    """Of a data set: show only the clips whose words are least sure."""
    votes: list[UserPath] = []
    """Votes that the page saved: they are kept with the run and count in the recommendation."""
    serve: bool = False
    """Serve the page on this machine's 127.0.0.1 until Ctrl+C."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port to serve it on; 0 = any free one."""


def _check_speaker(name: str) -> str:
    if not name.strip() or name.startswith(".") or set("/\\") & set(name) or not is_usable_name(name):
        raise ValueError(
            Message("it is used as a folder name: it must not be empty, hidden or contain / or \\")
        )
    return name


class PrepareSettings(ListenerSettings):
    """`fishtune prepare`."""

    raw: Annotated[UserPath | None, Option(argument=True)] = None
    """Folder of recordings of any length, one folder per speaker; only read."""
    out: Annotated[UserPath, Option(argument=True)] = Path("data")
    """The data set that is made, or added to."""
    speaker: Annotated[
        Annotated[str, AfterValidator(_check_speaker)] | None, Option(unset="the folder's name")
    ] = None
    """Speaker of all recordings, instead of one per folder of RAW."""
    shortest: Annotated[float, Option(unit="seconds")] = Field(default=3.0, gt=0, le=60)
    """Shortest clip; what stands alone between long pauses may be shorter."""
    longest: Annotated[float, Option(unit="seconds")] = Field(default=12.0, ge=2, le=60)
    """Longest clip, never exceeded."""
    longest_pause: Annotated[float, Option(unit="seconds")] = Field(default=1.0, gt=0, le=10)
    """Longest silence within a clip."""
    kept_silence: Annotated[float, Option(unit="seconds")] = Field(default=0.2, ge=0, le=1)
    """Silence kept before and after the speech of a clip."""
    prompt: str = ""
    """Names and terms as they are spelt, for recognition: "Nguyen, Kyoto, PyTorch"."""
    keep_voice: UserPath | None = None
    """A clip of the voice that is wanted; clips of other voices are left out."""
    link: bool = False
    """Hard-link recordings that are clips already instead of copying them."""
    edits: UserPath | None = None
    """A file of corrections (JSON); without RAW nothing else is done."""
    overwrite: Annotated[bool, FirstRunOnly(then=False)] = False
    """Prepare recordings anew that were prepared before; their clips are replaced."""

    @model_validator(mode="after")
    def _check_lengths(self) -> PrepareSettings:
        if self.shortest >= self.longest:
            raise ValueError(Message("shortest must be less than longest"))
        return self
