"""Frozen weights in 8 or 4 bits: the layer, its gradient, and a model that is loaded with them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.compute.quantised import QuantisedLinear, matrix, quantised
from fishtune.core.config.presets import lora_preset
from fishtune.core.config.settings import BasePrecision
from fishtune.core.errors import UsageError
from fishtune.core.lora.injection import add_adapters, trainable_parameters
from fishtune.core.lora.library import not_installed, peft
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.targets import quantised_modules
from torch import nn
from torch.nn import functional as F

WIDTHS = [64, 48, 160]
"""Channels in: a whole block, less than one, and blocks with a rest."""
PRECISIONS: tuple[Any, ...] = (
    "int8",
    pytest.param(
        "nf4",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("bitsandbytes") is None,
            reason="the extra is not installed: pip install 'fishtune[quantised]'",
        ),
    ),
)
LARGEST_ERROR = {"int8": 0.01, "nf4": 0.12}
"""Of normal numbers in blocks of 64, relative: measured 0.0059 and 0.091."""


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def few_bits(model: DualAR) -> set[str]:
    return set(quantised_modules(name for name, _ in model.named_modules()))


def linear(columns: int, bias: bool = False) -> nn.Linear:
    return nn.Linear(columns, 24, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_weight_survives_few_bits_nearly_and_takes_as_many(precision: BasePrecision, columns: int) -> None:
    weight = torch.randn(24, columns) * torch.rand(24, 1)
    packed, scales = quantised(weight, precision)
    found = matrix(packed, scales, columns, torch.float32)
    assert found.shape == weight.shape
    assert (found - weight).norm() < LARGEST_ERROR[precision] * weight.norm()
    whole = -(-columns // 64) * 64
    assert packed.nbytes == 24 * whole // (2 if precision == "nf4" else 1)
    assert scales.nbytes == 24 * whole // 64 * 4
    # What is rounded already stays.
    again = matrix(*quantised(found, precision), columns, torch.float32)
    torch.testing.assert_close(again, found)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_accounting_counts_is_what_there_is(precision: BasePrecision) -> None:
    real = QuantisedLinear(linear(48), precision)
    without_content = QuantisedLinear(linear(48).to("meta"), precision)
    for name, weight in real.named_parameters():
        other = without_content.get_parameter(name)
        assert (other.shape, other.dtype) == (weight.shape, weight.dtype)
    plain = matrix(without_content.weight, without_content.scales, 48, torch.bfloat16)
    assert (plain.shape, plain.dtype, plain.is_meta) == ((24, 48), torch.bfloat16, True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_quantised_as_the_whole_is(precision: BasePrecision) -> None:
    weight = torch.randn(10, 96)
    whole = matrix(*quantised(weight, precision), 96, torch.float32)
    parts = [matrix(*quantised(rows, precision), 96, torch.float32) for rows in weight.split([3, 7])]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_zeros_and_what_cannot_be_divided_by_stay_what_they_are(precision: BasePrecision) -> None:
    weight = torch.randn(4, 128)
    weight[0], weight[1, :64], weight[2, 64:] = 0, 0, 1e-42
    found = matrix(*quantised(weight, precision), 128, torch.float32)
    assert found.isfinite().all()
    assert not found[0].any() and not found[1, :64].any()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_computes_with_its_matrix_forward_and_backward(
    precision: BasePrecision, dtype: torch.dtype, bias: bool
) -> None:
    layer = QuantisedLinear(linear(48, bias), precision).to(dtype)
    assert layer.scales.dtype == torch.float32, "a cast of the model leaves the scales alone"
    plain = matrix(layer.weight, layer.scales, 48, dtype)
    x = torch.randn(2, 3, 48, dtype=dtype, requires_grad=True)
    y = layer(x)
    expected = F.linear(x, plain, layer.bias)
    assert torch.equal(y, expected)
    gradient = torch.randn_like(y)
    (found,) = torch.autograd.grad(y, x, gradient)
    assert torch.equal(found, gradient @ plain)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_waits_for_the_backward_pass_is_small(precision: BasePrecision) -> None:
    layer = QuantisedLinear(linear(64), precision)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(5, 64, requires_grad=True))
    own = {layer.weight.data_ptr(), layer.scales.data_ptr()}
    assert {tensor.data_ptr() for tensor in kept} == own


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_linear_layers_of_the_slow_stack_are_quantised(
    tiny_checkpoint: Path, precision: BasePrecision
) -> None:
    plain = load_model(tiny_checkpoint, torch.bfloat16)
    model = load_model(tiny_checkpoint, torch.bfloat16, base_precision=precision)
    names = few_bits(plain)
    assert len(names) == 5 * plain.config.n_layer
    for name, layer in model.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        if name in names:
            assert isinstance(layer, QuantisedLinear) and own["weight"].dtype in (torch.int8, torch.uint8)
        else:
            assert not isinstance(layer, QuantisedLinear)
            for key, weight in own.items():
                assert torch.equal(weight, plain.get_submodule(name).get_parameter(key))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_adapters_lie_over_quantised_layers_in_float32(
    tiny_checkpoint: Path, precision: BasePrecision
) -> None:
    model = load_model(tiny_checkpoint, torch.bfloat16, base_precision=precision)
    names = add_adapters(model, lora_preset("r_8_alpha_16"), seed=1)
    assert few_bits(load_model(tiny_checkpoint)) < set(names)
    trained = trainable_parameters(model)
    assert trained and all(weight.dtype == torch.float32 for weight in trained.values())
    assert not any(weight.dtype in (torch.int8, torch.uint8) for weight in trained.values())


def test_nf4_without_its_library_is_one_sentence(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package bitsandbytes") as error:
        load_model(tiny_checkpoint, base_precision="nf4")
    assert 'pip install "fishtune[quantised]"' in error.value.hint
    load_model(tiny_checkpoint, base_precision="int8")


def test_peft_is_loaded_without_the_library_of_quantising() -> None:
    assert not peft.import_utils.is_bnb_available(), "else it loads it for every adapter"


def test_a_package_looks_as_if_it_were_not_installed_only_while_it_must() -> None:
    name = "this"  # of Python, and loaded by nobody
    with not_installed(name):
        assert importlib.util.find_spec(name) is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert importlib.util.find_spec(name) is not None and name not in sys.modules
    with not_installed("sys"):
        assert importlib.import_module("sys") is sys, "what is loaded stays"
