"""Extraction's encoding of a batch (`core/codec`), replayed on a ledger.

Follows `Encoder.forward` and `Quantizer.encode` line by line: clips go through the convolutions one at a
time and in chunks, through the transformers together. Everything is float32 and nothing is kept for a
backward pass. Workspaces inside cuDNN's convolutions are not counted here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ...codec.config import CodecConfig
from .ledger import FLOAT32, INT64, Ledger, Part, Tensor, Weight
from .replay import FeedForward, Linear, added, rms_norm, rotary, scaled

CHUNK_SAMPLES: Final = 45 * 2048
"""Of `codec.encoder`, which needs torch; a test holds them together."""
DILATIONS: Final = (1, 3, 9)
"""Of `codec.layers`."""
POSITIONS_AT_ONCE: Final = 4096
"""Of `codec.quantizer`."""


@dataclass(frozen=True)
class EncodingPlan:
    """A batch: so many clips of so many samples, at the codec's rate; shorter ones are padded."""

    clips: int
    samples: int

    @classmethod
    def of(cls, config: CodecConfig, clips: int, seconds: float) -> EncodingPlan:
        """Return the plan of clips of `seconds` each, padded to whole frames."""
        samples = math.ceil(seconds * config.sample_rate)
        return cls(clips, config.frames(samples) * config.frame_length)


@dataclass(frozen=True)
class _Convolution:
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False

    @property
    def context(self) -> int:
        return (self.kernel - 1) * self.dilation + 1 - self.stride

    @property
    def weights(self) -> int:
        return self.outputs * (1 if self.depthwise else self.inputs) * self.kernel + self.outputs

    def __call__(self, x: Tensor, rows: int = 1) -> Tensor:
        """Padded on both sides; what lies behind the end is cut off, but its memory is there."""
        length = x.elements // self.inputs // rows
        padded = length + 2 * self.context
        whole = (padded - self.dilation * (self.kernel - 1) - 1) // self.stride + 1
        storage = x.ledger.store(rows * self.outputs * whole * FLOAT32)
        return Tensor(x.ledger, rows * self.outputs * (length // self.stride), FLOAT32, storage)


@dataclass(frozen=True)
class _Snake:
    channels: int
    stride = 1
    context = 0

    @property
    def weights(self) -> int:
        return self.channels

    def __call__(self, x: Tensor, rows: int = 1) -> Tensor:  # noqa: ARG002 - as every layer's
        return scaled(x)


@dataclass(frozen=True)
class _ResidualUnit:
    channels: int
    dilation: int
    stride = 1

    @property
    def layers(self) -> list[_Convolution | _Snake]:
        wide = _Convolution(self.channels, self.channels, 7, dilation=self.dilation)
        point = _Convolution(self.channels, self.channels, 1)
        return [_Snake(self.channels), wide, _Snake(self.channels), point]

    @property
    def context(self) -> int:
        return sum(layer.context for layer in self.layers)

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)

    def __call__(self, x: Tensor, rows: int = 1) -> Tensor:
        result = x
        for layer in self.layers:
            result = layer(result, rows)
        return result  # the input is added in place


_Layer = _Convolution | _Snake | _ResidualUnit


@dataclass(frozen=True)
class _Transformer:
    """`WindowedTransformer`; `rows` are the clips of a batch."""

    layers: int
    heads: int
    head_dim: int
    dim: int
    hidden: int
    window: int

    @property
    def weights(self) -> int:
        width = self.heads * self.head_dim
        block = 4 * width * self.dim + 3 * self.dim * self.hidden + 4 * self.dim
        return self.layers * block + self.dim

    def __call__(self, x: Tensor, rows: int, *, channels_last: bool = False) -> Tensor:
        if not channels_last:
            x = scaled(x)  # a copy makes them so
        table = x.ledger.store(x.elements // rows // self.dim * self.head_dim * 2)
        for _ in range(self.layers):
            x = self._block(x, rows)
        del table
        return rms_norm(x, self._weight(self.dim))

    def _block(self, x: Tensor, rows: int) -> Tensor:
        norm = self._weight(self.dim)
        h = added(x, scaled(self._attention(rms_norm(x, norm), rows)))
        feed_forward = FeedForward(*(self._linear(*size) for size in self._feed_forward_sizes()))
        return added(h, scaled(feed_forward(rms_norm(h, norm))))

    def _attention(self, x: Tensor, rows: int) -> Tensor:
        width = self.heads * self.head_dim
        joint = self._linear(self.dim, 3 * width)(x)
        part = joint.elements // 3
        q, k, v = (Tensor(x.ledger, part, FLOAT32, joint.storage) for _ in range(3))
        del joint
        q, k = rotary(q), rotary(k)
        attended = self._windowed(q, k, v, rows)
        del q, k, v
        dense = scaled(attended)  # heads beside each other again
        del attended
        return self._linear(width, self.dim)(dense)

    def _windowed(self, q: Tensor, k: Tensor, v: Tensor, rows: int) -> Tensor:
        """`windowed_attention`: the first window alone, then blocks of a window over padded copies."""
        ledger, width = q.ledger, self.heads * self.head_dim
        length = q.elements // width // rows
        first = Tensor(ledger, rows * width * min(length, self.window), FLOAT32)
        if length <= self.window:
            return first
        end = -(-length // self.window) * self.window
        queries = rows * width * (end - self.window)
        held = [Tensor(ledger, queries, FLOAT32)]  # padded, as keys and values are
        held += [Tensor(ledger, rows * width * end, FLOAT32) for _ in (k, v)]
        if rows > 1 and end == length:
            # Padding by nothing leaves positions outside of heads, where clips and heads can be joined only
            # in copies; of keys and values these are two windows a block.
            held += [Tensor(ledger, elements, FLOAT32) for elements in (queries, 2 * queries, 2 * queries)]
        held.append(Tensor(ledger, queries, FLOAT32))  # the blocks' result
        whole = Tensor(ledger, q.elements, FLOAT32)
        del held
        return whole

    def _linear(self, inputs: int, outputs: int) -> Linear:
        return Linear(inputs, outputs, self._weight(inputs * outputs))

    def _feed_forward_sizes(self) -> list[tuple[int, int]]:
        return [(self.dim, self.hidden), (self.dim, self.hidden), (self.hidden, self.dim)]

    @staticmethod
    def _weight(elements: int) -> Weight:
        return Weight(elements, FLOAT32, trained=False)


def replay_encoding(config: CodecConfig, plan: EncodingPlan) -> Ledger:
    """Return the ledger of one batch."""
    ledger = Ledger()
    encoder = _Encoder(config)
    weights = ledger.store(encoder.weights * FLOAT32, Part.WEIGHTS)
    with ledger.unrecorded(), ledger.under(Part.ACTIVATIONS):
        encoder.encode(ledger, plan)
    del weights
    return ledger


class _Encoder:
    def __init__(self, config: CodecConfig) -> None:
        self.config = config
        width = config.encoder_dim
        layers: list[_Layer | _Transformer] = [_Convolution(1, width, 7)]
        for rate, depth in zip(config.encoder_rates, config.encoder_transformer_layers, strict=True):
            layers += [_ResidualUnit(width, dilation) for dilation in DILATIONS]
            layers += [_Snake(width), _Convolution(width, 2 * width, 2 * rate, stride=rate)]
            width *= 2
            if depth:
                head_dim = config.encoder_transformer_head_dim
                heads, window = width // head_dim, config.encoder_transformer_window
                layers.append(_Transformer(depth, heads, head_dim, width, 3 * width, window))
        channels = config.quantizer.input_dim
        layers += [_Snake(width), _Convolution(width, channels, 3)]
        cut = next((n for n, layer in enumerate(layers) if isinstance(layer, _Transformer)), len(layers))
        self.front = [layer for layer in layers[:cut] if not isinstance(layer, _Transformer)]
        self.rest = layers[cut:]
        self.downsample = [
            (
                _Convolution(channels, channels, factor, stride=factor),
                _Convolution(channels, channels, 7, depthwise=True),
            )
            for factor in config.quantizer.downsample_factor
        ]
        shape = config.quantizer_transformer
        self.pre_module = _Transformer(
            shape.n_layer, shape.n_head, shape.head_dim, shape.dim, shape.intermediate_size, shape.window_size
        )

    @property
    def weights(self) -> int:
        """Number of weights of the encoding half."""
        quantizer = self.config.quantizer
        channels, narrow = quantizer.input_dim, quantizer.codebook_dim
        # ConvNeXt: norm, to four times the width and back with biases, a factor a channel.
        wide = 8 * channels * channels + 5 * channels + 3 * channels
        codebooks = sum(
            size * narrow + channels * narrow + narrow + narrow * channels + channels
            for size in self.config.codebook_sizes
        )
        layers = [*self.front, *self.rest, self.pre_module, *(c for pair in self.downsample for c in pair)]
        return sum(layer.weights for layer in layers) + len(self.downsample) * wide + codebooks

    def encode(self, ledger: Ledger, plan: EncodingPlan) -> None:
        rows = plan.clips
        audio = [Tensor(ledger, rows * plan.samples, FLOAT32) for _ in ("batch", "padded copies")]
        latents = [self._latent(ledger, plan.samples) for _ in range(1 if rows == 1 else 2)]
        if rows > 1:  # the first two clips stand for all
            latents.append(Tensor(ledger, (rows - 2) * latents[0].elements, FLOAT32))
        with ledger.under(Part.WORKING):
            x = latents[0]
            if rows > 1:
                x = Tensor(ledger, rows * latents[0].elements, FLOAT32)
            self._quantize(self._rest(x, rows), rows)
        del audio

    def _latent(self, ledger: Ledger, samples: int) -> Tensor:
        """`in_chunks` over the layers in front of the first transformer."""
        context, stride = 0, 1
        for layer in self.front:
            context += layer.context * stride
            stride *= layer.stride
        chunk, context = (-(-size // stride) * stride for size in (CHUNK_SAMPLES, context))
        if samples <= chunk + context:
            return self._convolve(ledger, samples)
        second = min(context, chunk) + min(chunk, samples - chunk)
        pieces = [self._convolve(ledger, chunk), self._convolve(ledger, second)]
        others = -(-samples // chunk) - 2  # like the second; the last may be shorter
        pieces.append(Tensor(ledger, others * pieces[1].elements, FLOAT32))
        return Tensor(ledger, samples // stride * (pieces[0].elements // (chunk // stride)), FLOAT32)

    def _convolve(self, ledger: Ledger, samples: int) -> Tensor:
        with ledger.under(Part.WORKING):
            x = Tensor(ledger, samples, FLOAT32, ledger.store(0))  # a view of the clip
            for layer in self.front:
                x = layer(x)
        return x

    def _rest(self, x: Tensor, rows: int) -> Tensor:
        joined = rows > 1  # clips put side by side already lie with their channels last
        for layer in self.rest:
            if isinstance(layer, _Transformer):
                x = layer(x, rows, channels_last=joined)
                joined = False
            else:
                x = layer(x, rows)
        return x

    def _quantize(self, x: Tensor, rows: int) -> None:
        """`Quantizer.encode`."""
        ledger, quantizer = x.ledger, self.config.quantizer
        for convolution, depthwise in self.downsample:
            x = convolution(x, rows)
            x = self._conv_next(x, depthwise, rows)
        residual = self.pre_module(x, rows)
        del x
        positions = residual.elements // quantizer.input_dim
        codes = []
        for size in self.config.codebook_sizes:
            narrow = [Tensor(ledger, positions * quantizer.codebook_dim, FLOAT32) for _ in range(3)]
            ledger.spike(min(positions, POSITIONS_AT_ONCE) * size * FLOAT32)
            del narrow
            codes.append(ledger.store(positions * INT64))
            residual = added(residual, scaled(residual))

    @staticmethod
    def _conv_next(x: Tensor, depthwise: _Convolution, rows: int) -> Tensor:
        branch = depthwise(x, rows)
        dense = scaled(branch)
        normalised = scaled(dense)
        del branch, dense
        wide = Tensor(x.ledger, 4 * normalised.elements, FLOAT32)
        activated = scaled(wide)
        del wide
        narrow = Tensor(x.ledger, activated.elements // 4, FLOAT32)
        del activated
        narrow = scaled(narrow)
        return added(x, narrow)
