"""The codec: exact on the golden files, equal to a plain second reading of formats.md at other shapes."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.codec import decoder as decoder_module
from fishtune.core.codec import encoder as encoder_module
from fishtune.core.codec import streaming
from fishtune.core.codec.checkpoint import load_codec, load_encoder, stored_tensors
from fishtune.core.codec.codec import Codec, CodecEncoder
from fishtune.core.codec.config import MAX_FRAMES, CodecConfig
from fishtune.core.codec.layers import CausalConv1d, CausalTransposedConv1d, ResidualUnit
from fishtune.core.codec.streaming import stream
from fishtune.core.codec.transformer import windowed_attention
from fishtune.core.config.strict import parse
from fishtune.core.errors import DataError, SettingsError
from fishtune.core.stages.validate.run import LONGEST_SECONDS
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from . import codec_reference

CLIPS = range(3)
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def encoder() -> CodecEncoder:
    return load_encoder(GOLDEN / "base/codec.pth", "modded_dac_vq")


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_codec(GOLDEN / "base/codec.pth", "modded_dac_vq")


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "codec.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("clip", CLIPS)
def test_golden_codes_alone(encoder: CodecEncoder, reference: dict[str, np.ndarray], clip: int) -> None:
    codes = encoder.encode(torch.from_numpy(reference[f"audio{clip}"])[None, None])
    assert codes.dtype == torch.int64
    assert np.array_equal(codes[0].numpy(), reference[f"codes{clip}"])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_golden_codes_in_a_padded_batch(
    encoder: CodecEncoder, reference: dict[str, np.ndarray], order: tuple[int, ...]
) -> None:
    clips = [torch.from_numpy(reference[f"audio{clip}"]) for clip in order]
    codes = encoder.encode(pad_sequence(clips, batch_first=True)[:, None], [len(clip) for clip in clips])
    for row, clip in zip(codes.numpy(), order, strict=True):
        expected = reference[f"codes{clip}"]
        assert np.array_equal(row[:, : expected.shape[1]], expected)


@pytest.mark.parametrize("clip", CLIPS)
def test_golden_waveforms(codec: Codec, reference: dict[str, np.ndarray], clip: int) -> None:
    waveform = codec.decode(torch.from_numpy(reference[f"codes{clip}"])[None])
    assert np.abs(waveform[0, 0].numpy() - reference[f"decoded{clip}"]).max() < 1e-4


def test_codes_out_of_range_are_clamped_when_decoded(codec: Codec) -> None:
    sizes = torch.tensor(codec.config.codebook_sizes)[None, :, None]
    highest = (sizes - 1).expand(1, -1, 3)
    assert torch.equal(codec.decode(highest + 5000), codec.decode(highest))
    assert torch.equal(codec.decode(highest * 0 - 7), codec.decode(highest * 0))


@pytest.mark.parametrize("samples", [1, 2047, 2048, 2049])
def test_the_last_frame_is_padded(encoder: CodecEncoder, samples: int) -> None:
    frames = -(-samples // 2048)
    assert encoder.frames(samples) == frames
    assert encoder.encode(torch.zeros(1, 1, samples)).shape == (1, 10, frames)


def test_audio_longer_than_the_codec_covers_is_refused(encoder: CodecEncoder) -> None:
    too_long = MAX_FRAMES * 2048 + 1
    with pytest.raises(
        DataError, match=r"The audio is 191 s long; the codec takes at most 190 s\."
    ) as caught:
        encoder.encode(torch.zeros(1, 1, too_long))
    assert caught.value.hint.startswith("Split it")


# Other shapes


def changed(**changes: Any) -> dict[str, Any]:
    """Return the golden codec's configuration with some keys changed; nested ones with two underscores."""
    content: dict[str, Any] = json.loads((GOLDEN / "base/codec_config.json").read_text())
    for key, value in changes.items():
        table, _, name = key.rpartition("__")
        (content[table] if table else content)[name] = value
    return content


SHAPES = {
    "other rates, a window shorter than the clip": changed(
        encoder_rates=[3, 2, 5],
        encoder_dim=8,
        encoder_transformer_layers=[0, 0, 2],
        encoder_transformer_window=7,
        encoder_transformer_head_dim=16,
        decoder_rates=[5, 6],
        decoder_dim=12,
        quantizer__downsample_factor=[3],
    ),
    "transformers after every rate": changed(
        encoder_rates=[2, 2],
        encoder_dim=16,
        encoder_transformer_layers=[1, 2],
        encoder_transformer_window=5,
        encoder_transformer_head_dim=32,
        decoder_rates=[4],
        decoder_dim=6,
        quantizer__downsample_factor=[2, 3],
    ),
    "no transformer, one rate of one": changed(
        encoder_rates=[4, 1],
        encoder_dim=16,
        encoder_transformer_layers=[0, 0],
        decoder_rates=[1, 4],
        decoder_dim=8,
    ),
    "other codebooks, heads apart from the width": changed(
        encoder_rates=[2, 2, 2, 2],
        quantizer__n_codebooks=3,
        quantizer__codebook_size=17,
        quantizer__semantic_codebook_size=100,
        quantizer__codebook_dim=5,
        quantizer_transformer__n_layer=2,
        quantizer_transformer__n_head=3,
        quantizer_transformer__head_dim=8,
        quantizer_transformer__window_size=4,
        decoder_rates=[4, 4],
        decoder_dim=8,
    ),
}


def random_codec(content: dict[str, Any]) -> Codec:
    """Return a codec with random weights that keep a signal's size, so that codes vary."""
    torch.manual_seed(0)
    codec = Codec(parse(CodecConfig, content, "test")).eval().requires_grad_(False)
    for name, tensor in codec.named_parameters():
        if name.endswith(("alpha", "norm.weight")):
            tensor.normal_(1.0, 0.1)
        elif name.endswith("gamma"):
            tensor.normal_(0.5, 0.1)
        elif name.endswith("codebook.weight"):
            tensor.normal_()
        elif tensor.dim() > 1:
            tensor.normal_(0.0, (tensor[0].numel()) ** -0.5)
        else:
            tensor.normal_(0.0, 0.1)
    return codec


@pytest.mark.parametrize("name", SHAPES)
def test_other_shapes_equal_a_plain_reading_of_the_format(name: str) -> None:
    content = SHAPES[name]
    codec = random_codec(content)
    tensors = stored_tensors(codec.state_dict())
    frame = codec.config.frame_length
    audio = 0.3 * torch.randn(1, 1, 40 * frame - frame // 2, generator=torch.Generator().manual_seed(1))
    codes = codec.encode(audio)
    assert torch.equal(codes, codec_reference.encode(tensors, content, audio))
    assert codes.shape == (1, 1 + content["quantizer"]["n_codebooks"], 40)
    assert len(codes[0, 0].unique()) > 5, "this test needs varied codes"
    # In float32 the order of the sums alone, which threads decide, moves these loud waveforms by 1e-4.
    waveform = codec.double().decode(codes)
    assert waveform.shape == (1, 1, 40 * frame)
    tensors = stored_tensors(codec.state_dict())
    assert (waveform - codec_reference.decode(tensors, content, codes)).abs().max() < 1e-4


def test_the_reference_of_these_tests_agrees_with_the_golden_files(reference: dict[str, np.ndarray]) -> None:
    tensors = torch.load(GOLDEN / "base/codec.pth", weights_only=True)
    codes = codec_reference.encode(tensors, changed(), torch.from_numpy(reference["audio2"])[None, None])
    assert np.array_equal(codes[0].numpy(), reference["codes2"])
    waveform = codec_reference.decode(tensors, changed(), codes)
    assert np.abs(waveform[0, 0].numpy() - reference["decoded2"]).max() < 1e-4


@pytest.mark.parametrize("name", SHAPES)
def test_a_clip_has_the_same_codes_in_a_batch_of_other_shapes(name: str) -> None:
    codec = random_codec(SHAPES[name])
    frame = codec.config.frame_length
    generator = torch.Generator().manual_seed(2)
    clips = [0.3 * torch.randn(n * frame - n, generator=generator) for n in (11, 3, 25)]
    together = codec.encode(pad_sequence(clips, batch_first=True)[:, None], [len(clip) for clip in clips])
    for row, clip in zip(together, clips, strict=True):
        alone = codec.encode(clip[None, None])[0]
        assert torch.equal(row[:, : alone.shape[1]], alone)


# Pieces


@pytest.mark.parametrize("length", [1, 6, 7, 8, 14, 15, 20, 21, 50])
def test_windowed_attention_equals_a_full_mask(length: int) -> None:
    window = 7
    q, k, v = torch.randn(3, 2, 3, length, 8, generator=torch.Generator().manual_seed(length)).unbind()
    distance = torch.arange(length)[:, None] - torch.arange(length)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=(distance >= 0) & (distance < window))
    assert torch.allclose(windowed_attention(q, k, v, window), expected, atol=1e-6)


def stack() -> nn.Sequential:
    """Return a causal stack with every kind of convolution; four outputs for three inputs."""
    torch.manual_seed(3)
    layers = nn.Sequential(
        CausalConv1d(1, 4, 7),
        ResidualUnit(4, 3),
        CausalConv1d(4, 6, 6, stride=3),
        CausalTransposedConv1d(6, 4, 8, stride=4),
        ResidualUnit(4, 1),
    )
    return layers.requires_grad_(False)


def test_an_output_sees_its_past_and_no_future() -> None:
    layers = stack()
    x = torch.randn(1, 1, 300)
    changed_input = x.clone()
    changed_input[..., 150] += 1.0
    moved = (layers(x) != layers(changed_input)).any(1)[0].nonzero().flatten()
    assert moved.min() >= 150 * 4 // 3
    assert moved.max() > 180 * 4 // 3  # so pieces without their past would be wrong


@pytest.mark.parametrize("on_cpu", [1, 8, 1000])
@pytest.mark.parametrize("chunk", [3, 30, 81, 300, 999])
def test_pieces_give_what_the_whole_gives(chunk: int, on_cpu: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_POSITIONS_ON_CPU", on_cpu)
    layers = stack()
    x = torch.randn(2, 1, 300)
    assert torch.allclose(stream(layers, x, chunk), layers(x), atol=1e-5)


def test_two_sequences_do_not_hear_each_other() -> None:
    layers, x = stack(), torch.randn(1, 1, 300)
    first = stream(layers, x, 30)
    stream(layers, torch.randn(1, 1, 300), 30)
    assert torch.equal(stream(layers, x, 30), first)


def test_long_clips_go_through_the_convolutions_in_chunks(
    codec: Codec, reference: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "CHUNK_SAMPLES", 4096)
    monkeypatch.setattr(decoder_module, "CHUNK_SAMPLES", 4096)
    monkeypatch.setattr(streaming, "_POSITIONS_ON_CPU", 1000)
    seen = []
    codec.encoder.block[0].register_forward_hook(
        lambda layer, inputs, output: seen.append(inputs[0].shape[-1])
    )
    codes = codec.encode(torch.from_numpy(reference["audio1"])[None, None])
    assert np.array_equal(codes[0].numpy(), reference["codes1"])
    assert sum(seen) == 2048 * codes.shape[-1] and max(seen) == 1000
    waveform = codec.decode(codes)
    assert np.abs(waveform[0, 0].numpy() - reference["decoded1"]).max() < 1e-4


def test_equally_near_entries_give_the_lowest(encoder: CodecEncoder) -> None:
    quantizer = copy.deepcopy(encoder.quantizer.semantic_quantizer.quantizers[0])
    quantizer.codebook.weight[:] = quantizer.codebook.weight[3]
    assert torch.equal(quantizer.nearest(torch.randn(1, 64, 9)), torch.zeros(1, 9, dtype=torch.int64))


# Configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_transformer_layers": [0, 1]}, "encoder_transformer_layers needs 4 numbers"),
        (
            {"encoder_transformer_layers": [0, 0, 1, 1]},
            "the encoder's transformers need widths divisible",
        ),
        ({"decoder_transformer_layers": [0, 0, 0, 1]}, "decoder_transformer_layers must be zeros"),
        ({"decoder_rates": [8, 8, 4]}, "decoder_rates must multiply to the same as encoder_rates"),
        ({"decoder_dim": 24}, "decoder_dim must be divisible by 16"),
        ({"quantizer__input_dim": 32}, "quantizer.input_dim must be the encoder's last width, 64"),
        ({"quantizer_transformer__dim": 32}, "quantizer_transformer.dim must be quantizer.input_dim"),
        ({"quantizer__n_codebook": 3}, "quantizer.n_codebook is not a known key (did you mean n_codebooks?)"),
        ({"encoder_rates": [2, 0, 8, 8]}, "encoder_rates.1: input should be greater than 0"),
    ],
)
def test_a_shape_that_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(CodecConfig, changed(**changes), "codec_config.json")
    assert caught.value.message.startswith(f"codec_config.json has 1 problem: {message}")


def test_frames_and_lengths_follow_from_the_shape(encoder: CodecEncoder) -> None:
    config = encoder.config
    assert (config.hop_length, config.frame_length, config.codebook_sizes) == (512, 2048, [64] + 9 * [32])
    assert config.frame_rate == pytest.approx(21.53, abs=0.01)
    assert config.max_seconds == pytest.approx(190.2, abs=0.1)
    assert math.floor(config.max_seconds) == LONGEST_SECONDS, "validation and extraction must agree"


def test_nothing_is_rounded_to_tf32_while_the_codec_computes(encoder: CodecEncoder) -> None:
    seen = []

    def look(*_: object) -> None:
        seen.append((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # as containers with TORCH_ALLOW_TF32_CUBLAS_OVERRIDE start
    hook = encoder.encoder.register_forward_pre_hook(look)
    try:
        encoder.encode(torch.zeros(1, 1, 2048))
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32, "torch's default, as before"
    finally:
        hook.remove()
        torch.set_float32_matmul_precision(before)
    assert seen == [(False, "highest")]
