"""Prompts of the S1 family (formats.md section 3)."""

from __future__ import annotations

from collections.abc import Sequence

from ....text.markers import INTERLEAVE
from ....text.prompts import Columns, PromptBuilder, PromptFormat, Turn, TurnLength, add_legacy_prompt

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
            add_legacy_prompt(columns, text)

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

    def measure(self, prompt_format: PromptFormat, text: str) -> TurnLength:
        """See `PromptBuilder.measure`; measured once, since a reference adds what stands alone."""
        columns = Columns(self.tokenizer, self.num_codebooks)
        self.begin(columns, prompt_format, [], text)
        # The end token comes with the frames, and inputs lack the last column.
        return TurnLength(columns.length, columns.length)
