"""What a data set's folder holds, as every stage sees it: clips, and utterances, which have a recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..messages import NOTHING, Message
from .findings import LEAVES_OUT, Finding

AUDIO_EXTENSIONS = (".mp3", ".wav", ".flac")
CODES_EXTENSION = ".npy"
SHARD_EXTENSION = ".protos"


@dataclass(frozen=True, slots=True, order=True)
class Utterance:
    """One recording of one speaker."""

    speaker: str
    audio: Path
    book: str = ""
    """Folder inside the speaker's, if any."""

    @property
    def name(self) -> str:
        """Name of the recording without extension: `NAME` or `BOOK/NAME`."""
        return f"{self.book}/{self.audio.stem}" if self.book else self.audio.stem

    @property
    def key(self) -> str:
        """`SPEAKER/NAME`, as the project file's `exclude` lists it."""
        return f"{self.speaker}/{self.name}"

    @property
    def codes_path(self) -> Path:
        """Where the codes belong; the file need not exist."""
        return self.audio.with_suffix(CODES_EXTENSION)


class Clip(NamedTuple):
    """All files of one folder that share one name; what a stage needs of them may be missing.

    Files are kept as texts: making a `Path` of each takes as long as finding them does. `audio`, `text` and
    `codes` make it where it is asked for.
    """

    speaker: str
    name: str
    """`NAME` or `BOOK/NAME`."""
    audio_files: tuple[str, ...] = ()
    """Recordings of this name; more than one is an error, since they would share one code file."""
    text_file: str | None = None
    codes_file: str | None = None
    text_advice: Message = NOTHING
    """What to do about a missing transcript."""
    other_text: Path | None = None
    """What may be, or have, the missing transcript: another extension or spelling, or a table."""
    is_blocked: bool = False
    """Whether something that is no file has the name of its codes."""

    @property
    def audio(self) -> tuple[Path, ...]:
        """Recordings of this name."""
        return tuple(map(Path, self.audio_files))

    @property
    def text(self) -> Path | None:
        """The transcript."""
        return None if self.text_file is None else Path(self.text_file)

    @property
    def codes(self) -> Path | None:
        """The codes."""
        return None if self.codes_file is None else Path(self.codes_file)

    @property
    def recording(self) -> str | None:
        """Its only recording, whose codes can be written; None where it is not so."""
        return self.audio_files[0] if len(self.audio_files) == 1 and not self.is_blocked else None

    @property
    def key(self) -> str:
        """`SPEAKER/NAME`."""
        return f"{self.speaker}/{self.name}"

    @property
    def book(self) -> str:
        """Folder inside the speaker's, if any."""
        return self.name.rpartition("/")[0]

    @property
    def folder(self) -> str:
        """`SPEAKER` or `SPEAKER/BOOK`: where its files lie in the data set."""
        return f"{self.speaker}/{self.book}" if self.book else self.speaker


@dataclass(frozen=True, slots=True)
class Scan:
    """What lies in a data set's folder. Everything is sorted by speaker, then name."""

    root: Path
    clips: list[Clip] = field(default_factory=list)
    """Every name, complete or not."""
    problems: list[Finding] = field(default_factory=list)
    """What is wrong with the layout itself: stray, doubled and missing files."""
    excluded: list[Clip] = field(default_factory=list)
    """Clips that are there and were to be left out."""

    @property
    def utterances(self) -> list[Utterance]:
        """The clips that have exactly one recording, whose codes can be written."""
        return [
            Utterance(clip.speaker, Path(clip.recording), clip.book)
            for clip in self.clips
            if clip.recording is not None
        ]

    @property
    def recordings(self) -> list[str]:
        """The files of `utterances`, as texts."""
        return [recording for clip in self.clips if (recording := clip.recording) is not None]

    @property
    def all_clips(self) -> list[Clip]:
        """Every name, those to be left out included."""
        if not self.excluded:
            return self.clips
        return sorted([*self.clips, *self.excluded], key=lambda clip: (clip.speaker, clip.name))

    @property
    def speakers(self) -> list[str]:
        """Names of the speakers' folders."""
        return sorted({clip.speaker for clip in self.clips})

    @property
    def left_out(self) -> list[Finding]:
        """What no clip stands for: every stage leaves it out, and says so."""
        return [problem for problem in self.problems if problem.code in LEAVES_OUT]
