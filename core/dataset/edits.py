"""Edits of a data set's clips, as files and screens give them; `proofreading` says what each does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import DataError
from ..messages import Message


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    clip: str
    """`SPEAKER/NAME`."""


class ChangeText(_Edit):
    """The clip says something else than its transcript has."""

    kind: Literal["text"] = "text"
    text: str


class LeaveOut(_Edit):
    """The clip is not to be trained on."""

    kind: Literal["leave-out"] = "leave-out"


class Split(_Edit):
    """The clip becomes two, `NAME` and `NAME+`, before one of its words."""

    kind: Literal["split"] = "split"
    at: float = Field(gt=0)
    """Seconds from the clip's beginning."""
    before: int = Field(gt=0)
    """Number of the word of the transcript, from 0, that the second part begins with."""


class Join(_Edit):
    """The clip and the one behind it become one."""

    kind: Literal["join"] = "join"


Edit = Annotated[ChangeText | LeaveOut | Split | Join, Field(discriminator="kind")]
_EDITS: TypeAdapter[list[Edit]] = TypeAdapter(list[Edit])


def read_edits(content: object, name: str) -> list[Edit]:
    """Return the edits that a file holds: a list, or a table with `edits`.

    Args:
        name: the file's, for the message.

    Raises:
        DataError: it holds something else.
    """
    found = content.get("edits") if isinstance(content, dict) else content
    try:
        return _EDITS.validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            "{file} does not hold edits of clips: {reason} ({place}).",
            "What such a file holds is in docs/prepare.md.",
            file=name,
            reason=first["msg"],
            place=".".join(map(str, first["loc"])) or Message("the whole"),
        ) from error
