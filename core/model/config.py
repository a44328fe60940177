"""Shape of a DualAR model, as `config.json` gives it. Imports no torch: estimates use it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, MalformedFileError
from ..messages import Message, joined
from ..tables import read_json

CONFIG_FILE = "config.json"
MODEL_TYPE = "dual_ar"
_LARGEST = {
    "vocab_size": 1 << 22,
    "n_layer": 512,
    "n_fast_layer": 512,
    "n_head": 1024,
    "n_local_heads": 1024,
    "dim": 1 << 16,
    "head_dim": 4096,
    "intermediate_size": 1 << 19,
    "codebook_size": 1 << 16,
    "num_codebooks": 128,
    "max_seq_len": 1 << 20,
    "rope_base": 1e12,
    "norm_eps": 1.0,
    "initializer_range": 1000.0,
}
"""Bounds far above any real model, below what would exhaust memory or time; `fast_…` as without."""
_LARGEST_FILE = 1 << 20
"""Bytes of `config.json`; the published one has 1,000."""
_LARGEST_TABLE = 1 << 26
"""Entries of the table of rotary angles, which is built whole: positions times channels of a head."""
NAME_A_DIRECTORY = Message(
    "Name a checkpoint directory; one is fetched with: fishtune download openaudio-s1-mini"
)


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of one of the two transformers."""

    n_layer: int
    dim: int
    n_head: int
    n_local_heads: int
    """Key and value heads."""
    head_dim: int
    intermediate_size: int
    qkv_bias: bool
    o_bias: bool
    qk_norm: bool
    norm_eps: float
    rope_base: float


@dataclass(frozen=True)
class DualARConfig:
    """Shape of a DualAR model. Fields are named as the keys of `config.json`, defaults resolved."""

    vocab_size: int
    n_layer: int
    n_head: int
    n_local_heads: int
    dim: int
    head_dim: int
    intermediate_size: int
    rope_base: float
    norm_eps: float
    max_seq_len: int
    """Longest sequence in columns, prompt and generated frames together."""
    tie_word_embeddings: bool
    """Token logits come from `embeddings.weight` instead of `output.weight`."""
    attention_qkv_bias: bool
    attention_o_bias: bool
    attention_qk_norm: bool
    codebook_size: int
    """Entries of every codebook as the model sees them."""
    num_codebooks: int
    initializer_range: float
    scale_codebook_embeddings: bool
    """Divide the embedding of a semantic position by √(num_codebooks + 1)."""
    norm_fastlayer_input: bool
    """The fast transformer reads the slow hidden state after the final norm."""
    n_fast_layer: int
    fast_dim: int
    fast_n_head: int
    fast_n_local_heads: int
    fast_head_dim: int
    fast_intermediate_size: int
    fast_attention_qkv_bias: bool
    fast_attention_o_bias: bool
    fast_attention_qk_norm: bool
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """`config.json` as it was read, unknown keys included; what is written back."""

    @property
    def slow(self) -> TransformerConfig:
        """Shape of the slow transformer, which reads the sequence."""
        return TransformerConfig(
            n_layer=self.n_layer,
            dim=self.dim,
            n_head=self.n_head,
            n_local_heads=self.n_local_heads,
            head_dim=self.head_dim,
            intermediate_size=self.intermediate_size,
            qkv_bias=self.attention_qkv_bias,
            o_bias=self.attention_o_bias,
            qk_norm=self.attention_qk_norm,
            norm_eps=self.norm_eps,
            rope_base=self.rope_base,
        )

    @property
    def fast(self) -> TransformerConfig:
        """Shape of the fast transformer, which reads the codes of one frame."""
        return TransformerConfig(
            n_layer=self.n_fast_layer,
            dim=self.fast_dim,
            n_head=self.fast_n_head,
            n_local_heads=self.fast_n_local_heads,
            head_dim=self.fast_head_dim,
            intermediate_size=self.fast_intermediate_size,
            qkv_bias=self.fast_attention_qkv_bias,
            o_bias=self.fast_attention_o_bias,
            qk_norm=self.fast_attention_qk_norm,
            norm_eps=self.norm_eps,
            rope_base=self.rope_base,
        )

    @classmethod
    def from_dict(cls, content: dict[str, Any], source: str = CONFIG_FILE) -> DualARConfig:
        """Return the shape that the keys of a `config.json` describe (formats.md section 1).

        Raises:
            CheckpointError: another model type, or values that make no model; lists all of them.
        """
        if content.get("model_type", MODEL_TYPE) != MODEL_TYPE:
            raise CheckpointError(
                "{source} describes a model of type {value}, not {expected}.",
                "Use a checkpoint of the S1 family, such as fishaudio/openaudio-s1-mini.",
                source=source,
                value=_shown(content["model_type"]),
                expected=repr(MODEL_TYPE),
            )
        reader = _Reader(content)
        config = _read(reader, content)
        reader.problems += _contradictions(config)
        if reader.problems:
            raise CheckpointError(
                "{source} does not describe a model: {problems}.",
                "Download the checkpoint again; config.json should not be edited.",
                source=source,
                problems=joined(reader.problems, "; "),
            )
        return config


class _Reader:
    """Takes values of the right kind out of a dict and collects what is wrong."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content
        self.problems: list[str] = []

    def integer(self, key: str, default: int, lowest: int = 1) -> int:
        value = self._content.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            self.problems.append(
                Message(
                    "{key} is {value}, not a whole number of at least {limit}",
                    key=key,
                    value=_shown(value),
                    limit=lowest,
                )
            )
            return default
        return default if self._too_large(key, value) else value

    def _too_large(self, key: str, value: float) -> bool:
        largest = _LARGEST[key.removeprefix("fast_")]
        if value > largest:
            self.problems.append(
                Message(
                    "{key} is {value}, and no model has more than {limit:g}",
                    key=key,
                    value=_shown(value),
                    limit=largest,
                )
            )
        return value > largest

    def number(self, key: str, default: float) -> float:
        value = self._content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            self.problems.append(
                Message("{key} is {value}, not a number above 0", key=key, value=_shown(value))
            )
            return default
        return default if self._too_large(key, value) else float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._content.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problems.append(Message("{key} is {value}, not true or false", key=key, value=_shown(value)))
            return default
        return value


def _shown(value: Any) -> str:
    return reprlib.repr(value)


def _read(reader: _Reader, content: dict[str, Any]) -> DualARConfig:
    dim = reader.integer("dim", 4096)
    n_head = reader.integer("n_head", 32)
    n_local_heads = _local_heads(reader.integer("n_local_heads", -1, lowest=-1), n_head)
    # An absent head_dim is 64, a null one dim / n_head.
    head_dim = reader.integer("head_dim", dim // n_head if "head_dim" in content else 64)
    intermediate_size = reader.integer("intermediate_size", _default_intermediate_size(dim))
    qkv_bias = reader.flag("attention_qkv_bias", False)
    o_bias = reader.flag("attention_o_bias", False)
    qk_norm = reader.flag("attention_qk_norm", False)
    fast_n_head = reader.integer("fast_n_head", n_head)
    return DualARConfig(
        vocab_size=reader.integer("vocab_size", 32000),
        n_layer=reader.integer("n_layer", 32),
        n_head=n_head,
        n_local_heads=n_local_heads,
        dim=dim,
        head_dim=head_dim,
        intermediate_size=intermediate_size,
        rope_base=reader.number("rope_base", 10000),
        norm_eps=reader.number("norm_eps", 1e-5),
        max_seq_len=reader.integer("max_seq_len", 2048),
        tie_word_embeddings=reader.flag("tie_word_embeddings", True),
        attention_qkv_bias=qkv_bias,
        attention_o_bias=o_bias,
        attention_qk_norm=qk_norm,
        codebook_size=reader.integer("codebook_size", 160),
        num_codebooks=reader.integer("num_codebooks", 4),
        initializer_range=reader.number("initializer_range", 0.02),
        scale_codebook_embeddings=reader.flag("scale_codebook_embeddings", False),
        norm_fastlayer_input=reader.flag("norm_fastlayer_input", False),
        n_fast_layer=reader.integer("n_fast_layer", 4),
        fast_dim=reader.integer("fast_dim", dim),
        fast_n_head=fast_n_head,
        fast_n_local_heads=_local_heads(
            reader.integer("fast_n_local_heads", n_local_heads, lowest=-1), fast_n_head
        ),
        fast_head_dim=reader.integer("fast_head_dim", head_dim),
        fast_intermediate_size=reader.integer("fast_intermediate_size", intermediate_size),
        fast_attention_qkv_bias=reader.flag("fast_attention_qkv_bias", qkv_bias),
        fast_attention_o_bias=reader.flag("fast_attention_o_bias", o_bias),
        fast_attention_qk_norm=reader.flag("fast_attention_qk_norm", qk_norm),
        raw=dict(content),
    )


def _local_heads(value: int, n_head: int) -> int:
    return n_head if value == -1 else value


def _default_intermediate_size(dim: int) -> int:
    size = int(2 * 4 * dim / 3)
    return size + -size % 256


def _contradictions(config: DualARConfig) -> list[Message]:
    problems = []
    for name, part in (("", config.slow), ("fast_", config.fast)):
        if part.n_local_heads < 1 or part.n_head % part.n_local_heads:
            problems.append(
                Message(
                    "{prefix}n_head {heads} is not a multiple of {prefix}n_local_heads {local_heads}",
                    prefix=name,
                    heads=part.n_head,
                    local_heads=part.n_local_heads,
                )
            )
        if part.head_dim % 2 or part.head_dim < 2:
            problems.append(
                Message(
                    "{prefix}head_dim {width} is odd, and rotary embeddings need pairs",
                    prefix=name,
                    width=part.head_dim,
                )
            )
    if config.max_seq_len * config.head_dim > _LARGEST_TABLE:
        problems.append(
            Message(
                "max_seq_len {length} times head_dim {width} is more than any model has",
                length=config.max_seq_len,
                width=config.head_dim,
            )
        )
    return problems


def model_directory_of(path: Path) -> Path | None:
    """Return the checkpoint directory that `path` is a file of, or None."""
    inside = path.is_file() and path.suffix != ".ckpt" and (path.parent / CONFIG_FILE).is_file()
    return path.parent if inside else None


def _refuse_other_than_directory(path: Path) -> None:
    """Refuse what is named in the place of a checkpoint directory, and say which one is meant."""
    file = path / CONFIG_FILE
    if file.exists():
        return
    directory = model_directory_of(path)
    if directory is not None:
        raise CheckpointError(
            "{file} is a file of a model directory.",
            "Give the directory: {directory}",
            file=path,
            directory=directory,
        )
    if path.suffix == ".ckpt" and path.is_file():
        raise CheckpointError(
            "{file} is a checkpoint of training, not a whole model.", _MERGE_FIRST, file=path
        )
    if (path / "adapter_config.json").is_file():
        raise CheckpointError("{file} is an adapter, not a whole model.", _MERGE_FIRST, file=path)
    inside = [config.parent for config in path.glob(f"*/{CONFIG_FILE}")] if path.is_dir() else []
    meant = Message("Did you mean {name}?", name=inside[0]) if len(inside) == 1 else NAME_A_DIRECTORY
    if path.is_file():
        raise CheckpointError("{file} is a file, and a model is a directory.", meant, file=path)
    raise CheckpointError("{file} cannot be read: there is no such file.", meant, file=file)


_MERGE_FIRST = Message(
    "Merge it into its base first, with fishtune merge; or hear it without merging: fishtune audition"
)


def read_config(directory: Path) -> DualARConfig:
    """Read `config.json` of a checkpoint directory.

    Raises:
        CheckpointError: it is missing, not JSON, or describes no DualAR model; where the directory is none,
            which one is meant.
        StorageError: the system refused to read it.
    """
    _refuse_other_than_directory(directory)
    file = directory / CONFIG_FILE
    try:
        content = read_json(file, _LARGEST_FILE)
    except MalformedFileError as error:
        raise CheckpointError(error.message, "Download the checkpoint again.") from error
    if not isinstance(content, dict):
        raise CheckpointError("{file} does not hold settings.", "Download the checkpoint again.", file=file)
    return DualARConfig.from_dict(content, str(file))
