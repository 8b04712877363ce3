"""Keep the largest connected object of a structure, or leave masks as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from math import inf, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import Segmentation
from nnseg_core.contracts import PredictedCases
from nnseg_core.dataset import Labels
from nnseg_core.errors import PlanError
from nnseg_standard.postprocessing import fitting

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

    def fit(self, cases: PredictedCases) -> dict[str, Any] | None:
        """The structures whose Dice is better for it, or None."""

        def cleaned(objects: list[fitting.Structure]) -> LargestComponent:
            return LargestComponent(objects=objects, labels=cases.labels)

        objects = fitting.objects_that_help(cases, NoPostprocessing(), cleaned)
        return {"objects": objects} if objects else None

    def _values(self) -> list[set[int]]:
        return [structure_values(structure, self.labels) for structure in self.objects] or [set()]


@dataclass(frozen=True)
class LargeComponents:
    """Keep the largest connected object of a structure, and all others of a minimum volume.

    For structures of which there may be several, as nnU-Net v1 offered it.

    Attributes:
        objects: Structures to clean, as those of "largest". Empty: the whole foreground.
        volumes: For each of them the volume in mm3 from which an object stays in any case; 0 keeps
            all. "nnseg select" takes the smallest that is the largest object in any of the masks.
        labels: The dataset's labels, to look names up; given by the run.
    """

    objects: Sequence[Structure] = ()
    volumes: Sequence[float] = (0.0,)
    labels: Labels | None = None

    def __post_init__(self) -> None:
        if len(self.volumes) != max(1, len(self.objects)):
            raise PlanError(
                f"postprocessor 'large' needs a volume for each of {len(self.objects)} objects, "
                f"but has {len(self.volumes)} volumes."
            )
        self._values()

    def apply(self, segmentation: Segmentation) -> Segmentation:
        """The mask without the small pieces; probabilities stay as predicted."""
        label, voxel = segmentation.label, prod(segmentation.geometry.spacing)
        for values, volume in zip(self._values(), self.volumes, strict=True):
            label = keep_largest(label, values, spared=volume / voxel - 0.5)  # of rounding
        return replace(segmentation, label=label)

    def fit(self, cases: PredictedCases) -> dict[str, Any] | None:
        """The structures whose Dice is better for it, with their volumes; or None."""
        names = list(cases.labels.values)
        whole: fitting.Structure = names if len(names) > 1 else names[0]
        candidates: list[fitting.Structure] = [whole, *names]
        values = [frozenset(structure_values(c, cases.labels)) for c in candidates]
        found = cases.each(partial(largest_volumes, structures=tuple(values)))
        volumes = [min(filter(None, column), default=0.0) for column in zip(*found, strict=True)]

        def options(objects: list[fitting.Structure]) -> dict[str, Any]:
            return {
                "objects": objects,
                "volumes": [volumes[candidates.index(structure)] for structure in objects],
            }

        def cleaned(objects: list[fitting.Structure]) -> LargeComponents:
            return LargeComponents(**options(objects), labels=cases.labels)

        objects = fitting.objects_that_help(cases, NoPostprocessing(), cleaned)
        return options(objects) if objects else None

    def _values(self) -> list[set[int]]:
        return [structure_values(structure, self.labels) for structure in self.objects] or [set()]


def largest_volumes(
    segmentation: Segmentation, structures: Sequence[Collection[int]]
) -> list[float]:
    """Volume in mm3 of the largest object of each structure, given by its values; 0 without any."""
    voxel = prod(segmentation.geometry.spacing)
    volumes = []
    for values in structures:
        mask = np.isin(segmentation.label, list(values))
        sizes = np.bincount(connected_components(mask).ravel())[1:] if mask.any() else [0]
        volumes.append(float(max(sizes)) * voxel)
    return volumes


def keep_largest(
    label: NDArray[np.unsignedinteger], values: Collection[int], spared: float = inf
) -> NDArray[np.unsignedinteger]:
    """``label`` (z, y, x) with 0 in all but the largest component of ``values`` together.

    Components of at least ``spared`` voxels stay too. No values mean all but 0. The given array
    is not changed.
    """
    from scipy import ndimage  # takes 0.3 s, which most commands can do without

    mask = np.isin(label, list(values)) if values else label != 0
    boxes = ndimage.find_objects(mask.view(np.uint8))
    if not boxes:
        return label
    parts = connected_components(mask[boxes[0]])
    sizes = np.bincount(parts.ravel())
    kept = sizes >= min(sizes[1:].max(), spared)
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


def structure_values(structure: Structure, labels: Labels | None) -> set[int]:
    """The label values of a structure. Raises ``PlanError`` for a name that is no label."""
    if isinstance(structure, int):
        return {structure}
    if not isinstance(structure, str):
        return {value for part in structure for value in structure_values(part, labels)}
    known = labels.values if labels else {}
    if structure not in known:
        raise PlanError(
            f"a postprocessor is to clean {structure!r}, which is no label of this "
            f"dataset. Its labels are: {', '.join(known) or 'not known here; give values instead'}."
        )
    return set(known[structure])
