"""What U-Nets are made of: convolution blocks, residual blocks, and how they begin.

All numbers are nnU-Net's. Two-dimensional networks are those whose kernels have two axes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from nnseg_core.errors import PlanError
from nnseg_standard.kernels.norm_activation import IDENTITY
from nnseg_standard.networks.norm_activation import NormActivation
from nnseg_standard.networks.options import Layers

EPSILON = 1e-5  # added to the variance by the norm (nnU-Net's value)
GROUPS = 8  # most groups of the group norm (the value of nnU-Net version 1)
NNUNETS = Layers()

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_UPSAMPLINGS: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOLINGS: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_BATCH_NORMS: dict[int, Callable[..., nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def convolution(
    inputs: int,
    outputs: int,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    bias: bool = True,
) -> nn.Module:
    """A convolution that keeps the size, or divides it by ``stride``.

    Raises ``PlanError`` for a kernel with an even size, which could do neither.
    """
    if not all(size % 2 for size in kernel):
        raise PlanError(f"kernel sizes must be odd, got {tuple(kernel)}")
    return _CONVOLUTIONS[len(kernel)](
        inputs,
        outputs,
        tuple(kernel),
        stride=tuple(stride) if stride else 1,
        padding=tuple((size - 1) // 2 for size in kernel),
        bias=bias,
    )


def upsampling(inputs: int, outputs: int, stride: Sequence[int]) -> nn.Module:
    """A transposed convolution that undoes ``stride``."""
    return _UPSAMPLINGS[len(stride)](inputs, outputs, tuple(stride), stride=tuple(stride))


class ConvolutionBlock(nn.Module):
    """Convolution, norm and, if ``activate``, activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        *,
        layers: Layers = NNUNETS,
        bias: bool = True,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = convolution(inputs, outputs, kernel, stride, bias)
        # The leaky ReLU and the instance norm are one layer.
        joined = layers.norm == "instance" and layers.leak is not None
        slope = layers.leak if activate and joined and layers.leak is not None else IDENTITY
        self.norm = _norm(layers, outputs, len(kernel), slope)
        self.activation = activation(layers) if activate and not joined else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space / stride)."""
        activated: Tensor = self.activation(self.norm(self.convolution(features)))
        return activated


def _norm(layers: Layers, channels: int, axes: int, slope: float) -> nn.Module:
    if layers.norm == "instance":
        return NormActivation(channels, EPSILON, slope)
    if layers.norm == "batch":
        return _BATCH_NORMS[axes](channels, eps=EPSILON)
    if layers.norm == "group":
        return nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps=EPSILON)
    return nn.Identity()


def activation(layers: Layers) -> nn.Module:
    """The activation as a layer of its own."""
    if layers.leak is not None:
        return nn.LeakyReLU(layers.leak, inplace=True)
    return nn.GELU() if layers.activation == "gelu" else nn.Mish(inplace=True)


class ResidualBlock(nn.Module):
    """Two convolution blocks around which the input is added (ResNet-D's way of pooling it).

    It begins as the identity: the last norm, if there is one, starts at zero.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        layers: Layers = NNUNETS,
    ) -> None:
        super().__init__()
        self.first = ConvolutionBlock(inputs, outputs, kernel, stride, layers=layers)
        self.second = ConvolutionBlock(outputs, outputs, kernel, layers=layers, activate=False)
        self.skip = _skip(inputs, outputs, stride, layers)
        self.activation = activation(layers)
        for parameter in self.second.norm.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space / stride)."""
        added: Tensor = self.activation(self.second(self.first(features)) + self.skip(features))
        return added


def _skip(inputs: int, outputs: int, stride: Sequence[int], layers: Layers) -> nn.Sequential:
    """The way around a residual block: average pooling and a projection, where needed."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if any(step != 1 for step in stride):
        parts["pool"] = _POOLINGS[len(stride)](tuple(stride), stride=tuple(stride))
    if inputs != outputs:
        one = (1,) * len(stride)
        parts["projection"] = ConvolutionBlock(
            inputs, outputs, one, layers=layers, bias=False, activate=False
        )
    return nn.Sequential(parts)


def convolution_stage(
    inputs: int,
    outputs: int,
    kernel: Sequence[int],
    stride: Sequence[int] | None,
    *,
    convolutions: int,
    layers: Layers,
) -> nn.Sequential:
    """Convolution blocks in a row; the first carries the stride."""
    sizes = (inputs, *(outputs,) * convolutions)
    strides = (stride, *(None,) * (convolutions - 1))
    return nn.Sequential(
        *(
            ConvolutionBlock(before, after, kernel, step, layers=layers)
            for (before, after), step in zip(pairwise(sizes), strides, strict=True)
        )
    )


def residual_stage(
    inputs: int,
    outputs: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    *,
    blocks: int,
    layers: Layers,
) -> nn.Sequential:
    """Residual blocks in a row; the first carries the stride."""
    sizes = (inputs, *(outputs,) * blocks)
    strides = (tuple(stride), *((1,) * len(stride),) * (blocks - 1))
    return nn.Sequential(
        *(
            ResidualBlock(before, after, kernel, step, layers)
            for (before, after), step in zip(pairwise(sizes), strides, strict=True)
        )
    )


def initialise(network: nn.Module, layers: Layers = NNUNETS) -> None:
    """He-normal weights and no bias in every convolution, as nnU-Net begins."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=layers.leak or 0.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
