"""Fish Audio S2: nested `config.json`, safetensors shards, a Hugging Face tokenizer (formats-s2.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....config.settings import CODEC_FILE
from ....errors import CheckpointError, MalformedFileError, StorageError
from ....messages import Message
from ....reading import read_regular
from ....tables import read_json
from ...containers.index import read_weight_map
from ...sampling import Sampling, SamplingRule
from ...shape import Shape
from ..family import LARGEST_CONFIG, Family
from . import config, names
from .files import CONFIG, INDEX, LARGEST_TOKENIZER, NOT_FOR_SPEECH, SHARDS, SINGLE, TOKENIZER, WEIGHTS
from .notice import NOTICE, TERMS, notice_text

if TYPE_CHECKING:
    from ....text.prompts import PromptBuilder
    from ....text.tokenizer import Tokenizer
    from ...containers.container import Container

_FIRST_TOKEN_OF_S1 = b'"<|begin_of_text|>"'


class S2(Family):
    """See `Family`."""

    name = "s2"
    title = Message("S2 family (model_type {model_type})", model_type=config.NESTED_TYPE)
    model_types = frozenset({config.NESTED_TYPE})
    config_file = CONFIG
    files = (CONFIG, INDEX, *SHARDS, CODEC_FILE, TOKENIZER, *NOT_FOR_SPEECH)
    optional_files = frozenset(NOT_FOR_SPEECH)
    licence = "Fish Audio Research License"
    terms = TERMS
    model_preset = "s2-pro"
    sampling = Sampling(temperature=1.0, top_p=0.9, top_k=30)

    def needed_files(self, directory: Path) -> tuple[str, ...]:
        """See `Family.needed_files`; which shards there are, the index tells once it is there."""
        weights: tuple[str, ...] = (_weights_in(directory),)
        if weights == (INDEX,):
            weights = (INDEX, *_shards_of(directory / INDEX))
        return (CONFIG, *weights, CODEC_FILE, TOKENIZER, *NOT_FOR_SPEECH)

    def owns(self, content: Mapping[str, Any], directory: Path | None) -> bool:
        """See `Family.owns`; a flat directory is of the family by its tokenizer."""
        if super().owns(content, directory):
            return True
        return (
            directory is not None
            and content.get("model_type") == config.FLAT_TYPE
            and _is_own_tokenizer(directory / TOKENIZER)
        )

    def read_shape(self, content: Mapping[str, Any], source: str) -> Shape:
        """See `Family.read_shape`."""
        return config.read_shape(content, source)

    def tokenizer_files(self, directory: Path) -> tuple[Path, ...]:
        """See `Family.tokenizer_files`."""
        return (directory / TOKENIZER,)

    def tokenizer(self, directory: Path) -> Tokenizer:
        """See `Family.tokenizer`; one whose semantic tokens the configuration contradicts is refused."""
        from .tokenizer import S2Tokenizer

        tokenizer = S2Tokenizer.read(directory / TOKENIZER)
        own = (tokenizer.semantic_begin_id, tokenizer.semantic_end_id)
        stated = _stated_range(directory / CONFIG)
        if any(said not in (None, actual) for said, actual in zip(stated, own, strict=True)):
            raise CheckpointError(
                "{config} has the semantic tokens {stated}, and {tokenizer} {own}.",
                "Both must come from the same model: download them again.",
                config=directory / CONFIG,
                stated="–".join(map(str, stated)),
                tokenizer=TOKENIZER,
                own="–".join(map(str, own)),
            )
        return tokenizer

    def prompts(self, tokenizer: Tokenizer, num_codebooks: int) -> PromptBuilder:
        """See `Family.prompts`."""
        from .prompts import S2Prompts

        return S2Prompts(tokenizer, num_codebooks)

    def sampling_rule(self, sampling: Sampling, tokenizer: Tokenizer) -> SamplingRule:
        """See `Family.sampling_rule`."""
        from .sampling import S2Rule

        return S2Rule(sampling, tokenizer)

    def container(self, directory: Path) -> Container:
        """See `Family.container`: shards before a single file before what the reference's merge writes."""
        from ...containers.pth import PthContainer
        from ...containers.safetensors import SafetensorsContainer, ShardedContainer

        name = _weights_in(directory)
        kinds = {INDEX: ShardedContainer, SINGLE: SafetensorsContainer, WEIGHTS: PthContainer}
        return kinds[name](directory, name)

    def notices(self, base: Path, changes: str) -> dict[str, str]:
        """See `Family.notices`; what the base's own notice says stays."""
        return {NOTICE: notice_text(base, changes)}

    def stored_names(self, found: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """See `Family.stored_names`."""
        return names.stored_names(found)


def _weights_in(directory: Path) -> str:
    """Return by which file a directory stores its weights; where there is none yet, as published."""
    return next((name for name in (INDEX, SINGLE, WEIGHTS) if (directory / name).exists()), INDEX)


def _shards_of(index: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(set(read_weight_map(index).values())))
    except (CheckpointError, StorageError):  # not there yet, or damaged
        return ()


def _is_own_tokenizer(file: Path) -> bool:
    """Return whether a flat directory's tokenizer is of this family: S1's has a token that begins a text."""
    try:
        return _FIRST_TOKEN_OF_S1 not in read_regular(file, LARGEST_TOKENIZER, CheckpointError)
    except (CheckpointError, StorageError):
        return False


def _stated_range(file: Path) -> tuple[Any, Any]:
    try:
        content = read_json(file, LARGEST_CONFIG)
    except MalformedFileError as error:
        raise CheckpointError(error.message, error.hint) from error
    return config.semantic_range(content)
