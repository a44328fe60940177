"""A checkpoint directory: its family, its shape, and through the family all that is read from it.

Starts no torch by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .families import read_configuration
from .families.family import Family
from .sampling import Sampling, SamplingRule
from .shape import Shape

if TYPE_CHECKING:
    from ..text.prompts import PromptBuilder
    from ..text.tokenizer import Tokenizer
    from .containers.container import Container


@dataclass(frozen=True)
class ModelDirectory:
    """A checkpoint directory whose configuration has been read; what else is in it is read when asked for."""

    path: Path
    family: Family
    shape: Shape

    @classmethod
    def open(cls, path: Path) -> ModelDirectory:
        """Read the configuration of a checkpoint directory.

        Raises:
            CheckpointError: it is missing, broken, or describes no model; where the directory is none, which
                one is meant.
            StorageError: the system refused to read it.
        """
        found = read_configuration(path)
        return cls(path, found.family, found.read_shape())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; see `Family.tokenizer` for errors."""
        return self.family.tokenizer(self.path)

    @cached_property
    def prompts(self) -> PromptBuilder:
        """The builder of prompts; see `Family.tokenizer` for errors."""
        return self.family.prompts(self.tokenizer, self.shape.num_codebooks)

    @cached_property
    def container(self) -> Container:
        """The container of the weights."""
        return self.family.container(self.path)

    def rule(self, sampling: Sampling) -> SamplingRule:
        """Return the rule by which one text is drawn."""
        return self.family.sampling_rule(sampling, self.tokenizer)
