"""What Dice and cross entropy need of a softmax, in one pass over the voxels and one back.

Written out by hand, the gradient takes 3 passes over (class, voxel) instead of autograd's dozen,
and what is kept for it is one array instead of five.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnseg_core.contracts import IGNORED


class SoftmaxSums(NamedTuple):
    """Sums over the annotated voxels of each sample, (batch, class), float32.

    Of probability where it is the true class, of probability, and of voxels of that class;
    ``entropy`` is the cross entropy summed over all of them.
    """

    intersection: Tensor
    predicted: Tensor
    truth: Tensor
    entropy: Tensor


def softmax_sums(logits: Tensor, target: Tensor) -> SoftmaxSums:
    """Sums of softmax ``logits`` (batch, class, *space) for ``target`` (batch, *space).

    ``target`` holds class indices, ``IGNORED`` where nobody has annotated.
    """
    apply: Callable[..., tuple[Tensor, ...]] = _SoftmaxSums.apply
    return SoftmaxSums(*apply(logits.flatten(2).float(), target.flatten(1)))


class _SoftmaxSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        classes = logits.shape[1]
        counted = (target != IGNORED).float()
        index = target.clamp(min=0)
        probability = logits.log_softmax(dim=1)
        entropy = -(_at(probability, index) * counted).sum()
        probability.exp_().mul_(counted[:, None])  # in place: its logarithm is not needed any more
        matching = _at(probability, index)
        truth = _sums_by_class(counted, index, classes)
        ctx.save_for_backward(probability, matching, counted, index)
        ctx.mark_non_differentiable(truth)
        intersection = _sums_by_class(matching, index, classes)
        return intersection, probability.sum(dim=2), truth, entropy

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, misc, unused-ignore]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Of log softmax: the gradient of each class, less its probability times all of them."""
        probability, matching, counted, index = ctx.saved_tensors
        intersection, predicted, _, entropy = gradients
        at_truth = matching * intersection.gather(1, index) - counted * entropy
        result = probability * predicted[:, :, None]
        together = result.sum(dim=1) + at_truth
        result.addcmul_(probability, together[:, None], value=-1)
        result.scatter_add_(1, index[:, None], at_truth[:, None])
        return result, None


def _at(values: Tensor, index: Tensor) -> Tensor:
    """(batch, voxel) of values (batch, class, voxel) at the class of each voxel."""
    return values.gather(1, index[:, None])[:, 0]


def _sums_by_class(values: Tensor, index: Tensor, classes: int) -> Tensor:
    """(batch, class) sums of values (batch, voxel) over the voxels of each class."""
    by_class = _one_by_one if values.device.type == "cpu" else _in_parallel
    return by_class(values, index, classes)


def _one_by_one(values: Tensor, index: Tensor, classes: int) -> Tensor:
    """Each voxel is added to the sum of its class: least work."""
    samples = len(values)
    numbered = index + classes * torch.arange(samples)[:, None]
    sums = torch.bincount(
        numbered.flatten(), weights=values.double().flatten(), minlength=samples * classes
    )
    return sums.float().reshape(samples, classes)


def _in_parallel(values: Tensor, index: Tensor, classes: int) -> Tensor:
    """Each class is summed over all voxels: in the same order each time, and nothing waits."""
    places = torch.arange(classes, device=values.device)[:, None]
    return torch.where(index[:, None] == places, values[:, None], 0.0).sum(dim=2)
