"""The loss of Matthews' correlation (Abhishek & Hamarneh, 2021), which counts true absence too."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_standard.losses.cross_entropy import CrossEntropy
from nnseg_standard.losses.overlap_sums import over_batch, overlap_sums


@dataclass(frozen=True)
class Correlation:
    """Minus Matthews' correlation coefficient, averaged over classes or regions.

    Attributes:
        batch_dice: sums over the batch before dividing, instead of averaging over samples.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        ignore: whether the dataset has an ignore label (see the loss "ce").
        background: counts the background as a class like others.
        ce_weight: weight of a cross entropy that is added.
    """

    batch_dice: bool = False
    regions: bool = False
    ignore: bool = False
    background: bool = False
    ce_weight: float = 0.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar, -1 without cross entropy where perfect; see ``nnseg_core.contracts.Loss``."""
        sums = overlap_sums(logits, target, self.regions)
        if self.batch_dice:
            sums = over_batch(sums)
        voxels = sums.voxels.clamp(min=1)
        # In shares of all voxels the coefficient is a covariance over two deviations.
        both, found, true = (
            each / voxels for each in (sums.intersection, sums.predicted, sums.truth)
        )
        spread = (found * (1 - found) * true * (1 - true)).clamp(min=1e-12).sqrt()
        correlation = (both - found * true) / spread
        loss = -(correlation if self.regions or self.background else correlation[..., 1:]).mean()
        if not self.ce_weight:
            return loss
        return loss + self.ce_weight * CrossEntropy(self.regions, self.ignore)(logits, target)
