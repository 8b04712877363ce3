"""Cross entropy over the voxels that count: per class, or binary per region."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from nnseg_core.contracts import IGNORED
from nnseg_core.errors import PlanError
from nnseg_standard.training.distributed import over_ranks


@dataclass(frozen=True)
class CrossEntropy:
    """Cross entropy, averaged over annotated voxels; 0 where there are none.

    Attributes:
        regions: whether outputs are regions (binary, a sigmoid each) instead of classes.
        ignore: whether the dataset has an ignore label. For regions the sum over outputs is then
            averaged over voxels, where it is the mean over both otherwise (nnU-Net's rule).
        smoothing: share of the truth that is spread over all classes, 0 to 1.
    """

    regions: bool = False
    ignore: bool = False
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar, 0 or more; see ``nnseg_core.contracts.Loss``."""
        entropy = voxel_cross_entropy(logits, target, self.regions, self.smoothing)
        mean = mean_of_voxels(entropy.sum(), (target != IGNORED).sum(), len(logits))
        return mean * logits.shape[1] if self.regions and self.ignore else mean


def mean_of_voxels(total: Tensor, counted: Tensor, samples: int) -> Tensor:
    """A sum over the ``counted`` voxels of so many samples, as a mean over those of all ranks."""
    total, counted = over_ranks(total, counted, samples=samples)
    return total / counted.clamp(min=1)


def voxel_cross_entropy(
    logits: Tensor, target: Tensor, regions: bool, smoothing: float = 0.0
) -> Tensor:
    """Cross entropy per element of ``target``, in float32; 0 where it is ``IGNORED``.

    ``smoothing`` is the share of the truth that is spread evenly: over all classes, or over
    inside and outside of a region.
    """
    if not regions:
        return functional.cross_entropy(
            logits.float(),
            target,
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=smoothing,
        )
    truth = target.clamp(min=0).float() * (1 - smoothing) + smoothing / 2
    binary = functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return binary * (target != IGNORED)


def check_smoothing(smoothing: float) -> None:
    """Raise ``PlanError`` unless it is a share, 0 to below 1."""
    if not 0 <= smoothing < 1:
        raise PlanError(f"smoothing must be from 0 to below 1, got {smoothing}")
