"""What a data set's folder holds, as every stage sees it: clips, and utterances, which have a recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Clip:
    """All files of one folder that share one name; what a stage needs of them may be missing."""

    speaker: str
    name: str
    """`NAME` or `BOOK/NAME`."""
    audio: tuple[Path, ...] = ()
    """Recordings of this name; more than one is an error, since they would share one code file."""
    text: Path | None = None
    codes: Path | None = None
    text_advice: Message = NOTHING
    """What to do about a missing transcript."""
    other_text: Path | None = None
    """What may be, or have, the missing transcript: another extension or spelling, or a table."""
    is_blocked: bool = False
    """Whether something that is no file has the name of its codes."""

    def __reduce__(self) -> tuple[object, ...]:
        # Paths as texts: a clip comes to another process in a third of the time.
        files = [None if path is None else str(path) for path in (self.text, self.codes, self.other_text)]
        audio = tuple(map(str, self.audio))
        return _received, (self.speaker, self.name, audio, *files, self.text_advice, self.is_blocked)

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


def _received(
    speaker: str,
    name: str,
    audio: Iterable[str],
    text: str | None,
    codes: str | None,
    other_text: str | None,
    text_advice: Message,
    is_blocked: bool,
) -> Clip:
    paths = [None if path is None else Path(path) for path in (text, codes, other_text)]
    return Clip(speaker, name, tuple(map(Path, audio)), paths[0], paths[1], text_advice, paths[2], is_blocked)


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
            Utterance(clip.speaker, clip.audio[0], clip.book)
            for clip in self.clips
            if len(clip.audio) == 1 and not clip.is_blocked
        ]

    @property
    def speakers(self) -> list[str]:
        """Names of the speakers' folders."""
        return sorted({clip.speaker for clip in self.clips})

    @property
    def left_out(self) -> list[Finding]:
        """What no clip stands for: every stage leaves it out, and says so."""
        return [problem for problem in self.problems if problem.code in LEAVES_OUT]
