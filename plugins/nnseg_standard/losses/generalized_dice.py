"""The generalised Dice loss (Sudre et al., 2017): one fraction over all classes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_standard.losses.cross_entropy import CrossEntropy
from nnseg_standard.losses.overlap_sums import over_batch, overlap_sums


@dataclass(frozen=True)
class GeneralizedDice:
    """Minus one Dice of all classes together, background included, small ones weighing more.

    Attributes:
        batch_dice: sums over the batch before dividing, instead of averaging over samples.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        ignore: whether the dataset has an ignore label (see the loss "ce").
        power: a class weighs one over its volume to this power.
        smooth: added above and below the fraction.
        ce_weight: weight of a cross entropy that is added.
    """

    batch_dice: bool = False
    regions: bool = False
    ignore: bool = False
    power: float = 2.0  # the paper's value
    smooth: float = 1e-5
    ce_weight: float = 0.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar, -1 without cross entropy where perfect; see ``nnseg_core.contracts.Loss``."""
        sums = overlap_sums(logits, target, self.regions)
        if self.batch_dice:
            sums = over_batch(sums)
        # An absent class weighs as much as one of a single voxel, not infinitely much.
        weight = sums.truth.clamp(min=1) ** -self.power
        shared = (weight * sums.intersection).sum(dim=-1)
        together = (weight * (sums.predicted + sums.truth)).sum(dim=-1)
        loss = -((2 * shared + self.smooth) / (together + self.smooth).clamp(min=1e-8)).mean()
        if not self.ce_weight:
            return loss
        return loss + self.ce_weight * CrossEntropy(self.regions, self.ignore)(logits, target)
