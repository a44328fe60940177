"""What is trained: LoRA adapters injected by `peft`, or all weights.

Targets must match a module's whole name (`model/targets.py`), so `layers\\.…` never catches
`fast_layers\\.…`; the family has put patterns in place of roles by then. Adapters are float32 whatever
the frozen base is, and are never merged into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ..compute.quantised import QuantisedLinear
from ..config.presets import LoraPreset
from ..config.run_files import ADAPTER_WEIGHTS
from ..errors import SettingsError
from ..model.dual_ar import DualAR
from ..model.targets import match_targets, refuse_tied_embedding
from ..randomness import seed_of
from .files import BASE_PRECISION
from .library import get_peft_model_state_dict, peft
from .linear import AdaptedLinear

_PEFT_PREFIX = "base_model.model."  # what `PeftModel` puts before the names of the model it wraps
_ADAPTABLE = (nn.Linear, nn.Embedding)
_INITIALISATION = 4  # purpose of the draw


def adaptable_modules(model: nn.Module) -> list[str]:
    """Return the names of the modules that can carry an adapter, in the model's order."""
    return [name for name, module in model.named_modules() if isinstance(module, _ADAPTABLE)]


def exactly(names: Iterable[str]) -> str:
    """Return the pattern for `peft` that matches these names and no others."""
    return f"(?:{'|'.join(map(re.escape, names))})"


def matching_modules(model: nn.Module, preset: LoraPreset) -> list[str]:
    """Return the names of the modules that get an adapter, in the model's order.

    Raises:
        SettingsError: a target matches nothing that can carry an adapter, is no regular expression, or is
            a tied embedding.
    """
    adaptable = adaptable_modules(model)
    chosen: set[str] = set()
    for target, found in match_targets(preset.targets, adaptable).items():
        if not found:
            raise SettingsError(
                "The target {target} matches no linear or embedding layer of the model.",
                "A target must match a whole name, for example {name}.",
                target=repr(target),
                name=repr(adaptable[len(adaptable) // 2]),
            )
        chosen.update(found)
    if not chosen:
        raise SettingsError("The preset names no targets.", "Add targets, or choose another preset.")
    return [name for name in adaptable if name in chosen]


def add_adapters(model: DualAR, preset: LoraPreset, seed: int) -> list[str]:
    """Inject the preset's adapters in place, freeze everything else, and return the adapted modules.

    The first weights of the adapters follow from `seed`.

    Raises:
        SettingsError: see `matching_modules`; or the preset adapts a tied embedding.
    """
    names = matching_modules(model, preset)
    refuse_tied_embedding(preset.targets, model.config)
    config = peft.LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha,  # type: ignore[arg-type]  # peft only multiplies with it
        lora_dropout=preset.dropout,
        target_modules=exactly(names),
        use_rslora=preset.use_rslora,
        use_dora=preset.use_dora,
    )
    config._register_custom_module({nn.Linear: AdaptedLinear})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(_INITIALISATION, seed))
        peft.inject_adapter_in_model(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return names


def train_everything(model: DualAR) -> None:
    """Make all weights trainable, in float32."""
    model.float()
    for name, parameter in list(model.named_parameters()):
        # Weights mapped from a checkpoint become memory of their own before an optimizer writes to them.
        owner = model.get_submodule(name.rpartition(".")[0])
        setattr(owner, name.rpartition(".")[2], nn.Parameter(parameter.detach().clone()))


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_adapter(model: DualAR, base: Path, folder: Path) -> None:
    """Write the adapters into an existing folder so that `peft.PeftModel.from_pretrained` loads them."""
    config: peft.LoraConfig = model.peft_config["default"]  # type: ignore[index, assignment]
    config.base_model_name_or_path = str(base)
    config.save_pretrained(str(folder))
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    named = {f"{_PEFT_PREFIX}{name}": tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt"}
    for layer in model.modules():
        if isinstance(layer, QuantisedLinear):
            metadata[BASE_PRECISION] = layer.precision
    save_file(named, folder / ADAPTER_WEIGHTS, metadata=metadata)
