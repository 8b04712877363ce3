"""The standard preprocessor: from the image to the network's grid, and back to a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import (
    Prediction,
    PreprocessedCase,
    RawCase,
    Restoration,
    Segmentation,
)
from nnseg_core.contracts import Normalization
from nnseg_core.dataset import Labels
from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.geometry import Box, resampled_shape
from nnseg_core.plan import Configuration, Plan
from nnseg_standard.preprocessing.crop import mark_outside, nonzero_box
from nnseg_standard.preprocessing.foreground import sample_foreground
from nnseg_standard.preprocessing.normalize import standard
from nnseg_standard.preprocessing.resample import resample_image, resample_labels
from nnseg_standard.preprocessing.restore import (
    probability_slabs,
    restore_label,
    restore_probability,
)
from nnseg_standard.preprocessing.separable import CUBIC, LINEAR, NEAREST

Spacing = tuple[float, float, float]

RESAMPLINGS = {"cubic": CUBIC, "linear": LINEAR, "none": NEAREST}
"""Orders of splines, by the name that the option gives; with none there is nothing to resample."""

GROWTH = 100
"""Times the voxels that no sound spacing asks for: slices of 8 mm made isotropic grow tenfold."""

LARGE = 2**28
"""Voxels (1 GiB) up to which a case may grow as it will."""


@dataclass(frozen=True)
class StandardPreprocessor:
    """Crop to the non-zero region, normalise the intensities, resample to the plan's spacing.

    Attributes:
        resampling: How images are: by ``cubic`` splines, ``linear``, which is faster and smoother,
            or ``none``: every case keeps its own spacing.
        normalizations: One per channel; nnseg builds those that the plan names.
    """

    resampling: str = "cubic"
    normalizations: tuple[Normalization, ...] = ()

    def __post_init__(self) -> None:
        if self.resampling not in RESAMPLINGS:
            raise PlanError(
                f"resampling must be one of {', '.join(RESAMPLINGS)}, not {self.resampling!r}"
            )

    def run(self, case: RawCase, plan: Plan, configuration: Configuration) -> PreprocessedCase:
        """Transpose, crop, normalise, resample; and draw foreground voxels if there is a label.

        Raises ``DatasetError`` when the image has another number of channels than the dataset,
        values that are not finite, a label of another shape, or a range that the normalization
        refuses; ``PlanError`` when the normalization is unknown or not given for each channel.
        """
        _check(case, plan, configuration)
        image = case.image.transpose(0, *(1 + axis for axis in plan.axes))
        crop = nonzero_box(image)
        image = image[:, *crop.slices]
        label = None
        if case.label is not None:
            label = mark_outside(image, case.label.transpose(plan.axes)[crop.slices])
        image = self._normalized(image, label, case.identifier, plan, configuration)

        z, y, x = (case.geometry.spacing[axis] for axis in plan.axes)
        spacing = (z, y, x)
        kept = self.resampling == "none"
        new_spacing = spacing if kept else _network_spacing(z, configuration)
        shape = _network_shape(crop.shape, spacing, new_spacing)
        _require_possible(case, shape, new_spacing)
        image = resample_image(image, shape, spacing, new_spacing, RESAMPLINGS[self.resampling])
        foreground = {}
        if label is not None:
            label = resample_labels(label, shape, spacing, new_spacing)
            foreground = sample_foreground(label, plan.dataset.labels)
        return PreprocessedCase(
            identifier=case.identifier,
            image=image,
            label=label,
            foreground=foreground,
            restoration=Restoration(
                original=case.geometry, axes=plan.axes, crop=crop, spacing=new_spacing
            ),
        )

    def restore(
        self, prediction: Prediction, labels: Labels, probabilities: bool = False
    ) -> Segmentation:
        """Resample logits linearly to the original spacing, decide, and undo crop and transpose.

        A few slices at a time, unless probabilities are asked for: then all logits are kept.
        """
        if probabilities:
            prediction = replace(prediction, logits=np.asarray(prediction.logits))
        return Segmentation(
            identifier=prediction.identifier,
            label=restore_label(prediction, labels),
            geometry=prediction.restoration.original,
            probability=restore_probability(prediction, labels) if probabilities else None,
        )

    def probability_slabs(
        self, prediction: Prediction, labels: Labels
    ) -> Iterator[tuple[Box, NDArray[np.float32]]]:
        """Probabilities as ``restore`` gives them, a few slices at a time."""
        return probability_slabs(prediction, labels)

    def _normalized(
        self,
        image: NDArray[np.float32],
        label: NDArray[np.int16] | None,
        identifier: str,
        plan: Plan,
        configuration: Configuration,
    ) -> NDArray[np.float32]:
        inside = None
        if any(configuration.mask_normalization):
            inside = (mark_outside(image) if label is None else label) >= 0
        result = np.empty(image.shape, dtype=np.float32)
        rules = self.normalizations or standard(configuration.normalization)
        for index, rule in enumerate(rules):
            mask = inside if configuration.mask_normalization[index] else None
            try:
                result[index] = rule.apply(image[index], plan.intensities[index], mask)
            except DatasetError as error:
                where = f"case {identifier}, channel {index} ({plan.dataset.channels[index]})"
                raise DatasetError(f"{where}: {error}") from None
        return result


def _check(case: RawCase, plan: Plan, configuration: Configuration) -> None:
    channels = plan.dataset.channels
    if len(case.image) != len(channels):
        raise DatasetError(
            f"case {case.identifier} has {len(case.image)} channels, but the dataset has "
            f"{len(channels)} ({', '.join(channels)}). Give every case one image per channel."
        )
    if case.label is not None and case.label.shape != case.image.shape[1:]:
        raise DatasetError(
            f"the label of case {case.identifier} has shape {case.label.shape}, but its image has "
            f"{case.image.shape[1:]}. Put the label on the image's grid, or leave the case out."
        )
    rules = (configuration.normalization, configuration.mask_normalization, plan.intensities)
    if any(len(rule) != len(channels) for rule in rules):
        raise PlanError(
            f"normalization, mask_normalization and intensities have {len(rules[0])}, "
            f"{len(rules[1])} and {len(rules[2])} entries in the plan, but need one for each of "
            f"{len(channels)} channels ({', '.join(channels)}). Correct the plan, or plan again."
        )
    if not np.isfinite(case.image).all():
        raise DatasetError(
            f"the image of case {case.identifier} holds NaN or infinite values. Replace them, "
            "with 0 for instance, or leave the case out."
        )


def _require_possible(case: RawCase, shape: Sequence[int], new_spacing: Spacing) -> None:
    """A wrong unit in one header must not exhaust the machine's memory."""
    if prod(shape) > max(LARGE, GROWTH * prod(case.image.shape[1:])):
        raise DatasetError(
            f"case {case.identifier} would grow from {case.image.shape[1:]} to {tuple(shape)} "
            f"voxels: its spacing is {case.geometry.spacing} mm, the plan's {new_spacing} mm. "
            "Correct the spacing in its header, leave the case out, or plan with another --spacing."
        )


def _network_spacing(z: float, configuration: Configuration) -> Spacing:
    """The configuration's spacing; in 2D, slices keep their distance ``z``."""
    if len(configuration.spacing) == 2:
        return (z, configuration.spacing[0], configuration.spacing[1])
    return (configuration.spacing[0], configuration.spacing[1], configuration.spacing[2])


def _network_shape(shape: Sequence[int], spacing: Spacing, new_spacing: Spacing) -> tuple[int, ...]:
    """Voxels on the network's grid: a box thinner than half a voxel still has one."""
    return tuple(max(1, size) for size in resampled_shape(shape, spacing, new_spacing))
