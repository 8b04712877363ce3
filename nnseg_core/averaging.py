"""The mean of what several models predict for a case, decided on the grid of the image.

Logits of different configurations lie on different grids and are not of one scale, so that not
they are averaged but what they amount to at each voxel of the image (nnU-Net's choice).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import Prediction, Segmentation
from nnseg_core.contracts import Preprocessor, RestoresSlabs
from nnseg_core.dataset import Labels
from nnseg_core.geometry import Box, whole

Restored = tuple[Preprocessor, Prediction]
"""What one model predicts for a case, and what takes it back to the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A box of an image whose axes are put in another order."""

    axes: tuple[int, int, int]
    box: Box

    def of(self, volume: NDArray[Any]) -> NDArray[Any]:
        """A view of that box of a volume (..., z, y, x)."""
        lead = volume.ndim - 3
        ordered = volume.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return ordered[(slice(None),) * lead + self.box.slices]


def average(
    members: Sequence[Restored], labels: Labels, probabilities: bool = False
) -> Segmentation:
    """The mask that the mean of the members' probabilities amounts to, and that mean if asked for.

    In slabs where the preprocessors allow it, so that memory does not grow with the image.
    """
    prediction = members[0][1]
    original = prediction.restoration.original
    label = np.zeros(original.shape, dtype=label_type(labels))
    mean = None
    if probabilities:
        mean = np.zeros((labels.outputs, *original.shape), dtype=np.float32)
        if not labels.is_regions:
            mean[0] = 1
    for place, parts in side_by_side(members, labels):
        probability = mean_of(parts)
        place.of(label)[:] = decide(probability, labels)
        if mean is not None:
            place.of(mean)[:] = probability
    return Segmentation(
        identifier=prediction.identifier, label=label, geometry=original, probability=mean
    )


def side_by_side(
    members: Sequence[Restored], labels: Labels
) -> Iterator[tuple[Place, list[NDArray[np.float32]]]]:
    """Parts of the image, with the probabilities (output, z, y, x) of every member there.

    One part is the whole image where preprocessors know no slabs, or crop differently.
    """
    where = members[0][1].restoration
    slabs = [
        preprocessor.probability_slabs(prediction, labels)
        for preprocessor, prediction in members
        if isinstance(preprocessor, RestoresSlabs)
        and type(preprocessor) is type(members[0][0])
        and prediction.restoration.axes == where.axes
        and prediction.restoration.crop == where.crop
    ]
    if len(slabs) < len(members):
        yield (
            Place(axes=(0, 1, 2), box=whole(where.original.shape)),
            [
                _whole_probability(preprocessor, prediction, labels)
                for preprocessor, prediction in members
            ],
        )
        return
    for parts in zip(*slabs, strict=True):
        boxes, probabilities = zip(*parts, strict=True)
        assert len(set(boxes)) == 1, "equal crops are taken in equal boxes"
        yield Place(axes=where.axes, box=boxes[0]), list(probabilities)


def mean_of(probabilities: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of arrays, one after the other added to the first."""
    total = probabilities[0].copy()
    for probability in probabilities[1:]:
        total += probability
    total /= np.float32(len(probabilities))
    return total


def decide(probability: NDArray[np.float32], labels: Labels) -> NDArray[np.unsignedinteger[Any]]:
    """The labels that probabilities (output, ...) amount to.

    Of classes the most probable, the first of equal ones; regions where they are above a half,
    each painted over those before it.
    """
    values = np.array((0, *labels.foreground), dtype=label_type(labels))
    if not labels.is_regions:
        return np.asarray(values[probability.argmax(axis=0)])
    label = np.zeros(probability.shape[1:], dtype=label_type(labels))
    for region, value in zip(probability, labels.paint_order, strict=True):
        label[region > 0.5] = value
    return label


def label_type(labels: Labels) -> type[np.unsignedinteger[Any]]:
    """The smallest type that holds every label."""
    return np.uint8 if max((*labels.foreground, *labels.paint_order)) <= 255 else np.uint16


def _whole_probability(
    preprocessor: Preprocessor, prediction: Prediction, labels: Labels
) -> NDArray[np.float32]:
    probability = preprocessor.restore(prediction, labels, probabilities=True).probability
    assert probability is not None, "it was asked for"
    return probability
