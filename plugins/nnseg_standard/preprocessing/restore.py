"""Put logits back on the grid of the original image, as a mask and as probabilities.

All classes at full size would fill the memory, so that a few slices are done at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import Prediction
from nnseg_core.dataset import Labels
from nnseg_core.geometry import Box
from nnseg_standard.preprocessing.resample import linear_resampling
from nnseg_standard.preprocessing.separable import Resampling


def restore_label(prediction: Prediction, labels: Labels) -> NDArray[np.unsignedinteger[Any]]:
    """The label map on the original grid, background outside the crop.

    uint8 where all labels are up to 255, else uint16.
    """
    where = prediction.restoration
    highest = max((*labels.foreground, *labels.paint_order))
    label = np.zeros(where.original.shape, dtype=np.uint8 if highest <= 255 else np.uint16)
    crop = label.transpose(where.axes)[where.crop.slices]
    for rows, columns, slab in _resampling(prediction).slabs():
        logits = (slab(volume) for volume in prediction.logits[:, columns])
        if labels.is_regions:
            crop[rows] = paint_regions(logits, labels.paint_order)
        else:
            crop[rows] = highest_logit(logits, (0, *labels.foreground))
    return label


def restore_probability(prediction: Prediction, labels: Labels) -> NDArray[np.float32]:
    """Probabilities (output, z, y, x) on the original grid.

    Outside the crop that of background is 1; regions, which have no background, are 0 there.
    """
    where = prediction.restoration
    shape = (prediction.logits.shape[0], *where.original.shape)
    probability = np.zeros(shape, dtype=np.float32)
    if not labels.is_regions:
        probability[0] = 1
    ordered = probability.transpose(0, *(1 + axis for axis in where.axes))
    for box, slab in probability_slabs(prediction, labels):
        ordered[:, *box.slices] = slab
    return probability


def probability_slabs(
    prediction: Prediction, labels: Labels
) -> Iterator[tuple[Box, NDArray[np.float32]]]:
    """Probabilities (output, z, y, x) of some slices of the crop after others, with their place."""
    crop = prediction.restoration.crop
    for rows, columns, slab in _resampling(prediction).slabs():
        probability = np.stack([slab(volume) for volume in prediction.logits[:, columns]])
        if labels.is_regions:
            _sigmoid(probability)
        else:
            _softmax(probability)
        first, last = crop.start[0] + rows.start, crop.start[0] + rows.stop
        box = Box(start=(first, *crop.start[1:]), stop=(last, *crop.stop[1:]))
        yield box, probability


def highest_logit(
    logits: Iterable[NDArray[np.float32]], values: Sequence[int]
) -> NDArray[np.uint16]:
    """The value whose logit is highest, the first of equal ones; one volume at a time."""
    volumes = iter(logits)
    best = next(volumes).copy()
    label = np.full(best.shape, values[0], dtype=np.uint16)
    for volume, value in zip(volumes, values[1:], strict=True):
        np.putmask(label, volume > best, value)
        np.maximum(best, volume, out=best)
    return label


def paint_regions(
    logits: Iterable[NDArray[np.float32]], paint_order: Sequence[int]
) -> NDArray[np.uint16]:
    """Each region's value where its probability is above a half, later ones over earlier ones."""
    label = np.zeros((), dtype=np.uint16)
    for volume, value in zip(logits, paint_order, strict=True):
        label = np.where(volume > 0, np.uint16(value), label)
    return label


def _softmax(logits: NDArray[np.float32]) -> None:
    """Turn logits into probabilities over the first axis, in place."""
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)


def _sigmoid(logits: NDArray[np.float32]) -> None:
    """Turn logits into probabilities each by itself, in place; as tanh it cannot overflow."""
    logits /= 2
    np.tanh(logits, out=logits)
    logits += 1
    logits /= 2


def _resampling(prediction: Prediction) -> Resampling:
    """From the network's grid to that of the crop."""
    where = prediction.restoration
    spacing = [where.original.spacing[axis] for axis in where.axes]
    shape = prediction.logits.shape[1:]
    return linear_resampling(shape, where.crop.shape, where.spacing, spacing)
