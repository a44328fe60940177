"""OpenAudio S1: flat `config.json`, `model.pth`, tiktoken ranks (formats.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....config.settings import CODEC_FILE
from ....messages import Message
from ...sampling import Sampling, SamplingRule
from ...shape import Shape
from .. import flat_config, names
from ..family import Family
from .files import CONFIG, RANKS, SPECIAL_TOKENS, WEIGHTS

if TYPE_CHECKING:
    from ....text.prompts import PromptBuilder
    from ....text.tokenizer import Tokenizer
    from ...containers.container import Container

MODEL_TYPE = "dual_ar"


class S1(Family):
    """See `Family`."""

    name = "s1"
    title = Message("S1 family (model_type {model_type})", model_type=MODEL_TYPE)
    model_types = frozenset({MODEL_TYPE})
    config_file = CONFIG
    files = (CONFIG, WEIGHTS, CODEC_FILE, RANKS, SPECIAL_TOKENS)
    optional_files = frozenset({SPECIAL_TOKENS})
    licence = "CC BY-NC-SA 4.0"
    model_preset = "openaudio-s1-mini"
    sampling = Sampling(temperature=0.8, top_p=0.8, repetition_penalty=1.1)

    def owns(self, config: Mapping[str, Any], directory: Path | None) -> bool:
        """See `Family.owns`; the family's earliest configurations name no type."""
        return "model_type" not in config or super().owns(config, directory)

    def read_shape(self, content: Mapping[str, Any], source: str) -> Shape:
        """See `Family.read_shape`."""
        return flat_config.read_shape(content, source)

    def tokenizer_files(self, directory: Path) -> tuple[Path, ...]:
        """See `Family.tokenizer_files`."""
        return directory / RANKS, directory / SPECIAL_TOKENS

    def tokenizer(self, directory: Path) -> Tokenizer:
        """See `Family.tokenizer`; without the file of special tokens the default list counts."""
        from .tokenizer import S1Tokenizer

        return S1Tokenizer.read(*self.tokenizer_files(directory))

    def prompts(self, tokenizer: Tokenizer, num_codebooks: int) -> PromptBuilder:
        """See `Family.prompts`."""
        from .prompts import S1Prompts

        return S1Prompts(tokenizer, num_codebooks)

    def sampling_rule(self, sampling: Sampling, tokenizer: Tokenizer) -> SamplingRule:  # noqa: ARG002
        """See `Family.sampling_rule`."""
        from .sampling import S1Rule

        return S1Rule(sampling)

    def container(self, directory: Path) -> Container:
        """See `Family.container`."""
        from ...containers.pth import PthContainer

        return PthContainer(directory, WEIGHTS)

    def stored_names(self, found: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """See `Family.stored_names`."""
        return names.flat_names(found)
