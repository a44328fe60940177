"""S2 checkpoints with random weights, in the published format: tokenizer, configuration, shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from ..files import write_json
from ..model.checkpoint import build_model
from ..model.directory import ModelDirectory
from ..model.families.s2 import files
from ..model.families.s2.weights import SHARD_BYTES, save_model

TINY: dict[str, Any] = {
    "model_type": "fish_qwen3_omni",
    "text_config": {
        "n_layer": 4,
        "dim": 64,
        "n_head": 4,
        "n_local_heads": 2,
        "head_dim": 32,
        "intermediate_size": 128,
        "attention_qk_norm": True,
        "rope_base": 1_000_000,
        "norm_eps": 1e-6,
        "max_seq_len": 1024,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
    },
    "audio_decoder_config": {
        "vocab_size": 64,
        "num_codebooks": 10,
        "text_dim": 64,
        "n_layer": 2,
        "intermediate_size": 96,
        "attention_qk_norm": False,
    },
}
TINY_SHARD_BYTES = 400_000
_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
_NOT_SPECIAL = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
_OWN = (
    *("<|pad|>", "<|phoneme_start|>", "<|phoneme_end|>", "<|text|>", "<|voice|>", "<|interleave|>"),
    *("<|audio_start|>", "<|audio_end|>", "<|audio_pad|>"),
)
_SPLIT = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def write_s2(
    folder: Path,
    content: Mapping[str, Any],
    merges: Sequence[str],
    dtype: torch.dtype,
    generator: torch.Generator,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write tokenizer, configuration and weights; one shard is in memory at a time.

    Args:
        content: of a nested configuration; where `vocab_size` is missing, it is what the tokenizer needs.
        merges: tokens of several letters, each made of two that come before it.
    """
    text, codes = dict(content["text_config"]), content["audio_decoder_config"]["vocab_size"]
    tokenizer = _tokenizer(merges, codes)
    tokenizer.save(str(folder / files.TOKENIZER))
    size = tokenizer.get_vocab_size()
    text.setdefault("vocab_size", -(-(size + 1) // 8) * 8)
    ids = {"semantic_start_token_id": size - codes, "semantic_end_token_id": size - 1}
    end = {"eos_token_id": tokenizer.token_to_id("<|im_end|>"), "dtype": str(dtype).removeprefix("torch.")}
    write_json(folder / files.CONFIG, {**content, "text_config": text, **ids, **end})
    _write_other_files(folder)

    base = ModelDirectory.open(folder)
    model = build_model(base.shape, base.tokenizer, folder).to(dtype)

    def random(name: str, weight: Tensor) -> Tensor:
        made = torch.empty_like(weight, device="cpu")
        if "norm" in name:
            return made.fill_(1.0)
        return made.normal_(0.0, base.shape.initializer_range, generator=generator)

    save_model(model, folder, shard_bytes=shard_bytes, made=random)


def _tokenizer(merges: Sequence[str], codes: int) -> Tokenizer:
    vocabulary = {sign: number for number, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    pairs = []
    for merge in merges:
        letters = merge.replace(" ", "Ġ")
        pairs.append(
            next(
                (letters[:cut], letters[cut:])
                for cut in range(1, len(letters))
                if letters[:cut] in vocabulary and letters[cut:] in vocabulary
            )
        )
        vocabulary[letters] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs))
    tokenizer.normalizer = normalizers.NFC()
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), "isolated"), bytes_of]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for tokens, special in ((_SPECIAL, True), (_NOT_SPECIAL, False), (_OWN, True), (_codes(codes), True)):
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=special) for token in tokens])
    return tokenizer


def _codes(count: int) -> list[str]:
    return [f"<|semantic:{code}|>" for code in range(count)]


def _write_other_files(folder: Path) -> None:
    """Write what a published directory has besides, which nothing here reads."""
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    tokens = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    for name, text in (
        ("tokenizer_config.json", json.dumps(about, indent=2)),
        ("special_tokens_map.json", json.dumps(tokens, indent=2)),
        ("chat_template.jinja", "{{ messages }}\n"),
        ("LICENSE.md", "Random weights: there is nothing to license.\n"),
        ("README.md", "Random weights in the format of S2, made by fishtune demo-checkpoint.\n"),
    ):
        (folder / name).write_text(text, encoding="utf-8")
