"""Cross entropy of the hardest voxels only (Wu et al., 2016, "Bridging Category-level and ...")."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_core.contracts import IGNORED
from nnseg_core.errors import PlanError
from nnseg_standard.losses.cross_entropy import check_smoothing, voxel_cross_entropy


@dataclass(frozen=True)
class TopK:
    """Cross entropy, averaged over the voxels where it is highest.

    Attributes:
        share: how many of all voxels of the batch are the hardest, 0 to 1.
        regions: whether outputs are regions (binary, a sigmoid each) instead of classes.
        smoothing: share of the truth that is spread over all classes, 0 to 1.
    """

    share: float = 0.1  # nnU-Net's value
    regions: bool = False
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise PlanError(f"share must be above 0 and at most 1, got {self.share}")
        check_smoothing(self.smoothing)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar, 0 or more; see ``nnseg_core.contracts.Loss``.

        Where fewer voxels are annotated than ``share`` asks for, all of those are averaged. Ranks
        that train together each choose among their own voxels, as nnU-Net's do.
        """
        entropy = voxel_cross_entropy(logits, target, self.regions, self.smoothing)
        ranked = entropy.masked_fill(target == IGNORED, -1).flatten()
        hardest = ranked.topk(max(1, int(len(ranked) * self.share)), sorted=False).values
        return hardest.clamp(min=0).sum() / (hardest >= 0).sum().clamp(min=1)
