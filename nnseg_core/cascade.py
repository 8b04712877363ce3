"""From one stage of a cascade to the next: a segmentation on the next grid, as further channels.

Both stages see the same crop of an image at different resolutions. Logits go from the one grid
straight to the other, and are decided there; in training and in prediction alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import Prediction, PreprocessedCase, Restoration
from nnseg_core.dataset import DatasetDescription
from nnseg_core.geometry import Geometry, whole
from nnseg_core.plan import Configuration

PREVIOUS_FOLDER = "previous"
"""Of a cascade's model folder: that of the stage before it."""


def inputs_of(dataset: DatasetDescription, configuration: Configuration) -> int:
    """Channels that a network takes: the image's, and in a cascade one per label."""
    return len(dataset.channels) + len(previous_values(dataset, configuration))


def previous_values(dataset: DatasetDescription, configuration: Configuration) -> tuple[int, ...]:
    """The labels of the previous stage that become channels: none but in a cascade."""
    return dataset.labels.foreground if configuration.previous else ()


def onto(prediction: Prediction, shape: tuple[int, int, int], where: Restoration) -> Prediction:
    """A prediction of the previous stage, to be restored onto a grid of the next one.

    The grid has ``shape`` (z, y, x), and ``where`` is its way back to the image.
    """
    grid = Geometry(shape=shape, spacing=where.spacing)
    restoration = replace(
        prediction.restoration, original=grid, axes=(0, 1, 2), crop=whole(grid.shape)
    )
    return replace(prediction, restoration=restoration)


def with_previous(
    case: PreprocessedCase, label: NDArray[np.integer], values: Sequence[int]
) -> PreprocessedCase:
    """A case with a channel of 0 and 1 per value of a label map (z, y, x), behind its own."""
    channels = np.stack([label == value for value in values]).astype(np.float32)
    return replace(case, image=np.concatenate([case.image, channels]), previous=None)
