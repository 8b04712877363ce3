"""The focal loss (Lin et al., 2017): cross entropy in which easy voxels weigh less."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_core.contracts import IGNORED
from nnseg_standard.losses.cross_entropy import mean_of_voxels, voxel_cross_entropy


@dataclass(frozen=True)
class FocalCE:
    """Cross entropy times a power of what the true class lacks, averaged over annotated voxels.

    Attributes:
        gamma: the power: 0 is plain cross entropy.
        regions: whether outputs are regions (binary, a sigmoid each) instead of classes.
    """

    gamma: float = 2.0  # the paper's value
    regions: bool = False

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar, 0 or more; see ``nnseg_core.contracts.Loss``."""
        entropy = voxel_cross_entropy(logits, target, self.regions)
        # The exponential of minus the entropy is the probability of what is true. A power of
        # exactly 0 has no finite slope.
        lacking = (-(-entropy).expm1()).clamp(min=1e-7)
        total = (lacking**self.gamma * entropy).sum()
        return mean_of_voxels(total, (target != IGNORED).sum(), len(logits))
