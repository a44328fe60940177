"""Predicted memory of extraction against what torch allocates for the real codec."""

from __future__ import annotations

import pytest
import torch
from fishtune.core.codec import encoder, layers, quantizer
from fishtune.core.codec.codec import CodecEncoder
from fishtune.core.codec.config import CodecConfig
from fishtune.core.config.presets import read_preset
from fishtune.core.hardware.memory import encoding
from fishtune.core.hardware.memory.encoding import EncodingPlan
from fishtune.core.hardware.memory.estimate import extraction_memory
from fishtune.core.hardware.memory.ledger import Part
from torch._subclasses.fake_tensor import FakeTensorMode

from .memory_meter import LiveStorages, gpu_kernels, make_fake

PUBLISHED = read_preset("codec", "modded_dac_vq")


def codec(**changes: object) -> CodecConfig:
    return CodecConfig.model_validate(PUBLISHED | changes)


def measured(config: CodecConfig, plan: EncodingPlan, monkeypatch: pytest.MonkeyPatch) -> int:
    with torch.device("meta"):
        model = CodecEncoder(config).requires_grad_(False)
    with FakeTensorMode(), gpu_kernels(monkeypatch):
        make_fake(model)
        storages = LiveStorages([*model.parameters(), *model.buffers()])
        with storages:
            audio = torch.empty(plan.clips, 1, plan.samples)
            model.encode(audio)
    return storages.peak


@pytest.mark.parametrize(
    ("config", "clips", "seconds"),
    [
        pytest.param(codec(), 1, 2.0, id="short"),
        pytest.param(codec(), 1, 30.0, id="long"),
        pytest.param(codec(), 6, 9.0, id="batch"),
        pytest.param(codec(encoder_transformer_layers=[0, 0, 0, 0]), 2, 6.0, id="no-transformer"),
        pytest.param(codec(encoder_transformer_layers=[0, 1, 0, 1]), 2, 6.0, id="early-transformer"),
    ],
)
def test_the_prediction_is_within_five_percent(
    config: CodecConfig, clips: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = EncodingPlan.of(config, clips, seconds)
    predicted, actual = extraction_memory(config, plan).tensors, measured(config, plan, monkeypatch)
    print(f"predicted {predicted:,}, torch {actual:,}: {predicted / actual - 1:+.1%}")
    assert predicted == pytest.approx(actual, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("clips", "seconds"), [(1, 190.0), (16, 10.0), (64, 10.0), (8, 60.0)])
def test_large_batches_are_within_five_percent(
    clips: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = EncodingPlan.of(codec(), clips, seconds)
    actual = measured(codec(), plan, monkeypatch)
    assert extraction_memory(codec(), plan).tensors == pytest.approx(actual, rel=0.05)


@pytest.mark.parametrize("config", [codec(), codec(encoder_transformer_layers=[0, 1, 0, 0])])
def test_weights_are_counted_exactly(config: CodecConfig) -> None:
    with torch.device("meta"):
        model = CodecEncoder(config)
    weights = extraction_memory(config, EncodingPlan.of(config, 1, 1.0)).parts[Part.WEIGHTS]
    assert weights == 4 * sum(parameter.numel() for parameter in model.parameters())


def test_sizes_of_chunks_are_the_codecs_own() -> None:
    assert encoding.CHUNK_SAMPLES == encoder.CHUNK_SAMPLES
    assert encoding.DILATIONS == layers.DILATIONS
    assert encoding.POSITIONS_AT_ONCE == quantizer._POSITIONS_AT_ONCE
