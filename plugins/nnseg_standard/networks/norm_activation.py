"""Instance norm and activation as one layer, computed by a kernel that can be exchanged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnseg_standard.kernels.norm_activation import (
    IDENTITY,
    NormActivationKernel,
    norm_activation,
)


class NormActivation(nn.Module):
    """Instance norm and leaky ReLU; a ``slope`` of 1 leaves the activation out.

    Weights have the names they have in torch's own instance norm. ``kernel`` may be replaced by
    another that computes the same.
    """

    def __init__(self, channels: int, epsilon: float, slope: float = IDENTITY) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon
        self.slope = slope
        self.kernel: NormActivationKernel = norm_activation

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channel, *space) to the same shape."""
        return self.kernel(features, self.weight, self.bias, self.epsilon, self.slope)

    def extra_repr(self) -> str:
        """What ``print`` says of it."""
        return f"{len(self.weight)}, epsilon={self.epsilon}, slope={self.slope}"
