"""A base with a checkpoint's training on top, as training itself computes it; nothing is merged."""

from __future__ import annotations

import re
from typing import Any

import peft
import torch

from ..compute.weights import load_strict
from ..model.dual_ar import DualAR
from .files import Adapter, FullWeights
from .injection import exactly


def apply_checkpoint(model: DualAR, source: Adapter | FullWeights) -> None:
    """Put adapters beside the weights of `model`, or a full fine-tuning's weights in their place.

    The caller has checked that they fit (`adapters.check_fit`).
    """
    if isinstance(source, Adapter):
        attach_adapter(model, source)
    else:
        load_strict(model, {**model.state_dict(), **source.tensors}, source.file)


def attach_adapter(model: DualAR, adapter: Adapter) -> None:
    """Inject the adapters into `model` through `peft`, which then computes `base + adapter` itself.

    The caller has checked that names and shapes fit.
    """
    config = peft.LoraConfig(
        r=adapter.rank,
        rank_pattern={f"^{re.escape(name)}$": part.a.shape[0] for name, part in adapter.modules.items()},
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # peft only multiplies with it
        target_modules=exactly(adapter.modules),
        use_rslora=adapter.use_rslora,
        use_dora=adapter.use_dora,
        inference_mode=True,
    )
    peft.inject_adapter_in_model(config, model)
    with torch.no_grad():
        for name, part in adapter.modules.items():
            layer: Any = model.get_submodule(name)
            if part.is_embedding:
                layer.lora_embedding_A["default"].data = part.a.float()
                layer.lora_embedding_B["default"].data = part.b.float()
            else:
                layer.lora_A["default"].weight.data = part.a.float()
                layer.lora_B["default"].weight.data = part.b.float()
            if part.magnitude is not None:
                layer.lora_magnitude_vector["default"].weight.data = part.magnitude.float()
    model.eval()
