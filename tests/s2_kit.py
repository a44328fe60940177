"""Tiny S2 directories: the reference's with a codec, and variants of it with random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fishtune.core.model.checkpoint import build_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s2 import S2
from fishtune.core.model.families.s2.weights import save_model

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_S2 = Path(__file__).parent / "golden-s2"
CODEC = ("codec.pth", "codec_config.json")
Change = Callable[[dict[str, Any]], object]


def whole_base(directory: Path) -> Path:
    """Write the reference's base, with the codec that its directory lacks."""
    shutil.copytree(GOLDEN_S2 / "base", directory)
    for name in CODEC:
        shutil.copy(GOLDEN / "base" / name, directory)
    return directory


def random_base(
    directory: Path,
    change: Change = lambda content: None,
    *,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = 150_000,
) -> Path:
    """Write a base as `whole_base`, with random weights of another configuration, in two shards or more."""
    whole_base(directory)
    for file in directory.glob("model*"):
        file.unlink()
    content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    change(content)
    (directory / "config.json").write_text(json.dumps(content), encoding="utf-8")
    model = random_model(directory).to(dtype)
    save_model(model, directory, shard_bytes=shard_bytes)
    return directory


def random_model(directory: Path) -> DualAR:
    """Return a model of a directory's shape whose frames hardly repeat."""
    content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    family = S2()
    model = build_model(family.read_shape(content, "config.json"), family.tokenizer(directory), directory)
    model = model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for key, weight in model.named_parameters():
        spread = 0.1 if "norm" in key else 0.05 if "embeddings" in key else 0.3
        torch.nn.init.normal_(weight, 1.0 if "norm" in key else 0.0, spread, generator=generator)
    return model


def without(*keys: str) -> Change:
    """Return a change that leaves keys out of both transformers' tables."""

    def change(content: dict[str, Any]) -> None:
        for table in ("text_config", "audio_decoder_config"):
            for key in keys:
                content[table].pop(key, None)

    return change


def with_values(slow: dict[str, Any] | None = None, fast: dict[str, Any] | None = None) -> Change:
    """Return a change that sets keys of the slow and the fast transformer."""

    def change(content: dict[str, Any]) -> None:
        content["text_config"] |= slow or {}
        content["audio_decoder_config"] |= fast or {}

    return change
