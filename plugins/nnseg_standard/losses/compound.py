"""Weighted sums of two losses: one that sees overlap, one that sees voxels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_standard.losses.cross_entropy import CrossEntropy
from nnseg_standard.losses.dice import Dice
from nnseg_standard.losses.softmax_sums import softmax_sums
from nnseg_standard.losses.top_k import TopK


@dataclass(frozen=True)
class DiceCE:
    """Soft Dice plus cross entropy, nnU-Net's default loss.

    Attributes:
        batch_dice: sums the Dice over the batch before dividing.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        ignore: whether the dataset has an ignore label (see the loss "ce").
        smooth: added above and below the fraction of the Dice.
        dice_weight: weight of the Dice.
        ce_weight: weight of the cross entropy.
    """

    batch_dice: bool = False
    regions: bool = False
    ignore: bool = False
    smooth: float = 1e-5  # nnU-Net's value
    dice_weight: float = 1.0
    ce_weight: float = 1.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar; see ``nnseg_core.contracts.Loss``."""
        dice = Dice(batch_dice=self.batch_dice, regions=self.regions, smooth=self.smooth)
        if self.regions:
            entropy = CrossEntropy(regions=True, ignore=self.ignore)(logits, target)
            return self.dice_weight * dice(logits, target) + self.ce_weight * entropy
        sums = softmax_sums(logits, target)
        entropy = sums.entropy / sums.truth.sum().clamp(min=1)
        return self.dice_weight * dice.of_classes(sums) + self.ce_weight * entropy


@dataclass(frozen=True)
class DiceTopK:
    """Soft Dice plus the cross entropy of the hardest voxels.

    Attributes:
        batch_dice: sums the Dice over the batch before dividing.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        smooth: added above and below the fraction of the Dice.
        share: how many of all voxels of the batch are the hardest, 0 to 1.
        dice_weight: weight of the Dice.
        ce_weight: weight of the cross entropy.
    """

    batch_dice: bool = False
    regions: bool = False
    smooth: float = 1e-5  # nnU-Net's value
    share: float = 0.1  # nnU-Net's value
    dice_weight: float = 1.0
    ce_weight: float = 1.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar; see ``nnseg_core.contracts.Loss``."""
        dice = Dice(batch_dice=self.batch_dice, regions=self.regions, smooth=self.smooth)
        entropy = TopK(share=self.share, regions=self.regions)
        return self.dice_weight * dice(logits, target) + self.ce_weight * entropy(logits, target)
