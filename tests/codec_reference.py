"""The codec written a second time, as plainly as formats.md section 4 can be read, to compare with.

Works on the tensors of a file by their stored names. Slow: whole clips, every mask in full, nothing folded
beforehand, nothing in place, no chunks.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]


def weight(tensors: Tensors, name: str) -> Tensor:
    """Return a convolution's weight, weight norm applied."""
    for magnitude, direction in (
        (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
        (".weight_g", ".weight_v"),
    ):
        if name + magnitude in tensors:
            g, v = tensors[name + magnitude], tensors[name + direction]
            return torch.stack([g[i] * v[i] / v[i].norm() for i in range(len(v))])
    return tensors[name + ".weight"]


def conv(
    tensors: Tensors, name: str, x: Tensor, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Tensor:
    w = weight(tensors, name)
    left = (w.shape[-1] - 1) * dilation + 1 - stride
    outputs = math.ceil(x.shape[-1] / stride)
    right = max(0, (outputs - 1) * stride + (w.shape[-1] - 1) * dilation + 1 - left - x.shape[-1])
    return F.conv1d(F.pad(x, (left, right)), w, tensors[name + ".bias"], stride, 0, dilation, groups)


def transposed(tensors: Tensors, name: str, x: Tensor, stride: int) -> Tensor:
    w = weight(tensors, name)
    y = F.conv_transpose1d(x, w, tensors[name + ".bias"], stride)
    return y[..., : y.shape[-1] - (w.shape[-1] - stride)]


def snake(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    alpha = tensors[name + ".alpha"]
    return x + torch.sin(alpha * x) ** 2 / (alpha + 1e-9)


def residual_unit(tensors: Tensors, name: str, x: Tensor, dilation: int) -> Tensor:
    y = snake(tensors, f"{name}.block.0", x)
    y = conv(tensors, f"{name}.block.1.conv", y, dilation=dilation)
    y = snake(tensors, f"{name}.block.2", y)
    return x + conv(tensors, f"{name}.block.3.conv", y)


def rms_norm(x: Tensor, w: Tensor, eps: float = 1e-5) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * w


def rotate(x: Tensor) -> Tensor:
    """Turn `(B, T, H, E)` by its positions: interleaved pairs, tables rounded to bfloat16."""
    turned = torch.empty_like(x)
    for i in range(x.shape[-1] // 2):
        angle = torch.arange(x.shape[1], dtype=torch.float32) * 10_000.0 ** (-2 * i / x.shape[-1])
        cos, sin = angle.cos().bfloat16().float(), angle.sin().bfloat16().float()
        even, odd = x[..., 2 * i], x[..., 2 * i + 1]
        turned[..., 2 * i] = even * cos[:, None] - odd * sin[:, None]
        turned[..., 2 * i + 1] = odd * cos[:, None] + even * sin[:, None]
    return turned


def transformer(tensors: Tensors, name: str, x: Tensor, layers: int, window: int, head_dim: int) -> Tensor:
    x = x.transpose(1, 2)
    batch, length, _ = x.shape
    t = torch.arange(length)
    hidden = (t[None] > t[:, None]) | (t[:, None] - t[None] >= window)
    for i in range(layers):
        layer = f"{name}.layers.{i}"
        y = rms_norm(x, tensors[f"{layer}.attention_norm.weight"])
        q, k, v = (
            part.reshape(batch, length, -1, head_dim)
            for part in (y @ tensors[f"{layer}.attention.wqkv.weight"].T).chunk(3, dim=-1)
        )
        q, k = rotate(q), rotate(k)
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(head_dim)
        shares = scores.masked_fill(hidden, -math.inf).softmax(-1)
        y = torch.einsum("bhqk,bkhe->bqhe", shares, v).reshape(batch, length, -1)
        y = y @ tensors[f"{layer}.attention.wo.weight"].T
        x = x + tensors[f"{layer}.attention_layer_scale.gamma"] * y
        y = rms_norm(x, tensors[f"{layer}.ffn_norm.weight"])
        gate, up = (y @ tensors[f"{layer}.feed_forward.{w}.weight"].T for w in ("w1", "w3"))
        y = (F.silu(gate) * up) @ tensors[f"{layer}.feed_forward.w2.weight"].T
        x = x + tensors[f"{layer}.ffn_layer_scale.gamma"] * y
    return rms_norm(x, tensors[f"{name}.norm.weight"]).transpose(1, 2)


def convnext(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    y = conv(tensors, f"{name}.dwconv.conv", x, groups=x.shape[1]).transpose(1, 2)
    y = F.layer_norm(y, y.shape[-1:], tensors[f"{name}.norm.weight"], tensors[f"{name}.norm.bias"], 1e-6)
    y = F.gelu(y @ tensors[f"{name}.pwconv1.weight"].T + tensors[f"{name}.pwconv1.bias"])
    y = y @ tensors[f"{name}.pwconv2.weight"].T + tensors[f"{name}.pwconv2.bias"]
    return x + (tensors[f"{name}.gamma"] * y).transpose(1, 2)


def codebooks(config: dict[str, Any]) -> list[str]:
    residual = range(config["quantizer"]["n_codebooks"])
    return [
        "quantizer.semantic_quantizer.quantizers.0",
        *(f"quantizer.quantizer.quantizers.{i}" for i in residual),
    ]


def entry(tensors: Tensors, name: str, codes: Tensor) -> Tensor:
    """Return `out_proj` of the raw entries `codes` `(B, T)`."""
    vectors = tensors[f"{name}.codebook.weight"][codes].transpose(1, 2)
    return F.conv1d(vectors, weight(tensors, f"{name}.out_proj"), tensors[f"{name}.out_proj.bias"])


def encode(tensors: Tensors, config: dict[str, Any], audio: Tensor) -> Tensor:
    """Return codes `(1, K, frames)` of `audio` `(1, 1, samples)`."""
    shape = config["quantizer"]
    frame = math.prod(config["encoder_rates"]) * math.prod(shape["downsample_factor"])
    x = F.pad(audio, (0, -audio.shape[-1] % frame))
    x = conv(tensors, "encoder.block.0.conv", x)
    number = 0
    for rate, layers in zip(config["encoder_rates"], config["encoder_transformer_layers"], strict=True):
        number += 1
        name = f"encoder.block.{number}.block"
        for i, dilation in enumerate((1, 3, 9)):
            x = residual_unit(tensors, f"{name}.{i}", x, dilation)
        x = conv(tensors, f"{name}.4.conv", snake(tensors, f"{name}.3", x), stride=rate)
        if layers:
            window, head_dim = config["encoder_transformer_window"], config["encoder_transformer_head_dim"]
            x = transformer(tensors, f"{name}.5", x, layers, window, head_dim)
    x = snake(tensors, f"encoder.block.{number + 1}", x)
    x = conv(tensors, f"encoder.block.{number + 2}.conv", x)
    for i, factor in enumerate(shape["downsample_factor"]):
        x = conv(tensors, f"quantizer.downsample.{i}.0.conv", x, stride=factor)
        x = convnext(tensors, f"quantizer.downsample.{i}.1", x)
    x = _around_the_quantizer(tensors, config, "quantizer.pre_module", x)
    codes = []
    for name in codebooks(config):
        low = F.conv1d(x, weight(tensors, f"{name}.in_proj"), tensors[f"{name}.in_proj.bias"])
        low = low / low.norm(dim=1, keepdim=True)
        entries = tensors[f"{name}.codebook.weight"]
        entries = entries / entries.norm(dim=1, keepdim=True)
        distances = (low.transpose(1, 2)[:, :, None] - entries).square().sum(-1)
        codes.append(distances.argmin(-1))
        x = x - entry(tensors, name, codes[-1])
    return torch.stack(codes, dim=1)


def decode(tensors: Tensors, config: dict[str, Any], codes: Tensor) -> Tensor:
    """Return the waveform `(1, 1, samples)` of codes `(1, K, frames)`."""
    x = torch.stack([entry(tensors, name, codes[:, i]) for i, name in enumerate(codebooks(config))]).sum(0)
    x = _around_the_quantizer(tensors, config, "quantizer.post_module", x)
    for i, factor in enumerate(reversed(config["quantizer"]["downsample_factor"])):
        x = transposed(tensors, f"quantizer.upsample.{i}.0.conv", x, factor)
        x = convnext(tensors, f"quantizer.upsample.{i}.1", x)
    x = conv(tensors, "decoder.model.0.conv", x)
    number = 0
    for rate in config["decoder_rates"]:
        number += 1
        name = f"decoder.model.{number}.block"
        x = transposed(tensors, f"{name}.1.conv", snake(tensors, f"{name}.0", x), rate)
        for i, dilation in enumerate((1, 3, 9)):
            x = residual_unit(tensors, f"{name}.{i + 2}", x, dilation)
    x = snake(tensors, f"decoder.model.{number + 1}", x)
    return torch.tanh(conv(tensors, f"decoder.model.{number + 2}.conv", x))


def _around_the_quantizer(tensors: Tensors, config: dict[str, Any], name: str, x: Tensor) -> Tensor:
    shape = config["quantizer_transformer"]
    return transformer(tensors, name, x, shape["n_layer"], shape["window_size"], shape["head_dim"])
