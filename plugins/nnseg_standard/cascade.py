"""The previous stage's labels as extra input channels of a cascade.

Its segmentation travels with the truth, as a second label map, until the patch has been turned and
mirrored; then it becomes a channel of 0 and 1 per label, behind those of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnseg_core.contracts import DisturbsPrevious
from nnseg_core.errors import PlanError

if TYPE_CHECKING:
    from nnseg_core.contracts import Augmentation
    from nnseg_core.geometry import Box
    from nnseg_core.store import CaseStore
    from nnseg_core.training import PreviousStage
    from nnseg_standard.partial import MarkedCases


@dataclass(frozen=True, kw_only=True)
class WithPrevious:
    """The cases of ``store``, whose label is two maps: the truth, and the previous stage's."""

    store: CaseStore | MarkedCases
    previous: PreviousStage

    def shape(self, identifier: str) -> tuple[int, int, int]:
        """Voxels per axis (z, y, x)."""
        return self.store.shape(identifier)

    def foreground(self, identifier: str) -> Mapping[str, NDArray[np.int32]]:
        """Coordinates (n, 3) to sample around, by label or region name."""
        return self.store.foreground(identifier)

    def patch(self, identifier: str, box: Box) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Image (channel, z, y, x) and both labels (2, z, y, x) of a box."""
        image, label = self.store.patch(identifier, box)
        return image, np.stack([label, self.previous.store.patch(identifier, box)])


def with_channels(
    image: Tensor,
    labels: Tensor,
    values: Sequence[int],
    augmentation: Augmentation,
    randoms: Sequence[np.random.Generator],
) -> tuple[Tensor, Tensor]:
    """Image (batch, channel + value, *patch) and truth (batch, *patch) of an augmented batch.

    labels: (batch, 2, *patch). The ``augmentation`` may disturb the new channels, patch by patch.
    Raises ``PlanError`` where it has dropped one of the two maps.
    """
    if labels.shape != (len(image), 2, *image.shape[2:]):
        raise PlanError(
            f"augmentation {type(augmentation).__name__} does not carry the segmentation of the "
            "previous stage along, which a cascade needs. Use --augmentation standard, or none."
        )
    channels = one_hot(labels[:, 1], values)
    if isinstance(augmentation, DisturbsPrevious):
        disturbed = map(augmentation.disturb, randoms, channels)
        channels = torch.stack(list(disturbed))
    return torch.cat([image, channels.to(image.dtype)], dim=1), labels[:, 0].contiguous()


def one_hot(label: Tensor, values: Sequence[int]) -> Tensor:
    """Truth values (batch, value, *patch) of a label map (batch, *patch)."""
    return torch.stack([label == value for value in values], dim=1)
