"""Keep the largest connected object of a structure, or leave masks as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import Segmentation
from nnseg_core.dataset import Labels
from nnseg_core.errors import PlanError

FAST = find_spec("cc3d") is not None
"""Whether cc3d is installed: several times as fast as scipy, with the same components."""

Structure = str | int | Sequence[str | int]


@dataclass(frozen=True)
class NoPostprocessing:
    """Leave masks as they are."""

    def apply(self, segmentation: Segmentation) -> Segmentation:
        """The same mask."""
        return segmentation


@dataclass(frozen=True)
class LargestComponent:
    """Keep the largest connected object of a structure; smaller pieces become background.

    Voxels that touch at a corner are connected, and of equally large objects all stay, as in
    nnU-Net.

    Attributes:
        objects: Structures to clean, one after the other. Each is the name of a label or region,
            a label value, or a list of these that together are one object. Empty: the whole
            foreground is one object.
        labels: The dataset's labels, to look names up; given by the run.
    """

    objects: Sequence[Structure] = ()
    labels: Labels | None = None

    def __post_init__(self) -> None:
        self._values()  # an unknown name is an error now, not after the prediction

    def apply(self, segmentation: Segmentation) -> Segmentation:
        """The mask without the smaller pieces; probabilities stay as predicted."""
        label = segmentation.label
        for values in self._values():
            label = keep_largest(label, values)
        return replace(segmentation, label=label)

    def _values(self) -> list[set[int]]:
        return [_values(structure, self.labels) for structure in self.objects] or [set()]


def keep_largest(
    label: NDArray[np.unsignedinteger], values: set[int]
) -> NDArray[np.unsignedinteger]:
    """``label`` (z, y, x) with 0 in all but the largest component of ``values`` together.

    No values mean all but 0. The given array is not changed.
    """
    from scipy import ndimage  # takes 0.3 s, which most commands can do without

    mask = np.isin(label, list(values)) if values else label != 0
    boxes = ndimage.find_objects(mask.view(np.uint8))
    if not boxes:
        return label
    parts = connected_components(mask[boxes[0]])
    sizes = np.bincount(parts.ravel())
    kept = sizes == sizes[1:].max()
    kept[0] = True
    if kept.all():
        return label
    cleaned = label.copy()
    cleaned[boxes[0]][~kept[parts]] = 0
    return cleaned


def connected_components(mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Number the components of ``mask`` (z, y, x) from 1; touching at a corner is enough."""
    if not FAST:
        from scipy import ndimage

        return np.asarray(ndimage.label(mask, structure=np.ones((3, 3, 3)))[0])
    import cc3d

    # Without the border, cc3d 4.1.1 runs out of numbers when single voxels fill an odd size.
    bordered = np.pad(mask, ((0, 1), (0, 1), (0, 1)))
    return np.asarray(cc3d.connected_components(bordered, connectivity=26)[:-1, :-1, :-1])


def _values(structure: Structure, labels: Labels | None) -> set[int]:
    if isinstance(structure, int):
        return {structure}
    if not isinstance(structure, str):
        return {value for part in structure for value in _values(part, labels)}
    known = labels.values if labels else {}
    if structure not in known:
        raise PlanError(
            f"postprocessor 'largest' is to clean {structure!r}, which is no label of this "
            f"dataset. Its labels are: {', '.join(known) or 'not known here; give values instead'}."
        )
    return set(known[structure])
