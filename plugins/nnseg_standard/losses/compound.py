"""Weighted sums of two losses: one that sees overlap, one that sees voxels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_standard.losses.cross_entropy import CrossEntropy, mean_of_voxels
from nnseg_standard.losses.dice import Dice
from nnseg_standard.losses.focal import FocalCE
from nnseg_standard.losses.overlap_sums import of_softmax
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
        entropy = mean_of_voxels(sums.entropy, sums.truth.sum(), len(logits))
        return self.dice_weight * dice.of_sums(of_softmax(sums)) + self.ce_weight * entropy


@dataclass(frozen=True)
class DiceTopK:
    """Soft Dice plus the cross entropy of the hardest voxels.

    Attributes:
        batch_dice: sums the Dice over the batch before dividing.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        smooth: added above and below the fraction of the Dice.
        share: how many of all voxels of the batch are the hardest, 0 to 1.
        smoothing: share of the truth that is spread over all classes, in the cross entropy.
        dice_weight: weight of the Dice.
        ce_weight: weight of the cross entropy.
    """

    batch_dice: bool = False
    regions: bool = False
    smooth: float = 1e-5  # nnU-Net's value
    share: float = 0.1  # nnU-Net's value
    smoothing: float = 0.0
    dice_weight: float = 1.0
    ce_weight: float = 1.0

    def __post_init__(self) -> None:
        TopK(share=self.share, smoothing=self.smoothing)  # which checks them

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar; see ``nnseg_core.contracts.Loss``."""
        dice = Dice(batch_dice=self.batch_dice, regions=self.regions, smooth=self.smooth)
        entropy = TopK(share=self.share, regions=self.regions, smoothing=self.smoothing)
        return self.dice_weight * dice(logits, target) + self.ce_weight * entropy(logits, target)


@dataclass(frozen=True)
class DiceFocal:
    """Soft Dice plus the focal loss.

    Attributes:
        batch_dice: sums the Dice over the batch before dividing.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        smooth: added above and below the fraction of the Dice.
        gamma: how much less easy voxels weigh in the focal loss; 0 is plain cross entropy.
        dice_weight: weight of the Dice.
        focal_weight: weight of the focal loss.
    """

    batch_dice: bool = False
    regions: bool = False
    smooth: float = 1e-5  # nnU-Net's value
    gamma: float = 2.0  # that of the paper of the focal loss
    dice_weight: float = 1.0
    focal_weight: float = 1.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar; see ``nnseg_core.contracts.Loss``."""
        dice = Dice(batch_dice=self.batch_dice, regions=self.regions, smooth=self.smooth)
        focal = FocalCE(gamma=self.gamma, regions=self.regions)
        return self.dice_weight * dice(logits, target) + self.focal_weight * focal(logits, target)
