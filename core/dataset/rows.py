"""What a check says of each clip, for lists of all of them: it travels in `events.ClipsListed`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from .usage import DropReason

_LONGEST_TEXT: Final = 300
"""Letters of a transcript that a list shows and searches; 12 s of speech have about 200."""


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One clip as the check found it."""

    clip: str
    """`SPEAKER/NAME`."""
    seconds: float = 0.0
    """Of its recording; 0 where that cannot be used."""
    loudness: float | None = None
    """LUFS; None where nothing was measured."""
    letters: int = 0
    """Letters and digits that are spoken."""
    text: str = ""
    """The beginning of its transcript as it is trained."""
    dropped: DropReason | None = None
    """Why it is not used; None = it is."""
    findings: int = 0
    """How many findings concern this clip."""

    @property
    def speaker(self) -> str:
        """Name of its speaker's folder."""
        return self.clip.partition("/")[0]

    @property
    def pace(self) -> float | None:
        """Letters per second, None where either is not known."""
        return self.letters / self.seconds if self.seconds and self.letters else None

    def as_json(self) -> dict[str, Any]:
        """Return what `of` reads."""
        found = {name: getattr(self, name) for name in _FIELDS}
        return {**found, "text": self.text[:_LONGEST_TEXT], "seconds": round(self.seconds, 3)}

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> ClipRow | None:
        """Return the row that a file holds, or None where it is damaged."""
        loudness, dropped = found.get("loudness"), found.get("dropped")
        try:
            return cls(
                clip=str(found["clip"]),
                seconds=max(float(found["seconds"]), 0.0),
                loudness=None if loudness is None else float(loudness),
                letters=int(found["letters"]),
                text=str(found["text"])[:_LONGEST_TEXT],
                dropped=None if dropped is None else DropReason(dropped),
                findings=int(found["findings"]),
            )
        except (LookupError, OverflowError, TypeError, ValueError):
            return None


_FIELDS: Final = tuple(field.name for field in fields(ClipRow))
