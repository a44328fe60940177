"""A base with a checkpoint's training on top, as training itself computes it; nothing is merged."""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch

from ..compute.weights import load_strict
from ..model.dual_ar import DualAR
from .files import Adapter, FullWeights
from .injection import exactly
from .library import BaseTunerLayer, peft


def apply_checkpoint(model: DualAR, source: Adapter | FullWeights) -> None:
    """Put adapters beside the weights of `model`, or a full fine-tuning's weights in their place.

    The caller has checked that they fit (`adapters.check_fit`).
    """
    if isinstance(source, Adapter):
        attach_adapter(model, source)
    else:
        load_strict(model, {**model.state_dict(), **source.tensors}, source.file)


def attach_adapter(model: DualAR, adapter: Adapter, name: str = "default", share: float = 1.0) -> None:
    """Inject the adapters into `model` through `peft`, which then computes `base + share · adapter` itself.

    The caller has checked that names and shapes fit.

    Args:
        name: what `peft` calls it. Adapters of other names stay, and all of them are added up; DoRA adapters
            cannot be.
    """
    if not adapter.modules:
        return
    config = peft.LoraConfig(
        r=adapter.rank,
        rank_pattern={f"^{re.escape(each)}$": part.a.shape[0] for each, part in adapter.modules.items()},
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # peft only multiplies with it
        target_modules=exactly(adapter.modules),
        use_rslora=adapter.use_rslora,
        use_dora=adapter.use_dora,
        inference_mode=True,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
        peft.inject_adapter_in_model(config, model, adapter_name=name)
    with torch.no_grad():
        for each, part in adapter.modules.items():
            layer: Any = model.get_submodule(each)
            layer.scaling[name] *= share
            if part.is_embedding:
                layer.lora_embedding_A[name].data = part.a.float()
                layer.lora_embedding_B[name].data = part.b.float()
            else:
                layer.lora_A[name].weight.data = part.a.float()
                layer.lora_B[name].weight.data = part.b.float()
            if part.magnitude is not None:
                layer.lora_magnitude_vector[name].weight.data = part.magnitude.float()
            if len(layer.scaling) > 1:
                layer.set_adapter(list(layer.scaling), inference_mode=True)
    model.eval()


def detach_adapters(model: DualAR) -> None:
    """Take all adapters off again: what is left is the model as it was before `attach_adapter`."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)]
    for name, layer in layers:
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
