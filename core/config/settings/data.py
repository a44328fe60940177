"""Settings of the stages up to the packed data set: validate, loudness-norm, extract, pack."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...file_names import TEXT_EXTENSION
from ..options import BASIC, FirstRunOnly, Option
from ..strict import Table
from .listen import ListenerSettings
from .types import CODEC_PRESET, Device, UserPath


class ValidateSettings(ListenerSettings):
    """`fishtune validate`."""

    data: Annotated[UserPath, Option(argument=True)]
    """The data set: one folder per speaker."""
    text_extension: str = TEXT_EXTENSION
    """Extension of the transcripts, with its dot."""
    exclude: list[str] = []
    """Leave out a clip, as SPEAKER/NAME; may be repeated."""
    num_workers: Annotated[int, Option(unit="processes")] = Field(default=0, ge=0)
    """Processes, and threads for recognition on a CPU; 0 = one per core."""
    listen: bool = False
    """Listen to the clips, too: words, voices, rooms and variety. Needs the extra "judge"."""


class LoudnessNormSettings(Table):
    """`fishtune loudness-norm`."""

    source: Annotated[UserPath, Option(argument=True)]
    """Folder of recordings, one folder per speaker; only read."""
    target: Annotated[UserPath, Option(argument=True)]
    """Folder for the normalised copies and the transcripts."""
    text_extension: str = TEXT_EXTENSION
    """Extension of the transcripts, with its dot."""
    loudness: Annotated[float, Option(unit="LUFS")] = Field(default=-23.0, ge=-70, le=-5)
    """Integrated loudness after normalisation (BS.1770), LUFS."""
    peak: Annotated[float, Option(unit="dBFS")] = Field(default=-1.0, le=0)
    """Highest sample peak allowed after normalisation, dBFS."""
    clean: Annotated[bool, FirstRunOnly(then=False)] = False
    """Empty TARGET first; refused if it holds anything that this command did not write."""
    num_workers: Annotated[int, Option(unit="processes")] = Field(default=0, ge=0)
    """Processes; 0 = one per core."""


class ExtractOptions(Table):
    """How semantic tokens are extracted."""

    config_name: Annotated[str, Option("Codec", group=BASIC)] = CODEC_PRESET
    """Codec preset, used where no codec_config.json lies beside the weights."""
    num_workers: Annotated[int, Option("Workers", unit="threads", group=BASIC)] = Field(default=1, ge=1)
    """Threads or processes that decode audio while the codec computes."""
    batch_size: Annotated[int, Option("Clips per batch", unit="clips", group=BASIC)] = Field(default=16, ge=1)
    """Maximum clips per batch. More is faster as long as the device's memory suffices."""
    batch_seconds: Annotated[
        float | None,
        Option("Seconds per batch", unit="seconds", group=BASIC, unset="15 on a CPU, else no limit"),
    ] = Field(default=None, gt=0)
    """Maximum seconds of audio per batch, padding included."""
    device: Annotated[Device, Option("Device", group=BASIC)] = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda or cuda:N."""


class ExtractSettings(ExtractOptions):
    """`fishtune extract`."""

    data: Annotated[UserPath, Option(argument=True)]
    """The data set: one folder per speaker."""
    checkpoint_path: UserPath
    """The codec's weights, codec.pth; else those of the project's model."""
    overwrite: Annotated[bool, FirstRunOnly(then=False)] = False
    """Also redo clips whose codes are there and valid."""
    exclude: list[str] = []
    """Leave out a clip, as SPEAKER/NAME; may be repeated."""


class PackOptions(Table):
    """How codes and transcripts are packed."""

    text_extension: Annotated[str, Option("Transcript extension", group=BASIC)] = TEXT_EXTENSION
    """Extension of the transcripts, with its dot."""
    num_workers: Annotated[int, Option("Workers", unit="processes", group=BASIC)] = Field(default=0, ge=0)
    """Processes; 0 = one per core."""
    shard_size: Annotated[int, Option("Bytes per shard", unit="bytes", group=BASIC)] = Field(
        default=10_000_000, gt=0
    )
    """Begin a new shard once the current one exceeds this many bytes."""


class PackSettings(PackOptions):
    """`fishtune pack`."""

    input: UserPath
    """The data set, with codes beside the recordings."""
    output: Annotated[UserPath, Option(unset="INPUT/protos")]
    """Folder of the shards; replaced whole."""
    exclude: list[str] = []
    """Leave out a clip, as SPEAKER/NAME; may be repeated."""
    allow_fewer: bool = False
    """Replace shards that hold many more clips than the new ones."""
