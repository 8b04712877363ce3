"""Instance norm and leaky ReLU in plain PyTorch: the reference for ``fused_norm_activation``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

NormActivationKernel = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
"""From features, weight, bias, epsilon and slope to activated features; see ``norm_activation``."""

IDENTITY = 1.0
"""The slope with which a leaky ReLU changes nothing."""


def norm_activation(
    features: Tensor, weight: Tensor, bias: Tensor, epsilon: float, slope: float
) -> Tensor:
    """Normalise each channel of each sample, scale and shift it, and shrink what is below 0.

    features: (batch, channel, *space); weight, bias: (channel,). ``epsilon`` is added to the
    variance; ``slope`` multiplies negative values, so that 1 leaves them alone. Raises
    ``ValueError`` where space is a single voxel, which has no variance.
    """
    normed = functional.instance_norm(features, weight=weight, bias=bias, eps=epsilon)
    return normed if slope == IDENTITY else functional.leaky_relu(normed, slope, inplace=True)
