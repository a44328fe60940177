"""The lean layers: exact gradients, the values of the plain computation, nothing kept without need."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.compute.exact import apply_rotary, rms_norm, swiglu
from fishtune.core.compute.layers import _short_attention, rotary_table
from fishtune.core.lora.dropout import Mask, draw_mask, masked
from fishtune.core.lora.injection import add_adapters, trainable_parameters
from fishtune.core.lora.library import lora
from fishtune.core.lora.linear import AdaptedLinear, adapted_linear
from fishtune.core.model.checkpoint import load_model
from torch import Tensor, nn
from torch.nn import functional as F

from .test_training_adapters import preset

B, T, H, D = 2, 5, 3, 8
EPS = 1e-5


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def plain_rms_norm(x: Tensor, weight: Tensor, in_float32: bool) -> Tensor:
    wide = x.float()
    normalised = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)
    return (normalised * weight.float()).type_as(x) if in_float32 else normalised.type_as(x) * weight


def plain_rotary(x: Tensor, table: Tensor) -> Tensor:
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table.float()[:, None].unbind(-1)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2).type_as(x)


def plain_adapted(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, mask: Mask | None) -> Tensor:
    seen = x if mask is None else masked(x, mask)
    return (F.linear(x, weight) + F.linear(F.linear(seen.float(), a), b) * 0.7).type_as(x)


TABLE = rotary_table(T, D, 100.0)
MASK = Mask(  # drops a third
    torch.arange(B * T, dtype=torch.int32).view(B, T) * 1_234_567_891 | 1,
    torch.arange(D, dtype=torch.int32) * 987_654_321 | 1,
    (1 << 32) // 3 - (1 << 31),
)
FROZEN = random(4, D, seed=7).detach()

CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "norm": (
        lambda x, w: rms_norm(x, w, EPS),
        lambda x, w: plain_rms_norm(x, w, False),
        [(B, T, D), (D,)],
    ),
    "norm, weight in float32": (
        lambda x, w: rms_norm(x, w, EPS, weight_in_float32=True),
        lambda x, w: plain_rms_norm(x, w, True),
        [(B, T, H, D), (D,)],
    ),
    "rotary": (lambda x: apply_rotary(x, TABLE), lambda x: plain_rotary(x, TABLE), [(B, T, H, D)]),
    "swiglu": (swiglu, lambda gate, up: F.silu(gate) * up, [(B, T, D), (B, T, D)]),
    "adapter": (
        lambda x, a, b: adapted_linear(x, FROZEN.type_as(x), None, a, b, 0.7),
        lambda x, a, b: plain_adapted(x, FROZEN.type_as(x), a, b, None),
        [(B, T, D), (2, D), (4, 2)],
    ),
    "adapter with dropout": (
        lambda x, a, b: adapted_linear(x, FROZEN.type_as(x), None, a, b, 0.7, MASK),
        lambda x, a, b: plain_adapted(x, FROZEN.type_as(x), a, b, MASK),
        [(B, T, D), (2, D), (4, 2)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_differences(case: str) -> None:
    lean, _, shapes = CASES[case]
    inputs = tuple(random(*shape, dtype=torch.float64, seed=n) for n, shape in enumerate(shapes))
    assert torch.autograd.gradcheck(lean, inputs)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_values_and_gradients_equal_the_plain_computation(
    case: str, dtype: torch.dtype, tolerance: float
) -> None:
    lean, plain, shapes = CASES[case]
    found, expected = (with_gradients(function, case, shapes, dtype) for function in (lean, plain))
    for one, other in zip(found, expected, strict=True):
        scale = float(other.detach().abs().max().clamp_min(1))
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("case", CASES)
def test_captured_for_a_compiler_they_have_the_same_values_and_gradients(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)  # pytest would keep all of it
    torch._dynamo.reset()
    lean, _, shapes = CASES[case]
    captured = torch.compile(lean, backend="eager", dynamic=True, fullgraph=True)
    found, expected = (with_gradients(function, case, shapes, torch.float32) for function in (captured, lean))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def with_gradients(
    function: Callable[..., Tensor], case: str, shapes: list[tuple[int, ...]], dtype: torch.dtype
) -> list[Tensor]:
    """Return what a function of a case gives for inputs of these shapes, and the gradient of each of them."""
    # Adapters are float32 over any base.
    types = [dtype] + [torch.float32 if "adapter" in case else dtype] * (len(shapes) - 1)
    inputs = [
        random(*shape, dtype=kind, seed=n) for n, (shape, kind) in enumerate(zip(shapes, types, strict=True))
    ]
    output = function(*inputs)
    upstream = torch.linspace(-1, 1, output.numel()).view(output.shape).to(dtype)
    results = [output, *torch.autograd.grad(output, inputs, upstream)]
    assert [result.dtype for result in results] == [dtype, *types]
    return results


def kept_bytes(function: Callable[[], Tensor]) -> int:
    """Return the bytes of distinct storages that autograd keeps of what `function` computes."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = function()
    assert output.requires_grad
    return sum(storages.values())


def test_nothing_wide_is_kept_of_a_bfloat16_input() -> None:
    x, up = (random(64, 32, dtype=torch.bfloat16, seed=seed) for seed in (1, 2))
    weight = random(32, dtype=torch.bfloat16)
    a, b = random(2, 32), random(4, 2)
    frozen = random(4, 32, dtype=torch.bfloat16).detach()
    size, row = 2 * x.numel(), 4
    mask = draw_mask(x, 0.1)
    assert kept_bytes(lambda: rms_norm(x, weight, EPS)) == size + 2 * 32 + row * 64
    assert kept_bytes(lambda: swiglu(x, up)) == 2 * size
    heads = x.view(1, 64, 4, 8)
    assert kept_bytes(lambda: apply_rotary(heads, rotary_table(64, 8, 100.0))) == 64 * 8 * 2
    weights = 2 * frozen.numel() + 4 * (a.numel() + b.numel())
    low = 2 * 64 * 2
    assert kept_bytes(lambda: adapted_linear(x, frozen, None, a, b, 1.0)) == size + weights + low
    dropped = kept_bytes(lambda: adapted_linear(x, frozen, None, a, b, 1.0, mask))
    numbers = 4 * (64 + 32)
    assert dropped == size + weights + low + numbers


def test_a_mask_drops_the_share_that_was_asked_for_and_follows_from_the_seed() -> None:
    x = torch.ones(1000, 999)
    torch.manual_seed(3)
    once = masked(x, draw_mask(x, 0.01))
    torch.manual_seed(3)
    assert torch.equal(once, masked(x, draw_mask(x, 0.01)))
    assert not torch.equal(once, masked(x, draw_mask(x, 0.01)))
    assert once.mean() == pytest.approx(0.99, abs=5e-4)


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5])
def test_elements_are_dropped_independently_of_those_beside_them(probability: float) -> None:
    torch.manual_seed(5)
    x = torch.ones(2000, 1024)
    dropped = 1 - masked(x, draw_mask(x, probability))
    chance = probability**2
    for one, other in ((dropped[1:], dropped[:-1]), (dropped[:, 1:], dropped[:, :-1])):
        both = (one * other).mean()
        assert both == pytest.approx(chance, abs=6 * (chance / one.numel()) ** 0.5 + 0.02 * chance)
    for axis in (0, 1):  # no row and no column is dropped more than chance would
        share = dropped.mean(axis)
        deviation = (probability * (1 - probability) / dropped.shape[axis]) ** 0.5
        assert share.std() == pytest.approx(deviation, rel=0.15)


class _Masked(nn.Module):
    """Drops what a given mask drops, as torch's dropout would."""

    def __init__(self, mask: Mask, probability: float) -> None:
        super().__init__()
        self.mask, self.probability = mask, probability

    def forward(self, x: Tensor) -> Tensor:
        return masked(x, self.mask) / (1 - self.probability)


@pytest.mark.parametrize("changes", [{}, {"use_rslora": True}, {"dropout": 0.2}])
def test_an_adapted_layer_computes_what_peft_computes(
    tiny_checkpoint: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_checkpoint, torch.float32).train()
    add_adapters(model, preset(r"layers\.0\.feed_forward\.w1", **changes), seed=1)
    layer = model.get_submodule("layers.0.feed_forward.w1")
    assert isinstance(layer, AdaptedLinear)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.normal_(0, 0.3)
    x = random(3, 7, layer.in_features)
    torch.manual_seed(11)
    found = layer(x)
    gradients = torch.autograd.grad(found.square().sum(), [x, *trainable_parameters(layer).values()])

    if "dropout" in changes:
        torch.manual_seed(11)
        layer.lora_dropout["default"] = _Masked(draw_mask(x, 0.2), 0.2)
    monkeypatch.setattr(AdaptedLinear, "forward", lora.Linear.forward)
    expected = layer(x)
    plain = torch.autograd.grad(expected.square().sum(), [x, *trainable_parameters(layer).values()])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_what_is_not_one_plain_adapter_is_left_to_peft(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint, torch.float32).train()
    add_adapters(model, preset(r"layers\.0\.feed_forward\.w1", use_dora=True), seed=1)
    layer: Any = model.get_submodule("layers.0.feed_forward.w1")
    x = random(3, layer.in_features)
    assert torch.equal(layer(x), lora.Linear.forward(layer, x))
    layer.enable_adapters(False)
    assert torch.equal(layer(x), layer.base_layer(x))


def test_attention_of_a_frames_codes_as_products_is_what_the_kernels_compute() -> None:
    q, k, v = random(3, 10, 6, D, seed=1), random(3, 10, 2, D, seed=2), random(3, 10, 2, D, seed=3)
    expected = F.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (q, k, v)), is_causal=True, enable_gqa=True
    )
    found = _short_attention(q, k, v)
    torch.testing.assert_close(found, expected.transpose(1, 2).flatten(-2))
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), [q, k, v]),
        torch.autograd.grad(expected.square().sum(), [q, k, v]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
