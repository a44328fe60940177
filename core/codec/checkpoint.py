"""The weights' file format of the codec: `codec.pth` (formats.md section 4).

Names in the file are known here and nowhere else. The modules hold plain weights under the file's names, but
for the half after the codes, which the file keeps partly under `quantizer.` and the modules under `decoder.`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..compute.weights import load_strict, read_state_dict, refuse_not_finite, refuse_not_real
from ..errors import CheckpointError
from .codec import Codec, CodecEncoder
from .config import codec_config, config_origin

_GENERATOR = "generator."
# Rotary angles and masks, hundreds of megabytes; both follow from the configuration.
_TABLES = (".freqs_cis", ".causal_mask")
_AFTER_THE_CODES = {
    "quantizer.post_module.": "decoder.post_module.",
    "quantizer.upsample.": "decoder.upsample.",
}
# Weight norm in torch's newer and older storage: magnitude and direction.
_WEIGHT_NORM = {
    ".parametrizations.weight.original0": ".parametrizations.weight.original1",
    ".weight_g": ".weight_v",
}
_NEWER_WEIGHT_NORM = re.compile(r"((?:encoder|decoder\.model)\..*\bconv)\.weight")
_OLDER_WEIGHT_NORM = re.compile(r"(quantizer\..*\b(?:in|out)_proj)\.weight")

AnyCodec = TypeVar("AnyCodec", bound=CodecEncoder)


def load_encoder(path: Path, config_name: str, device: torch.device | str = "cpu") -> CodecEncoder:
    """Return the encoding half of the codec in `path` (`codec.pth`); the rest of the file is not read.

    Args:
        config_name: preset that gives the shape where no `codec_config.json` lies beside the file.

    Raises:
        CheckpointError: the file is missing or broken, weights and shape do not fit together, or a weight is
            infinite or not a number.
        SettingsError, UsageError: see `codec_config`.
    """
    return _load(CodecEncoder, path, config_name, device)


def load_codec(path: Path, config_name: str, device: torch.device | str = "cpu") -> Codec:
    """Return the whole codec in `path`; see `load_encoder`."""
    return _load(Codec, path, config_name, device)


def _load(kind: type[AnyCodec], path: Path, config_name: str, device: torch.device | str) -> AnyCodec:
    config = codec_config(path, config_name)
    with torch.device("meta"):
        codec = kind(config)
    stored = {name: t for name, t in read_state_dict(path).items() if not name.endswith(_TABLES)}
    refuse_not_real(stored, path)
    tensors = own_tensors(stored, decoding=issubclass(kind, Codec))
    try:
        load_strict(codec, tensors, path)
    except CheckpointError as error:
        origin = config_origin(path, config_name)
        raise CheckpointError(
            error.message, "The shape is that of {origin}. {hint}", origin=origin, hint=error.hint
        ) from error
    refuse_not_finite(codec.named_parameters(), path)
    return codec.to(device).eval().requires_grad_(False)


def own_tensors(stored: Mapping[str, Tensor], *, decoding: bool) -> dict[str, Tensor]:
    """Return the tensors of a file under the modules' names, in float32, with weight norm folded.

    Args:
        decoding: also those of the half after the codes.
    """
    if any(_GENERATOR in name for name in stored):
        stored = {name.replace(_GENERATOR, ""): stored[name] for name in stored if _GENERATOR in name}
    tensors = {_own_name(name): tensor for name, tensor in stored.items() if not name.endswith(_TABLES)}
    if not decoding:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("decoder.")}
    for magnitude, direction in _WEIGHT_NORM.items():
        for name in [name.removesuffix(magnitude) for name in tensors if name.endswith(magnitude)]:
            g, v = tensors[name + magnitude], tensors.get(name + direction)
            # A pair that does not fit keeps its names, for the strict load to list.
            if v is not None and v.dim() > 0 and g.shape == (len(v), *[1] * (v.dim() - 1)):
                del tensors[name + magnitude], tensors[name + direction]
                tensors[f"{name}.weight"] = fold_weight_norm(g.float(), v.float())
    return {name: tensor.float() for name, tensor in tensors.items()}


def _own_name(name: str) -> str:
    for theirs, ours in _AFTER_THE_CODES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def fold_weight_norm(g: Tensor, v: Tensor) -> Tensor:
    """Return the weight `g · v / ‖v‖`, the norm taken over all dimensions but the first."""
    return v * (g / _norm(v))


def _norm(weight: Tensor) -> Tensor:
    return weight.square().sum(dim=tuple(range(1, weight.dim())), keepdim=True).sqrt()


def stored_tensors(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the modules' names as the published file stores them, weight norm unfolded."""
    stored = {}
    for own_name, tensor in own.items():
        name = own_name
        for theirs, ours in _AFTER_THE_CODES.items():
            if own_name.startswith(ours):
                name = theirs + own_name.removeprefix(ours)
        newer, older = _NEWER_WEIGHT_NORM.fullmatch(name), _OLDER_WEIGHT_NORM.fullmatch(name)
        if newer:
            stored[f"{newer[1]}.parametrizations.weight.original0"] = _norm(tensor)
            stored[f"{newer[1]}.parametrizations.weight.original1"] = tensor
        elif older:
            stored[f"{older[1]}.weight_g"] = _norm(tensor)
            stored[f"{older[1]}.weight_v"] = tensor
        else:
            stored[name] = tensor
    return stored
