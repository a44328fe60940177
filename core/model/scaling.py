"""How adapters are scaled: what a file carries, what a user gives instead, and whether the two agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.presets import LARGEST_ALPHA, LoraPreset
from ..errors import UsageError
from ..messages import Message, joined


@dataclass(frozen=True)
class Scale:
    """What a file or a preset says about the scale of its adapters."""

    alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    rank: int | None = None


def is_scale(config: Mapping[str, Any]) -> bool:
    """Return whether a PEFT configuration says how adapters are scaled, in values of the right kind."""
    alpha, rank = config.get("lora_alpha"), config.get("r")
    return (
        isinstance(alpha, int | float)
        and not isinstance(alpha, bool)
        and 0 < alpha < LARGEST_ALPHA
        and (rank is None or (isinstance(rank, int) and not isinstance(rank, bool) and rank > 0))
        and all(isinstance(config.get(key, False), bool | None) for key in ("use_rslora", "use_dora"))
    )


def asked_scale(path: Path, preset: LoraPreset | None, alpha: float | None) -> Scale:
    """Return the scale that a preset or a number gives a file that carries none.

    Raises:
        UsageError: there is neither, or they contradict each other.
    """
    if preset is None and alpha is None:
        raise UsageError(
            "{file} does not carry its alpha.",
            "Give the one it was trained with: --lora-config r_8_alpha_16, or --lora-alpha 16.",
            file=path,
        )
    if preset is None:
        assert alpha is not None
        return Scale(alpha)
    scale = Scale(preset.alpha, preset.use_rslora, preset.use_dora, preset.rank)
    if preset.method != "lora":
        raise UsageError(
            "{file} holds adapters, and the preset is for full fine-tuning.", OTHER_PRESET, file=path
        )
    check_agreement(path, scale, None, alpha, Message("the preset"))
    return scale


OTHER_PRESET = Message("Choose the preset it was trained with; see them with: fishtune presets")


_ITS_OWN = Message("its own")


def check_agreement(
    path: Path,
    scale: Scale,
    preset: LoraPreset | None,
    alpha: float | None,
    whose: str = _ITS_OWN,
) -> None:
    """Refuse a preset or an alpha that contradicts a file.

    Args:
        whose: where `scale` comes from.

    Raises:
        UsageError: names all that differs.
    """
    differences = []
    if alpha is not None and alpha != scale.alpha:
        differences.append(
            Message(
                "alpha is {own:g} ({whose}) and not {other:g}",
                own=scale.alpha,
                whose=whose,
                other=alpha,
            )
        )
    if preset is not None:
        given = (preset.rank, preset.alpha, preset.use_rslora, preset.use_dora)
        for what, own, other in zip(
            ("rank", "alpha", "use_rslora", "use_dora"),
            (scale.rank, scale.alpha, scale.use_rslora, scale.use_dora),
            given,
            strict=True,
        ):
            if own != other:
                differences.append(
                    Message(
                        "{key} is {own} ({whose}) and not {other}",
                        key=what,
                        own=own,
                        whose=whose,
                        other=other,
                    )
                )
    if differences:
        raise UsageError(
            "The flags contradict {file}: {differences}.",
            "Leave out --lora-config and --lora-alpha, or name what it was trained with.",
            file=path,
            differences=joined(differences, "; "),
        )
