"""Dice from validation patches while training goes on: a cheap estimate, per label.

Voxels are counted on their device and the counts are summed over the epoch, as nnU-Net does; the
host reads them once. Patches are drawn as for training, so this is no score of whole cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnseg_core.contracts import IGNORED
from nnseg_core.dataset import Labels

MEMORY = 0.9
"""Share of the past in the moving average (nnU-Net's)."""


def names(labels: Labels) -> tuple[str, ...]:
    """Foreground names in the order of the network's outputs."""
    if labels.is_regions:
        return tuple(labels.values)
    return tuple(sorted(labels.values, key=lambda name: labels.values[name]))


def count_classes(logits: Tensor, target: Tensor) -> Tensor:
    """True positive, false positive and false negative voxels per foreground class, (3, class).

    logits: (batch, output, *space), background first; target: class index (batch, *space).
    One joint histogram of truth and prediction, with a row of its own for ignored voxels.
    """
    outputs = logits.shape[1]
    truth = target.masked_fill(target == IGNORED, outputs)
    joint = histogram((truth * outputs + logits.argmax(dim=1)).flatten(), (outputs + 1) * outputs)
    table = joint.reshape(outputs + 1, outputs)[:outputs]
    hits = table.diagonal()
    return torch.stack([hits, table.sum(dim=0) - hits, table.sum(dim=1) - hits])[:, 1:]


def histogram(values: Tensor, bins: int) -> Tensor:
    """How often each of 0 to ``bins`` - 1 occurs. On CUDA ``bincount`` would wait for the device,
    and on a CPU ``histc`` takes no integers.
    """
    if values.device.type == "cuda":
        return torch.histc(values, bins=bins, min=0, max=bins)
    return torch.bincount(values, minlength=bins)


def count_regions(logits: Tensor, target: Tensor) -> Tensor:
    """The same per region, (3, region), where a voxel belongs to a region above logit 0.

    logits: (batch, region, *space); target: 0, 1 or ignored, of the same shape.
    """
    predicted, truth, counted = logits > 0, target == 1, target != IGNORED
    outcomes = (predicted & truth, predicted & ~truth & counted, ~predicted & truth)
    space = [axis for axis in range(logits.ndim) if axis != 1]
    return torch.stack([outcome.sum(dim=space) for outcome in outcomes])


def dice(counts: Tensor) -> list[float | None]:
    """2 TP / (2 TP + FP + FN) of counts (3, label); None where a label has not occurred."""
    hits, false_alarms, misses = counts.cpu().tolist()
    sizes = [2 * h + f + m for h, f, m in zip(hits, false_alarms, misses, strict=True)]
    return [2 * hit / size if size else None for hit, size in zip(hits, sizes, strict=True)]


def mean(values: Sequence[float | None]) -> float | None:
    """The mean over the labels that have occurred."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def smooth(past: float | None, new: float | None) -> float | None:
    """The moving average: it starts at the first value, and an unknown one does not move it."""
    if past is None or new is None:
        return past if new is None else new
    return MEMORY * past + (1 - MEMORY) * new
