"""What LoRA presets may name: modules of the model, by role or by pattern. Starts no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from ..errors import SettingsError
from .shape import Shape

WORD_EMBEDDING = "embeddings"
"""The module that is the token head, too, in a model that ties them (`Shape.tie_word_embeddings`)."""


class Role(StrEnum):
    """Groups of modules that a preset may name in place of patterns."""

    SLOW_ATTENTION = "slow_attention"
    SLOW_MLP = "slow_mlp"
    FAST_ATTENTION = "fast_attention"
    FAST_MLP = "fast_mlp"
    EMBEDDINGS = "embeddings"
    CODEBOOK_EMBEDDINGS = "codebook_embeddings"
    HEADS = "heads"


TARGETS: Mapping[str, str] = MappingProxyType(
    {
        Role.SLOW_ATTENTION: r"layers\.\d+\.attention\.(wqkv|wo)",
        Role.SLOW_MLP: r"layers\.\d+\.feed_forward\.(w1|w2|w3)",
        Role.FAST_ATTENTION: r"fast_layers\.\d+\.attention\.(wqkv|wo)",
        Role.FAST_MLP: r"fast_layers\.\d+\.feed_forward\.(w1|w2|w3)",
        Role.EMBEDDINGS: WORD_EMBEDDING,
        Role.CODEBOOK_EMBEDDINGS: "codebook_embeddings",
        # A base may lack `output` (tied) or `fast_project_in` (equal widths).
        Role.HEADS: "(fast_)?output|fast_project_in",
    }
)
"""For every role the pattern that the names of its modules in `dual_ar.DualAR` match whole."""


_QUANTISED = (Role.SLOW_ATTENTION, Role.SLOW_MLP)


def patterns(targets: Iterable[str], roles: Mapping[str, str] = TARGETS) -> list[str]:
    """Return targets with patterns in place of roles."""
    return [roles.get(target, target) for target in targets]


def match_targets(targets: Iterable[str], names: Iterable[str]) -> dict[str, list[str]]:
    """Return for every target of a LoRA preset the modules it matches, whole names in the order given.

    A role that the model's family has not replaced (`Family.resolved`) is that of `TARGETS`.

    Raises:
        SettingsError: a target is not a regular expression.
    """
    modules, wanted = list(names), list(targets)
    found = {}
    for target, text in zip(wanted, patterns(wanted), strict=True):
        try:
            pattern = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise SettingsError(
                "The target {target} is not a regular expression: {reason}.",
                "Correct the preset.",
                target=repr(target),
                reason=error,
            ) from error
        found[target] = [name for name in modules if pattern.fullmatch(name)]
    return found


def quantised_modules(names: Iterable[str]) -> list[str]:
    """Return which modules `BasePrecision` is of: four fifths of S2-Pro, and nothing that faces the codec."""
    return [name for found in match_targets(_QUANTISED, names).values() for name in found]


def refuse_tied_embedding(targets: Iterable[str], shape: Shape) -> None:
    """Refuse targets that put an adapter on a word embedding which is the output head, too.

    Raises:
        SettingsError: says why; or a target is not a regular expression.
    """
    if shape.tie_word_embeddings and any(match_targets(targets, [WORD_EMBEDDING]).values()):
        raise SettingsError(
            "This preset puts an adapter on the word embedding, which in this base is the output head too "
            "(tie_word_embeddings): it would change what the model reads but not what it predicts, and the "
            "merged weights would change both.",
            "Choose a preset that leaves the embedding alone, such as r_16_alpha_16.",
        )
