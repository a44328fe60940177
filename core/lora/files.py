"""LoRA adapters in files: what they hold. What they make of a weight: `adapted.py`.

Three formats hold the same numbers under different names (formats.md section 7): a checkpoint of fishtune's
training (`model.<module>.lora_A.default.weight`), a PEFT adapter folder
(`base_model.model.<module>.lora_A.weight`) and the reference's checkpoint (`model.<module>.lora_A`).
`r` rank of an adapter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors import safe_open
from torch import Tensor

from ..compute.safetensors_header import inspect_safetensors
from ..compute.weights import (
    REAL_DTYPES,
    read_archive,
    refuse_not_finite,
    refuse_not_real,
    refuse_unusable,
    unwrap_state_dict,
)
from ..config.presets import LoraPreset
from ..config.run_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CHECKPOINT_SUFFIX, CHECKPOINTS, refuse_missing
from ..config.settings import BasePrecision
from ..errors import CheckpointError, MalformedFileError, UsageError
from ..messages import Message, first_of, joined
from ..model.scaling import OTHER_PRESET, Scale, asked_scale, check_agreement, is_scale
from ..model.targets import WORD_EMBEDDING
from ..reading import reading
from ..tables import read_json

AdapterFormat = Literal["fishtune", "peft", "reference"]
TRAINING_STATE = "fishtune"
"""Entry of a checkpoint of fishtune's training that says how it was trained."""
BASE_PRECISION = "base_precision"
"""Where a run's identity and the metadata of an adapter's file say the base's `BasePrecision` in training."""
_LISTED = 8
_NAME = re.compile(
    r"(?:base_model\.model\.|model\.)?(?P<module>.+?)\.lora_"
    r"(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)(?:\.default)?(?:\.weight)?"
)
# Settings of PEFT that change the arithmetic and are not computed here; each with the value that means none.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, []),
    "target_parameters": (None, []),
}


@dataclass(frozen=True)
class ModuleAdapter:
    """The adapter of one module. Linear: `a` (r, in), `b` (out, r); embedding: `a` (r, num), `b` (dim, r)."""

    a: Tensor
    b: Tensor
    scaling: float
    is_embedding: bool
    magnitude: Tensor | None = None
    """DoRA's learned magnitude: one number a row (linear) or a column (embedding)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight it belongs to."""
        out, inputs = self.b.shape[0], self.a.shape[1]
        return (inputs, out) if self.is_embedding else (out, inputs)


@dataclass(frozen=True)
class Adapter:
    """All adapters of a checkpoint, by module name."""

    format: AdapterFormat
    file: Path
    """File that holds the numbers."""
    modules: Mapping[str, ModuleAdapter]
    rank: int
    """The largest of its modules."""
    alpha: float
    use_rslora: bool
    use_dora: bool
    base_sha256: str | None = None
    """Hash of the weights it was trained on, where known."""
    base_precision: BasePrecision | None = None
    """In what training kept them, if it was less than they have."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors it changes, by name."""
        return {f"{name}.weight": part.shape for name, part in self.modules.items()}


@dataclass(frozen=True)
class FullWeights:
    """A checkpoint of full fine-tuning: tensors by the model's names."""

    file: Path
    tensors: Mapping[str, Tensor]
    base_sha256: str | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors it changes, by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


def read_adapter(
    path: Path, preset: LoraPreset | None = None, alpha: float | None = None
) -> Adapter | FullWeights:
    """Return what a checkpoint or adapter folder adds to its base, without looking at the base.

    Args:
        preset: gives alpha for the reference format; the others carry it, and must agree.
        alpha: the same as a number.

    Raises:
        CheckpointError: the file cannot be read, is incomplete, or uses what is not supported.
        UsageError: alpha is not known, or preset and alpha contradict the file or each other.
    """
    if path.is_dir():
        return _read_peft(path, preset, alpha)
    refuse_missing(path)
    content = read_archive(path)
    tensors = unwrap_state_dict(content, path)
    state = _training_state(content)
    origin = _origin(state)
    if not any(".lora_" in name for name in tensors):
        if preset is not None or alpha is not None:
            raise UsageError(
                "{file} holds whole weights and no adapters.",
                "Leave out --lora-config and --lora-alpha.",
                file=path,
            )
        refuse_not_real(tensors, path)
        refuse_not_finite(tensors.items(), path)
        return FullWeights(
            path, {name.removeprefix("model."): t for name, t in tensors.items()}, _base_hash(origin)
        )
    if not state:
        scale = asked_scale(path, preset, alpha)
        return _assemble("reference", path, tensors, scale, preset, {})
    try:
        trained = LoraPreset.model_validate(state["preset"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            "{file} does not say how its adapters are scaled.",
            "Merge the adapter folder beside it instead.",
            file=path,
        ) from error
    scale = Scale(trained.alpha, trained.use_rslora, trained.use_dora, trained.rank)
    check_agreement(path, scale, preset, alpha)
    return _assemble("fishtune", path, tensors, scale, preset, origin)


def _read_peft(folder: Path, preset: LoraPreset | None, alpha: float | None) -> Adapter:
    file, config_file = folder / ADAPTER_WEIGHTS, folder / ADAPTER_CONFIG
    for needed in (file, config_file):
        if not needed.is_file():
            raise CheckpointError(
                "{folder} is not an adapter folder: {file} is missing.",
                _checkpoint_in(folder),
                folder=folder,
                file=needed.name,
            )
    try:
        config = read_json(config_file, 1 << 20)
    except MalformedFileError as error:
        raise CheckpointError(error.message, "Copy or save it again.") from error
    inspect_safetensors(file)
    with (
        reading(file, CheckpointError, Message("Copy or save it again.")),
        safe_open(file, framework="pt") as opened,
    ):
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        noted = opened.metadata() or {}
    refuse_unusable(tensors, file)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or not is_scale(config):
        raise CheckpointError(
            "{file} does not describe a LoRA adapter.", "Name another folder.", file=config_file
        )
    unsupported = [key for key, none in _UNSUPPORTED.items() if config.get(key) not in none]
    if unsupported:
        raise CheckpointError(
            "{file} uses {settings}, which fishtune cannot merge.",
            "Train without it, or merge with peft.",
            file=config_file,
            settings=", ".join(unsupported),
        )
    scale = Scale(
        float(config["lora_alpha"]),
        bool(config.get("use_rslora")),
        bool(config.get("use_dora")),
        config.get("r"),
    )
    check_agreement(folder, scale, preset, alpha)
    # The folder may have been copied without the checkpoint beside it.
    origin = {**noted, **_origin(read_training_state(folder))}
    return _assemble("peft", file, tensors, scale, preset, origin)


def _checkpoint_in(folder: Path) -> str:
    """Return which checkpoint may be meant by a folder that is no adapter."""
    inside = sorted(folder.glob(f"*{CHECKPOINT_SUFFIX}")) or sorted(
        folder.glob(f"{CHECKPOINTS}/*{CHECKPOINT_SUFFIX}")
    )
    if inside:
        return Message("Name a checkpoint in it, such as {file}", file=inside[-1])
    return Message("Name a checkpoint (step_….ckpt) or the adapter folder beside it.")


def read_training_state(path: Path) -> dict[str, Any]:
    """Return what fishtune's training noted in a checkpoint, or in the one beside an adapter folder.

    Empty where training here did not make it. Its entries are those of `stages.train.checkpoints.RunState`.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    checkpoint = path.with_name(f"{path.name}{CHECKPOINT_SUFFIX}") if path.is_dir() else path
    return _training_state(read_archive(checkpoint)) if checkpoint.is_file() else {}


def _training_state(content: Any) -> dict[str, Any]:
    state = content.get(TRAINING_STATE) if isinstance(content, dict) else None
    return state if isinstance(state, dict) else {}


def _origin(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what training noted of a run's identity; its entries are those of `checkpoints.Identity`."""
    identity = state.get("identity")
    return identity if isinstance(identity, dict) else {}


def _base_hash(origin: Mapping[str, Any]) -> str | None:
    found = origin.get("base_sha256")
    return found if isinstance(found, str) else None


def _base_precision(origin: Mapping[str, Any]) -> BasePrecision | None:
    found = origin.get(BASE_PRECISION)
    return found if found in get_args(BasePrecision) else None


def _assemble(
    kind: AdapterFormat,
    file: Path,
    tensors: Mapping[str, Tensor],
    scale: Scale,
    preset: LoraPreset | None,
    origin: Mapping[str, Any],
) -> Adapter:
    grouped: dict[str, dict[str, Tensor]] = {}
    problems = []
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            problems.append(Message("{name} belongs to no adapter", name=name))
        else:
            grouped.setdefault(match["module"], {})[match["part"].removeprefix("embedding_")] = tensor
    modules = {}
    for module, parts in grouped.items():
        problem = _check_parts(parts, scale)
        if problem:
            problems.append(Message("{name} {problem}", name=module, problem=problem))
            continue
        rank = parts["A"].shape[0]
        modules[module] = ModuleAdapter(
            a=parts["A"],
            b=parts["B"],
            scaling=scale.alpha / (rank**0.5 if scale.use_rslora else rank),
            is_embedding=module.rpartition(".")[2].endswith("embeddings"),
            magnitude=parts.get("magnitude_vector"),
        )
    ranks = sorted({part.a.shape[0] for part in modules.values()})
    if not problems and scale.rank is not None and ranks != [scale.rank]:
        found = ", ".join(map(str, ranks))
        if kind == "reference" and preset is not None:
            raise UsageError(
                "The preset has rank {rank}, but {file} has rank {found}.",
                OTHER_PRESET,
                rank=scale.rank,
                file=file,
                found=found,
            )
        problems.append(Message("its rank is {found} instead of {rank}", found=found, rank=scale.rank))
    if problems:
        raise CheckpointError(
            "{file} cannot be merged: {problems}.",
            "Copy it again, or name another one.",
            file=file,
            problems=first_of(problems, _LISTED, "; "),
        )
    return Adapter(
        format=kind,
        file=file,
        modules=modules,
        rank=max(ranks),
        alpha=scale.alpha,
        use_rslora=scale.use_rslora,
        use_dora=scale.use_dora,
        base_sha256=_base_hash(origin),
        base_precision=_base_precision(origin),
    )


def _check_parts(parts: Mapping[str, Tensor], scale: Scale) -> str:
    """Return what is wrong with the tensors of one module's adapter, or nothing."""
    missing = {"A", "B", *(("magnitude_vector",) if scale.use_dora else ())} - parts.keys()
    if missing:
        return Message(
            "lacks {names}", names=joined((f"lora_{name}" for name in sorted(missing)), Message(" and "))
        )
    if "magnitude_vector" in parts and not scale.use_dora:
        return Message("has a DoRA magnitude that the settings do not mention")
    if any(part.dtype not in REAL_DTYPES for part in parts.values()):
        return Message("has numbers of a kind that cannot be used")
    a, b = parts["A"], parts["B"]
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1] or a.shape[0] == 0:
        return Message(
            "has lora_A {shape} and lora_B {other}, which do not fit together",
            shape=tuple(a.shape),
            other=tuple(b.shape),
        )
    magnitude = parts.get("magnitude_vector")
    if magnitude is not None and magnitude.shape != (b.shape[0],):
        return Message(
            "has a DoRA magnitude of shape {shape}, which does not fit it", shape=tuple(magnitude.shape)
        )
    if not all(part.isfinite().all() for part in parts.values()):
        return Message("has numbers that are not finite")
    return ""


def check_fit(
    source: Adapter | FullWeights, shapes: Mapping[str, tuple[int, ...]], tied: bool, base: Path
) -> None:
    """Refuse a checkpoint that was made for another base.

    Args:
        shapes: of the base's tensors, by the model's names.
        tied: whether the base's word embedding is its output head too.

    Raises:
        CheckpointError: names all tensors that are absent or of another shape; or an adapter of a tied
            embedding, unless it is of the reference's format, which had no such check.
    """
    problems = [
        (
            Message(
                "{name} is made for {shape}, the base has {expected}",
                name=name,
                shape=shape,
                expected=shapes[name],
            )
            if name in shapes
            else Message("{name} is not in the base", name=name)
        )
        for name, shape in source.shapes.items()
        if shapes.get(name) != shape
    ]
    if problems:
        raise CheckpointError(
            "{file} does not fit {base}: {problems}.",
            "Give the base it was trained on with --base-weight.",
            file=source.file,
            base=base,
            problems=first_of(problems, _LISTED, "; "),
        )
    if isinstance(source, FullWeights) or not tied or WORD_EMBEDDING not in source.modules:
        return
    if source.format != "reference":
        raise CheckpointError(
            "{file} adapts the word embedding, which in this base is the output head too "
            "(tie_word_embeddings): the adapter changed only one of the two in training, the "
            "merged weight would change both.",
            "Train with a preset that leaves the embedding alone, such as r_16_alpha_16.",
            file=source.file,
        )
