"""What U-Nets are made of: convolution blocks, residual blocks, and how they begin.

All numbers are nnU-Net's. Two-dimensional networks are those whose kernels have two axes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from nnseg_core.errors import PlanError
from nnseg_standard.kernels.norm_activation import IDENTITY
from nnseg_standard.networks.norm_activation import NormActivation
from nnseg_standard.networks.options import Norm

LEAK = 0.01  # negative slope of the activation (nnU-Net's value)
EPSILON = 1e-5  # added to the variance by the norm (nnU-Net's value)

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
    """Convolution, norm and, if ``activate``, leaky ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        *,
        norm: Norm = "instance",
        bias: bool = True,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = convolution(inputs, outputs, kernel, stride, bias)
        self.norm: nn.Module
        self.activation: nn.Module = nn.Identity()
        if norm == "instance":
            self.norm = NormActivation(outputs, EPSILON, LEAK if activate else IDENTITY)
        else:
            self.norm = _BATCH_NORMS[len(kernel)](outputs, eps=EPSILON)
            self.activation = nn.LeakyReLU(LEAK, inplace=True) if activate else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space / stride)."""
        activated: Tensor = self.activation(self.norm(self.convolution(features)))
        return activated


class ResidualBlock(nn.Module):
    """Two convolution blocks around which the input is added (ResNet-D's way of pooling it).

    It begins as the identity: the last norm starts at zero.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        self.first = ConvolutionBlock(inputs, outputs, kernel, stride, norm=norm)
        self.second = ConvolutionBlock(outputs, outputs, kernel, norm=norm, activate=False)
        self.skip = _skip(inputs, outputs, stride, norm)
        self.activation = nn.LeakyReLU(LEAK, inplace=True)
        for parameter in self.second.norm.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, inputs, *space) to (batch, outputs, *space / stride)."""
        added: Tensor = self.activation(self.second(self.first(features)) + self.skip(features))
        return added


def _skip(inputs: int, outputs: int, stride: Sequence[int], norm: Norm) -> nn.Sequential:
    """The way around a residual block: average pooling and a projection, where needed."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if any(step != 1 for step in stride):
        parts["pool"] = _POOLINGS[len(stride)](tuple(stride), stride=tuple(stride))
    if inputs != outputs:
        one = (1,) * len(stride)
        parts["projection"] = ConvolutionBlock(
            inputs, outputs, one, norm=norm, bias=False, activate=False
        )
    return nn.Sequential(parts)


def convolution_stage(
    inputs: int,
    outputs: int,
    kernel: Sequence[int],
    stride: Sequence[int] | None,
    *,
    convolutions: int,
    norm: Norm,
) -> nn.Sequential:
    """Convolution blocks in a row; the first carries the stride."""
    sizes = (inputs, *(outputs,) * convolutions)
    strides = (stride, *(None,) * (convolutions - 1))
    return nn.Sequential(
        *(
            ConvolutionBlock(before, after, kernel, step, norm=norm)
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
    norm: Norm,
) -> nn.Sequential:
    """Residual blocks in a row; the first carries the stride."""
    sizes = (inputs, *(outputs,) * blocks)
    strides = (tuple(stride), *((1,) * len(stride),) * (blocks - 1))
    return nn.Sequential(
        *(
            ResidualBlock(before, after, kernel, step, norm)
            for (before, after), step in zip(pairwise(sizes), strides, strict=True)
        )
    )


def initialise(network: nn.Module) -> None:
    """He-normal weights and no bias in every convolution, as nnU-Net begins."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=LEAK)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
