"""What a listener preferred in the blind tests of the listening page, and what that says of a checkpoint.

The page saves votes as JSON (`fishtune_votes`). They are kept with the run, in `results/NAME/votes.json`, and
counted by column. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, ValidationError

from ..data_model import DataModel
from ..errors import DataError, FishtuneError, MalformedFileError
from ..files import write_text
from ..tables import read_json

VOTES_FILE = "votes.json"
_LARGEST = 16 << 20
"""Bytes of a file of votes."""


class Vote(DataModel):
    """One answer: two columns said a text, the first as A and the second as B."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["ab", "abx"]
    text: str
    seed: int | None = None
    first: str
    second: str
    x: Literal["first", "second"] | None = None
    """Which of them X was, in A/B/X."""
    choice: Literal["first", "second", "same"]
    """The better one; in A/B/X the one that X was taken for."""
    time: str


class Votes(DataModel):
    """A file of votes."""

    fishtune_votes: Literal[1] = 1
    votes: list[Vote]


@dataclass(frozen=True)
class Preference:
    """How often a column was preferred to another, and another to it."""

    won: int = 0
    lost: int = 0

    @property
    def by_chance(self) -> float:
        """How likely at least as many wins would be if both were equally good (sign test)."""
        number = self.won + self.lost
        ways = sum(math.comb(number, wins) for wins in range(self.won, number + 1))
        return float(ways / 2**number)


def column_id(run: str, name: str) -> str:
    """Return what votes call a column: the run, and the name that the column has in its table."""
    return f"{run}/{name}"


def runs_of(vote: Vote) -> set[str]:
    """Return the runs whose columns a vote compares."""
    return {column.partition("/")[0] for column in (vote.first, vote.second)}


def read_votes(file: Path) -> list[Vote]:
    """Return the votes of a file.

    Raises:
        DataError: it does not hold votes.
        StorageError: the system refused to read it.
    """
    try:
        return Votes.model_validate(read_json(file, _LARGEST)).votes
    except (MalformedFileError, ValidationError) as error:
        raise DataError(
            "{file} does not hold votes of the listening page.",
            "Save them with the page's own button, and give that file.",
            file=file,
        ) from error


def votes_of(run: Path) -> list[Vote]:
    """Return the votes that are kept with a run; empty where there are none that can be read."""
    try:
        return read_votes(run / VOTES_FILE)
    except FishtuneError:
        return []


def keep_votes(run: Path, votes: Iterable[Vote]) -> int:
    """Add votes to those of a run, each once, and return how many were new.

    Raises:
        StorageError: they cannot be written.
    """
    kept = votes_of(run)
    every = list(dict.fromkeys([*kept, *votes]))
    if len(every) > len(kept):
        write_text(run / VOTES_FILE, Votes(votes=every).model_dump_json(indent=2) + "\n")
    return len(every) - len(kept)


def preferences(votes: Iterable[Vote]) -> dict[str, Preference]:
    """Return by column how it was preferred; what sounded the same says nothing, nor does A/B/X."""
    found: dict[str, Preference] = {}
    for vote in votes:
        if vote.kind != "ab" or vote.choice == "same" or vote.first == vote.second:
            continue
        better, worse = (vote.first, vote.second) if vote.choice == "first" else (vote.second, vote.first)
        won, lost = found.get(better, Preference()), found.get(worse, Preference())
        found[better] = Preference(won.won + 1, won.lost)
        found[worse] = Preference(lost.won, lost.lost + 1)
    return found
