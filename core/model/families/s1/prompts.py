"""Prompts of the S1 family (formats.md section 3)."""

from __future__ import annotations

from collections.abc import Sequence

from ....text.markers import IM_END, INTERLEAVE, VOICE
from ....text.prompts import Columns, PromptBuilder, PromptFormat, Turn, TurnLength

_SPEAKER = "<|speaker:0|>"


class S1Prompts(PromptBuilder):
    """`inference` is what the family's engine builds; `legacy` what its reference fine-tuning built."""

    def begin(
        self, columns: Columns, prompt_format: PromptFormat, references: Sequence[Turn], text: str
    ) -> None:
        """See `PromptBuilder.begin`."""
        if prompt_format == "inference":
            self._begin_inference(columns, references, text)
        else:
            self._begin_legacy(columns, text)

    @staticmethod
    def _begin_inference(columns: Columns, references: Sequence[Turn], text: str) -> None:
        columns.add_text(INTERLEAVE)
        for turn in references:
            columns.add_text(_SPEAKER)
            columns.add_speech(turn.text)
            columns.add_codes(turn.codes)
            columns.add_end()
        columns.add_text(_SPEAKER)
        columns.add_speech(text)

    @staticmethod
    def _begin_legacy(columns: Columns, text: str) -> None:
        # The parts are the reference's; the transcript is in normal form here too, since packing has put it
        # there and generation will. Ordinary text gives the reference's tokens.
        columns.add_text("Speak out the provided text.")
        columns.add_text("<|speaker:user|> ")
        columns.add_speech(text)
        columns.add_text(IM_END)
        columns.add_text(f"<|speaker:assistant|> {VOICE}")

    def measure(self, prompt_format: PromptFormat, text: str) -> TurnLength:
        """See `PromptBuilder.measure`; measured once, since a reference adds what stands alone."""
        columns = Columns(self.tokenizer, self.num_codebooks)
        self.begin(columns, prompt_format, [], text)
        # The end token comes with the frames, and inputs lack the last column.
        return TurnLength(columns.length, columns.length)
