"""Prompts of the S2 family: a chat whose system message carries the references (formats-s2.md section 3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ....text.markers import IM_END, IM_START, SPEAKER, VOICE
from ....text.prompts import Columns, PromptBuilder, PromptFormat, Turn, add_legacy_prompt

MOST_TURNS = 5
"""Turns of speakers that are spoken in one piece."""
PART_BYTES = 300
"""UTF-8 bytes of the turns that are spoken in one piece; a longer turn is a piece of its own."""
_TASK = "convert the provided text to speech"


class S2Prompts(PromptBuilder):
    """`inference` is what the family's engine builds; `legacy` what its reference fine-tuning built.

    Engines disagree on whether the text to speak has a mark of its speaker: training gives it in both forms.
    """

    variants = 2

    def begin(
        self, columns: Columns, prompt_format: PromptFormat, references: Sequence[Turn], text: str
    ) -> None:
        """See `PromptBuilder.begin`."""
        if prompt_format == "legacy":
            add_legacy_prompt(columns, text)
            return
        columns.add_text(f"{IM_START}system\n")
        if references:
            columns.add_text(f"{_TASK} reference to the following:\n\nText:\n")
            columns.add_speech(*(_of_speaker(number, turn.text) for number, turn in enumerate(references)))
            columns.add_text("\n\nSpeech:\n")
            for turn in references:
                columns.add_codes(turn.codes)
        else:
            columns.add_text(_TASK)
        self.resume(columns, text)

    def resume(self, columns: Columns, text: str) -> None:
        """See `PromptBuilder.resume`: the message before ends, and the user's with `text` follows."""
        columns.add_text(f"{IM_END}\n")
        columns.add_text(f"{IM_START}user\n")
        columns.add_speech(*_speaker_turns(text))
        columns.add_text(f"{IM_END}\n")
        columns.add_text(f"{IM_START}assistant\n{VOICE}")

    def parts(self, text: str, largest: int = PART_BYTES) -> list[str]:
        """See `PromptBuilder.parts`: turns of speakers are spoken a few at a time, all else in one piece.

        Args:
            largest: UTF-8 bytes of a part of several turns.
        """
        found: list[list[str]] = []
        for turn in _speaker_turns(text):
            together = [*found[-1], turn] if found else [turn]
            if found and len(together) <= MOST_TURNS and len("\n".join(together).encode()) <= largest:
                found[-1] = together
            else:
                found.append([turn])
        return ["\n".join(turns) for turns in found]

    def training_text(self, text: str, variant: int) -> str:
        """See `PromptBuilder.training_text`: without and with a mark of its speaker."""
        return _of_speaker(0, text) if variant else text


def _of_speaker(number: int, text: str) -> str:
    return text if SPEAKER.search(text) else f"<|speaker:{number}|>{text}"


def _speaker_turns(text: str) -> list[str]:
    """Return a text cut before every mark of a speaker; words before the first are a turn, too."""
    starts = [0, *(mark.start() for mark in SPEAKER.finditer(text)), len(text)]
    turns = [text[start:end].strip() for start, end in itertools.pairwise(starts)]
    return [turn for turn in turns if turn] or [text]
