"""CAM++, the speaker encoder, from a checkpoint of its own format: tensors by name in a `.pt` file.

Wang et al. 2023, "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking". Its authors publish `campplus_cn_en_common.pt` and the like; others turn them into ONNX, which
`speaker` prefers. The network is read off the tensors' names and shapes, so that every size of it loads.

Shapes: B batch, F mel bands, T frames, C channels.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F

from ..compute.weights import read_state_dict
from ..errors import CheckpointError

_SEGMENT = 100
"""Frames over which the context of a mask is averaged."""
_EPSILON = 1e-5
_DILATIONS = {1: 1, 2: 2, 3: 2}
"""Of the dense blocks."""


class CamPlusPlus:
    """The network in inference: features to an embedding."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights = weights
        self._depths = {
            block: 1 + max(int(number[1]) for number in found)
            for block in _DILATIONS
            if (
                found := [
                    n for key in weights if (n := re.match(rf"xvector\.block{block}\.tdnnd(\d+)\.", key))
                ]
            )
        }

    @classmethod
    def load(cls, path: Path) -> CamPlusPlus:
        """Return the network of a checkpoint.

        Raises:
            CheckpointError: it is not one of CAM++, or not readable.
        """
        weights = read_state_dict(path)
        needed = ("head.conv1.weight", "xvector.tdnn.linear.weight", "xvector.dense.linear.weight")
        if any(name not in weights for name in needed):
            raise CheckpointError(
                "{file} is not a speaker encoder: it lacks the tensors of CAM++.",
                "Give an ONNX file, or campplus_….pt as 3D-Speaker publishes it.",
                file=path,
            )
        return cls({name: tensor.float() for name, tensor in weights.items()})

    @torch.inference_mode()
    def __call__(self, features_BTF: torch.Tensor) -> torch.Tensor:
        """Return embeddings `(B, size)` of mel features, whose mean over time was taken off."""
        x = self._head(features_BTF.transpose(1, 2)[:, None])
        x = self._norm(
            "xvector.tdnn.nonlinear", self._conv("xvector.tdnn.linear", x, stride=2, padding=2)
        ).relu()
        for block, depth in self._depths.items():
            for layer in range(1, depth):
                added = self._dense_layer(f"xvector.block{block}.tdnnd{layer}", x, _DILATIONS[block])
                x = torch.cat([x, added], dim=1)
            transit = f"xvector.transit{block}"
            x = self._conv(f"{transit}.linear", self._norm(f"{transit}.nonlinear", x).relu())
        x = self._norm("xvector.out_nonlinear", x).relu()
        pooled = torch.cat([x.mean(-1), x.std(-1)], dim=1)[..., None]
        return self._norm("xvector.dense.nonlinear", self._conv("xvector.dense.linear", pooled))[..., 0]

    def _head(self, x: torch.Tensor) -> torch.Tensor:
        x = self._norm("head.bn1", self._conv2d("head.conv1", x)).relu()
        for layer in ("head.layer1", "head.layer2"):
            x = self._residual(f"{layer}.0", x, stride=2)
            x = self._residual(f"{layer}.1", x, stride=1)
        return self._norm("head.bn2", self._conv2d("head.conv2", x, stride=2)).relu().flatten(1, 2)

    def _residual(self, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        y = self._norm(f"{name}.bn1", self._conv2d(f"{name}.conv1", x, stride)).relu()
        y = self._norm(f"{name}.bn2", self._conv2d(f"{name}.conv2", y))
        if f"{name}.shortcut.0.weight" in self._weights:
            x = F.conv2d(x, self._weights[f"{name}.shortcut.0.weight"], stride=(stride, 1))
            x = self._norm(f"{name}.shortcut.1", x)
        return (x + y).relu()

    def _dense_layer(self, name: str, x: torch.Tensor, dilation: int) -> torch.Tensor:
        x = self._conv(f"{name}.linear1", self._norm(f"{name}.nonlinear1.batchnorm", x).relu())
        x = self._norm(f"{name}.nonlinear2.batchnorm", x).relu()
        local = self._conv(f"{name}.cam_layer.linear_local", x, padding=dilation, dilation=dilation)
        segments = F.avg_pool1d(x, _SEGMENT, _SEGMENT, ceil_mode=True).repeat_interleave(_SEGMENT, dim=-1)
        context = x.mean(-1, keepdim=True) + segments[..., : x.shape[-1]]
        mask = self._conv(f"{name}.cam_layer.linear1", context).relu()
        return local * self._conv(f"{name}.cam_layer.linear2", mask).sigmoid()

    def _conv(
        self, name: str, x: torch.Tensor, *, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> torch.Tensor:
        weights, bias = self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias")
        return F.conv1d(x, weights, bias, stride=stride, padding=padding, dilation=dilation)

    def _conv2d(self, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return F.conv2d(x, self._weights[f"{name}.weight"], stride=(stride, 1), padding=1)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        name = name if f"{name}.running_mean" in self._weights else f"{name}.batchnorm"
        mean, variance = self._weights[f"{name}.running_mean"], self._weights[f"{name}.running_var"]
        weight, bias = self._weights.get(f"{name}.weight"), self._weights.get(f"{name}.bias")
        return F.batch_norm(x, mean, variance, weight, bias, eps=_EPSILON)
