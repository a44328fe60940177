"""What a model family is: everything that differs between models of one arithmetic (`model/dual_ar.py`).

Starts no torch, no tokenizer library and no numpy: displays and estimates ask families, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.presets import LoraPreset
from ..sampling import Sampling, SamplingRule
from ..shape import Shape
from ..targets import TARGETS, patterns

if TYPE_CHECKING:
    from ...text.prompts import PromptBuilder
    from ...text.tokenizer import Tokenizer
    from ..containers.container import Container


class Family(ABC):
    """One model family. Its class attributes are what can be said without looking at a directory."""

    name: str
    """One word, for messages and programs."""
    title: str
    """For people: "S1 family (model_type dual_ar)"."""
    model_types: frozenset[str]
    """Values of `model_type` in the configuration."""
    config_file: str
    """The JSON file by which a directory of the family is known."""
    files: tuple[str, ...]
    """Files of a published directory, the codec's included, in the order of their download."""
    optional_files: frozenset[str] = frozenset()
    """Those that a directory may lack."""
    licence: str
    """Of the published weights and all that is made from them."""
    model_preset: str
    """Preset of the model that people have (`presets/models`)."""
    sampling: Sampling
    """The values that the family's own engine draws with."""
    targets: Mapping[str, str] = TARGETS
    """For every role the pattern that the names of its modules match whole."""

    def owns(self, config: Mapping[str, Any], directory: Path | None) -> bool:  # noqa: ARG002 - for others
        """Return whether a configuration is of this family.

        Args:
            directory: that it lies in, whose other files may tell families of one `model_type` apart; None
                where there is no directory yet. Files of one that is being downloaded may be missing.
        """
        kind = config.get("model_type")
        return isinstance(kind, str) and kind in self.model_types

    @abstractmethod
    def read_shape(self, config: Mapping[str, Any], source: str) -> Shape:
        """Return the shape that a configuration describes.

        Args:
            source: where it came from, for messages.

        Raises:
            CheckpointError: it makes no model, or one that cannot be computed rightly; names all faults.
        """

    @abstractmethod
    def tokenizer_files(self, directory: Path) -> tuple[Path, ...]:
        """Return the files of `directory` that decide what tokens a text becomes, absent ones too."""

    @abstractmethod
    def tokenizer(self, directory: Path) -> Tokenizer:
        """Read the tokenizer of a checkpoint directory.

        Raises:
            CheckpointError: a file is missing, broken, or not what it should be.
        """

    @abstractmethod
    def prompts(self, tokenizer: Tokenizer, num_codebooks: int) -> PromptBuilder:
        """Return the one builder of prompts for training, generation and proofs."""

    @abstractmethod
    def sampling_rule(self, sampling: Sampling, tokenizer: Tokenizer) -> SamplingRule:
        """Return the rule by which one text is drawn."""

    @abstractmethod
    def container(self, directory: Path) -> Container:
        """Return the weights' container of a checkpoint directory; they need not be there yet."""

    @abstractmethod
    def stored_names(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return for every tensor of the model the names in the container whose rows, joined, make it up.

        Names that belong to no tensor of the model are kept as they are, for the strict load to list, or left
        out where the family's files carry tensors of other models.
        """

    def resolved(self, preset: LoraPreset) -> LoraPreset:
        """Return a LoRA preset with patterns in place of roles."""
        return preset.model_copy(update={"targets": patterns(preset.targets, self.targets)})
