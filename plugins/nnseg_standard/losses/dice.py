"""The soft Dice loss of Milletari et al., 2016 (V-Net), as nnU-Net computes it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_core.contracts import IGNORED
from nnseg_standard.losses.softmax_sums import SoftmaxSums, softmax_sums


@dataclass(frozen=True)
class Dice:
    """Minus the soft Dice, averaged over classes without background, or over regions.

    Attributes:
        batch_dice: sums over the batch before dividing, instead of averaging over samples.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        smooth: added above and below the fraction, so that an absent class found absent scores 1.
    """

    batch_dice: bool = False
    regions: bool = False
    smooth: float = 1e-5  # nnU-Net's value

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar from -1 (perfect) to 0; see ``nnseg_core.contracts.Loss``."""
        if not self.regions:
            return self.of_classes(softmax_sums(logits, target))
        probability, truth = logits.float().sigmoid(), target == 1
        sums = (probability * truth, probability * (target != IGNORED), truth)
        return -self._overlap(*(each.flatten(2).sum(dim=2) for each in sums)).mean()

    def of_classes(self, sums: SoftmaxSums) -> Tensor:
        """The same for classes, from sums over voxels."""
        return -self._overlap(sums.intersection, sums.predicted, sums.truth)[..., 1:].mean()

    def _overlap(self, intersection: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        """Soft Dice ((batch,) output) of sums over voxels, (batch, output) each."""
        if self.batch_dice:
            intersection, predicted, truth = (
                each.sum(dim=0) for each in (intersection, predicted, truth)
            )
        return (2 * intersection + self.smooth) / (
            (predicted + truth + self.smooth).clamp(min=1e-8)  # nnU-Net's value
        )
