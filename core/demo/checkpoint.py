"""Base checkpoints with random weights, in the real format: for the demo, tests and benchmarks.

Names and shapes of the weights come from the modules that load them. What only a published file has is
added: weight norm in the codec's convolutions, and the tables that nobody needs (formats.md section 4).
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..codec.checkpoint import stored_tensors
from ..codec.codec import Codec
from ..codec.config import CONFIG_FILE as CODEC_CONFIG_FILE
from ..codec.config import MAX_FRAMES, CodecConfig
from ..codec.layers import ResidualUnit
from ..compute.layers import rotary_table
from ..config.presets import model_preset, read_preset
from ..config.settings import CODEC_FILE, CODEC_PRESET
from ..config.strict import parse
from ..errors import UsageError
from ..files import atomic_folder
from ..model.checkpoint import build_model
from ..model.directory import ModelDirectory
from ..model.families.s1 import S1, files
from ..model.families.s1.weights import save_model
from ..text.markers import DEFAULT_SPECIAL_TOKENS
from .s2 import TINY, TINY_SHARD_BYTES, write_s2

Shape = Literal["tiny", "s1-mini", "s2-tiny", "s2-pro"]

# Every second merge needs the one before it, as in a learned vocabulary.
_MERGES = (" t", "he", " the", "in", "ing", "er", "an", "and", " a", " s", "re", "on", " w", "ou", "th", "or")
_TINY_MODEL: dict[str, Any] = {
    "model_type": "dual_ar",
    "n_layer": 4,
    "dim": 64,
    "n_head": 4,
    "n_local_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "rope_base": 1_000_000,
    "norm_eps": 1e-6,
    "max_seq_len": 1024,
    "dropout": 0.0,
    "tie_word_embeddings": False,
    "attention_qkv_bias": False,
    "attention_o_bias": False,
    "attention_qk_norm": True,
    "codebook_size": 64,
    "num_codebooks": 10,
    "initializer_range": 0.02,
    "scale_codebook_embeddings": True,
    "norm_fastlayer_input": False,
    "n_fast_layer": 2,
    "fast_dim": 64,
    "fast_n_head": 4,
    "fast_n_local_heads": 2,
    "fast_head_dim": 16,
    "fast_intermediate_size": 96,
    "fast_attention_qkv_bias": False,
    "fast_attention_qk_norm": False,
    "fast_attention_o_bias": False,
}
_TINY_CODEC: dict[str, Any] = {
    "sample_rate": 44_100,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 8, 8],
    "encoder_transformer_layers": [0, 0, 0, 1],
    "encoder_transformer_window": 512,
    "encoder_transformer_head_dim": 64,
    "decoder_dim": 32,
    "decoder_rates": [8, 8, 4, 2],
    "decoder_transformer_layers": [0, 0, 0, 0],
    "quantizer": {
        "input_dim": 64,
        "n_codebooks": 9,
        "codebook_size": 32,
        "semantic_codebook_size": 64,
        "codebook_dim": 8,
        "downsample_factor": [2, 2],
    },
    "quantizer_transformer": {
        "n_layer": 1,
        "n_head": 1,
        "dim": 64,
        "intermediate_size": 96,
        "head_dim": 64,
        "window_size": 128,
        "rope_base": 10_000,
        "norm_eps": 1e-5,
    },
}
# The codec's tables in a tiny file cover this many frames.
_TINY_TABLE_FRAMES = 128


def write_checkpoint(directory: Path, *, shape: Shape = "tiny", seed: int = 0) -> None:
    """Write a complete base checkpoint directory with random weights, all of it or nothing.

    `tiny` (1.5 MB, float32) has an untied output, scaled codebook embeddings and a `codec_config.json`;
    `s1-mini` (3.6 GB: bfloat16 model, float32 codec) has the published shapes; `s2-tiny` and `s2-pro` (11 GB)
    are the same of the S2 family. Memory: the largest file of weights.

    Args:
        directory: new or empty.

    Raises:
        UsageError: the directory exists and holds something.
        StorageError: the disk is full or the folder cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            "{file} exists already.",
            "Name a new directory: random weights replace nothing.",
            file=directory,
        )
    generator = torch.Generator().manual_seed(seed)
    with atomic_folder(directory) as folder:
        if shape.startswith("s2"):
            _write_s2(folder, generator, tiny=shape == "s2-tiny")
        elif shape == "tiny":
            _write_tokenizer(folder, codes=_TINY_MODEL["codebook_size"])
            vocabulary = -(-(S1().tokenizer(folder).size + 1) // 8) * 8
            _write_model(folder, {**_TINY_MODEL, "vocab_size": vocabulary}, torch.float32, generator)
        else:
            preset = model_preset("openaudio-s1-mini")
            _write_tokenizer(folder, codes=preset.config["codebook_size"])
            _write_model(folder, preset.config, torch.bfloat16, generator)
        if "tiny" in shape:
            (folder / CODEC_CONFIG_FILE).write_text(json.dumps(_TINY_CODEC, indent=2), encoding="utf-8")
            codec = parse(CodecConfig, _TINY_CODEC, "the tiny codec")
            _write_codec(folder, codec, _TINY_TABLE_FRAMES, generator)
        else:
            codec = parse(CodecConfig, read_preset("codec", CODEC_PRESET), f"codec preset {CODEC_PRESET}")
            _write_codec(folder, codec, MAX_FRAMES, generator)


def _write_s2(folder: Path, generator: torch.Generator, *, tiny: bool) -> None:
    if tiny:
        write_s2(folder, TINY, _MERGES, torch.float32, generator, TINY_SHARD_BYTES)
    else:
        write_s2(folder, model_preset("s2-pro").config, _MERGES, torch.bfloat16, generator)


def _write_tokenizer(folder: Path, codes: int) -> None:
    ranks = [bytes([value]) for value in range(256)] + [merge.encode() for merge in _MERGES]
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks)]
    (folder / files.RANKS).write_text("".join(lines), encoding="ascii")
    ordinary = [token for token in DEFAULT_SPECIAL_TOKENS if not token.startswith("<|semantic:")]
    special = [*ordinary, *(f"<|semantic:{code}|>" for code in range(codes))]
    ids = {token: len(ranks) + position for position, token in enumerate(special)}
    (folder / files.SPECIAL_TOKENS).write_text(json.dumps(ids, indent=0), encoding="utf-8")


def _write_model(
    folder: Path, content: dict[str, Any], dtype: torch.dtype, generator: torch.Generator
) -> None:
    (folder / files.CONFIG).write_text(json.dumps(content, indent=2), encoding="utf-8")
    base = ModelDirectory.open(folder)
    model = build_model(base.shape, base.tokenizer, folder).to(dtype).to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, base.shape.initializer_range, generator=generator)
    save_model(model, folder)


def _write_codec(folder: Path, config: CodecConfig, table_frames: int, generator: torch.Generator) -> None:
    with torch.device("meta"):
        codec = Codec(config)
    codec.to_empty(device="cpu")
    with torch.no_grad():
        _initialise(codec, generator)
    weights = stored_tensors(codec.state_dict())
    inner = config.quantizer_transformer
    tables = {f"quantizer.{name}": (table_frames, inner.head_dim) for name in ("pre_module", "post_module")}
    latents = table_frames * math.prod(config.quantizer.downsample_factor)
    for block, layers in enumerate(config.encoder_transformer_layers, start=1):
        if layers:
            tables[f"encoder.block.{block}.block.5"] = (latents, config.encoder_transformer_head_dim)
    for module, (positions, head_dim) in tables.items():
        # Never read by us, but the reference computes with them.
        weights[f"{module}.freqs_cis"] = rotary_table(positions, head_dim, inner.rope_base)
        weights[f"{module}.causal_mask"] = torch.ones(positions, positions, dtype=torch.bool).tril_()
    torch.save(weights, folder / CODEC_FILE)


def _initialise(codec: Codec, generator: torch.Generator) -> None:
    """Fill in weights that keep a signal's size from layer to layer, so that speech gives varied codes."""
    gains = {id(codec.decoder.model[-1].conv): 0.02}  # loud as speech, far from where tanh saturates
    for module in codec.modules():
        if isinstance(module, ResidualUnit):
            gains[id(module.block[-1].conv)] = 0.5  # twelve of them are added up on the way
    for module in codec.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear) and name == "weight":
                deviation = gains.get(id(module), 1.0) / math.sqrt(_fan_in(module))
                parameter.normal_(0.0, deviation, generator=generator)
            elif isinstance(module, nn.Embedding):
                parameter.normal_(0.0, 1.0, generator=generator)
            elif name == "bias":
                parameter.normal_(0.0, 0.01, generator=generator)
            elif name == "gamma":
                parameter.fill_(0.1)
            else:  # α of a Snake, weight of a norm
                parameter.normal_(1.0, 0.05, generator=generator)


def _fan_in(module: nn.Conv1d | nn.ConvTranspose1d | nn.Linear) -> float:
    """Return how many inputs one output of the layer adds up."""
    if isinstance(module, nn.Linear):
        return module.in_features
    window: float = module.kernel_size[0]
    if isinstance(module, nn.ConvTranspose1d):
        window /= module.stride[0]
    return module.in_channels / module.groups * window
