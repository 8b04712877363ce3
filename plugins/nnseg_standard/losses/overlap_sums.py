"""What every loss of overlap is made of: sums over voxels per sample and class, or region."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from nnseg_core.contracts import IGNORED
from nnseg_standard.losses.softmax_sums import SoftmaxSums, softmax_sums
from nnseg_standard.training.distributed import over_ranks


class OverlapSums(NamedTuple):
    """Sums over the annotated voxels, float32: ((batch,) output) each.

    Of probability where it is true, of probability, of true voxels, and of all voxels.
    """

    intersection: Tensor
    predicted: Tensor
    truth: Tensor
    voxels: Tensor


def overlap_sums(logits: Tensor, target: Tensor, regions: bool) -> OverlapSums:
    """Sums (batch, output) for what a loss is given; see ``nnseg_core.contracts.Loss``."""
    if not regions:
        return of_softmax(softmax_sums(logits, target))
    probability, truth, counted = logits.float().sigmoid(), target == 1, target != IGNORED
    sums_of = (probability * truth, probability * counted, truth, counted)
    return OverlapSums(*(each.flatten(2).float().sum(dim=2) for each in sums_of))


def of_softmax(sums: SoftmaxSums) -> OverlapSums:
    """Those of classes, from one pass over their softmax."""
    voxels = sums.truth.sum(dim=1, keepdim=True).expand_as(sums.truth)
    return OverlapSums(sums.intersection, sums.predicted, sums.truth, voxels)


def squared_sums(logits: Tensor, target: Tensor, regions: bool) -> OverlapSums:
    """The same, with squares of probabilities in place of the probabilities ``predicted`` sums."""
    if regions:
        probability, truth, counted = logits.float().sigmoid(), target == 1, target != IGNORED
    else:
        probability = logits.float().softmax(dim=1)
        counted = (target != IGNORED)[:, None].expand_as(probability)
        one_hot = functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1)
        truth = one_hot.bool() & counted
    sums_of = (probability * truth, probability.square() * counted, truth, counted)
    return OverlapSums(*(each.flatten(2).float().sum(dim=2) for each in sums_of))


def over_batch(sums: OverlapSums) -> OverlapSums:
    """The sums over a whole batch, that of all ranks which train together, (output) each."""
    of_batch = (each.sum(dim=0) for each in sums)
    return OverlapSums(*over_ranks(*of_batch, samples=len(sums.intersection)))
