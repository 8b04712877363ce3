"""The standard planner: from a fingerprint to a plan with 2D, 3D and cascade configurations.

It decides what nnU-Net 2.8.1 decides from the same fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, prod
from typing import Any

from nnseg_core.case import RawCase
from nnseg_core.contracts import Architecture
from nnseg_core.dataset import DatasetDescription
from nnseg_core.errors import PlanError
from nnseg_core.explanation import Explanation
from nnseg_core.fingerprint import CaseFingerprint, Fingerprint
from nnseg_core.plan import ComponentRef, Configuration, Plan, Topology
from nnseg_standard.planning.decisions import Decisions, LowResolution, Sizing
from nnseg_standard.planning.measure import measure
from nnseg_standard.planning.memory import (
    Reference,
    largest_batch,
    shrink_to_fit,
    try_patch,
)
from nnseg_standard.planning.mirroring import Mirroring, mirroring
from nnseg_standard.planning.normalization import BY_CHANNEL_NAME, Choice, choose, masks
from nnseg_standard.planning.spacing import axis_order, coarser, median_shape, target_spacing

SMALLEST_COVER = 0.25
"""Share of the median image that a patch must cover for one resolution to be enough."""

SMALLEST_GAIN = 2.0
"""Factor in voxels by which the low resolution must be smaller to be worth a cascade."""

PLAIN_2D = Reference(
    elements=85_000_000, memory=8.0, batch_size=12, fitting_batch=2, most_features=512
)
PLAIN_3D = Reference(
    elements=560_000_000, memory=8.0, batch_size=2, fitting_batch=2, most_features=320
)

PLAIN_UNET = ComponentRef(name="plain_unet")


@dataclass(frozen=True, kw_only=True)
class StandardPlanner:
    """Decides like nnU-Net: the largest patch that fits into memory, then the largest batch.

    Attributes:
        memory: GPU memory to plan for, in GB.
        spacing: Target spacing in mm, in the order (z, y, x) of the image files, instead of the
            one derived from the dataset. It counts for all configurations; 3d_lowres starts from
            it, and 2d takes it within its slices.
        patch_size: Patch size for the configurations with as many axes (2 or 3), in the plan's
            axis order, instead of the largest that fits. It is padded until it can be pooled;
            network and batch size are derived from it. A batch has at least 2 samples, even if
            they do not fit.
        architecture: The network that is planned for: a name, or an object of name and options.
        normalization: Normalizations by channel, as ``{"T1": "rescale_to_0_1"}``, instead of
            those that channels are named after: a name, or an object of name and options.
        normalizations: Names that channels may have to choose theirs. nnseg gives those that are
            installed.
        dataset_share: Share of the dataset's voxels that a batch may have at most.
        reference_2d: The measured network that 2D networks are compared with.
        reference_3d: The measured network that 3D networks are compared with.
        name: What the plan says it was made by.
    """

    memory: float = 8.0
    spacing: Sequence[float] | None = None
    patch_size: Sequence[int] | None = None
    architecture: ComponentRef = PLAIN_UNET
    normalization: Mapping[str, Choice] | None = None
    normalizations: tuple[str, ...] = BY_CHANNEL_NAME
    dataset_share: float = 0.05
    reference_2d: Reference = PLAIN_2D
    reference_3d: Reference = PLAIN_3D
    name: str = "standard"

    def __post_init__(self) -> None:
        _check_options(self.memory, self.spacing, self.patch_size)
        object.__setattr__(self, "architecture", _as_reference(self.architecture))

    def measure(self, case: RawCase, samples: int) -> CaseFingerprint:
        """Size, spacing and foreground intensities of a case, cropped to its non-zero region."""
        return measure(case, samples)

    def plan(
        self, dataset: DatasetDescription, fingerprint: Fingerprint, architecture: Architecture
    ) -> Plan:
        """Decide. 3D configurations are left out where the images are planar.

        Raises ``PlanError`` when ``memory`` is too small for any network, or the fingerprint is
        not that of ``dataset``.
        """
        return self.decide(dataset, fingerprint, architecture).plan

    def explain(
        self, dataset: DatasetDescription, fingerprint: Fingerprint, architecture: Architecture
    ) -> Explanation:
        """The same plan, with a reason for each choice. Raises what ``plan`` raises."""
        from nnseg_standard.planning.explain import explain

        decisions = self.decide(dataset, fingerprint, architecture)
        return Explanation(plan=decisions.plan, reasons=explain(self, decisions, fingerprint))

    def decide(
        self, dataset: DatasetDescription, fingerprint: Fingerprint, architecture: Architecture
    ) -> Decisions:
        """The plan and what decided it. Raises what ``plan`` raises."""
        _require_of(dataset, fingerprint)
        derived = target_spacing(fingerprint.spacings, fingerprint.shapes)
        target = self.spacing or derived.spacing
        shape = median_shape(fingerprint.spacings, fingerprint.shapes, target)
        axes = axis_order(target)
        spacing = tuple(float(target[axis]) for axis in axes)
        median = tuple(shape[axis] for axis in axes)
        cases = dataset.training_cases or len(fingerprint.shapes)
        normalization = choose(dataset.channels, self.normalizations, self.normalization or {})
        configure = partial(
            self._sized,
            elements=lambda topology: architecture.memory(topology, dataset.labels.declared),
            normalization=normalization,
            mask_normalization=tuple(masks(n, fingerprint.relative_size) for n in normalization),
        )
        sizings, low = _every_size(configure, spacing, median, cases)
        sides = mirroring(dataset.labels, fingerprint)
        sizings = {name: _mirrored(sizing, axes, sides) for name, sizing in sizings.items()}
        plan = Plan(
            dataset=dataset,
            planner=self._reference(),
            axes=axes,
            intensities=fingerprint.intensities,
            configurations={name: sizing.configuration for name, sizing in sizings.items()},
        )
        return Decisions(
            plan=plan,
            target=derived,
            spacing=tuple(map(float, target)),
            median_size=shape,
            cases=cases,
            sizings=sizings,
            low=low,
            mirroring=sides,
        )

    def _reference(self) -> ComponentRef:
        names = ("memory", "spacing", "patch_size", "normalization")
        given = {name: getattr(self, name) for name in names}
        options = {name: value for name, value in given.items() if value is not None}
        return ComponentRef(name=self.name, options=options)

    def _sized(
        self,
        spacing: tuple[float, ...],
        median: tuple[float, ...],
        dataset_voxels: float,
        *,
        elements: Callable[[Topology], int],
        **fields: Any,
    ) -> Sizing:
        """Patch, network and batch for one resolution. ``fields`` go into the configuration."""
        reference = self.reference_2d if len(spacing) == 2 else self.reference_3d
        patch = self.patch_size if len(self.patch_size or ()) == len(spacing) else None
        trials = (
            shrink_to_fit(spacing, median, reference, self.memory, elements)
            if patch is None
            else (try_patch(spacing, patch, reference, elements),)
        )
        topology = trials[-1].topology
        most_voxels = dataset_voxels * self.dataset_share
        batch = largest_batch(topology, trials[-1].elements, reference, self.memory, most_voxels)
        configuration = Configuration(
            spacing=spacing,
            patch_size=topology.patch_size,
            batch_size=batch.size,
            median_shape=median,
            features=topology.features,
            strides=topology.strides,
            kernel_sizes=topology.kernel_sizes,
            architecture=self.architecture,
            **fields,
        )
        return Sizing(
            configuration=configuration,
            reference=reference,
            trials=trials,
            batch=batch,
            patch_given=patch is not None,
        )


def _mirrored(sizing: Sizing, axes: Sequence[int], sides: Mirroring) -> Sizing:
    """The same, mirrored only along axes that do not swap the sides that labels name."""
    patch_axes = axes[-len(sizing.configuration.patch_size) :]
    changed = replace(sizing.configuration, mirror_axes=sides.axes_of(patch_axes))
    return replace(sizing, configuration=changed)


def _every_size(
    size: Callable[..., Sizing], spacing: tuple[float, ...], median: tuple[float, ...], cases: int
) -> tuple[dict[str, Sizing], LowResolution | None]:
    """``2d``, and what is 3D of images that are not planar."""
    planar = size(spacing[1:], median[1:], prod(median) * cases, batch_dice=True)
    if median[0] == 1:
        return {"2d": planar}, None
    volumetric, low = _volumetric(size, spacing, median, cases)
    return {"2d": planar, **volumetric}, low


def _volumetric(
    size: Callable[..., Sizing], spacing: tuple[float, ...], median: tuple[float, ...], cases: int
) -> tuple[dict[str, Sizing], LowResolution]:
    """``3d_fullres``, and where its patches see too little of an image, a cascade before it."""
    full = size(spacing, median, prod(median) * cases, batch_dice=False)
    low, search = _low_resolution(size, full, cases)
    if not search.kept:
        return {"3d_fullres": full}, search
    configuration = replace(full.configuration, batch_dice=True)
    cascade = replace(configuration, previous="3d_lowres")
    return {
        "3d_lowres": low,
        "3d_fullres": replace(full, configuration=configuration),
        "3d_cascade_fullres": replace(full, configuration=cascade),
    }, search


def _low_resolution(
    size: Callable[..., Sizing], fullest: Sizing, cases: int
) -> tuple[Sizing, LowResolution]:
    """The finest coarser resolution at which a patch covers a quarter of the median image.

    Not worth keeping where full resolution does, or where the coarser image is not much smaller.
    """
    full = fullest.configuration
    low, spacing, steps = fullest, full.spacing, 0
    voxels = prod(full.median_shape)
    cover = low_cover = prod(full.patch_size) / voxels
    while low_cover < SMALLEST_COVER:
        spacing, steps = coarser(spacing), steps + 1
        median = tuple(
            fine / coarse * edge
            for fine, coarse, edge in zip(full.spacing, spacing, full.median_shape, strict=True)
        )
        voxels = prod(median)
        rounded = tuple(float(max(round(edge), 1)) for edge in median)
        low = size(spacing, rounded, voxels * cases, batch_dice=False)
        low_cover = prod(low.configuration.patch_size) / voxels
    gain = prod(full.median_shape) / voxels
    return low, LowResolution(
        cover=cover, steps=steps, low_cover=low_cover, gain=gain, kept=gain >= SMALLEST_GAIN
    )


def _as_reference(given: ComponentRef | Mapping[str, Any] | str) -> ComponentRef:
    """Options may come from JSON, where a reference is a name or an object."""
    if isinstance(given, str):
        return ComponentRef(name=given)
    return ComponentRef(**given) if isinstance(given, Mapping) else given


def _require_of(dataset: DatasetDescription, fingerprint: Fingerprint) -> None:
    if len(fingerprint.intensities) != len(dataset.channels):
        raise PlanError(
            f"the fingerprint has {len(fingerprint.intensities)} channels, but dataset "
            f"{dataset.name!r} has {len(dataset.channels)}. Give the fingerprint that was "
            "measured on it."
        )


def _check_options(
    memory: float, spacing: Sequence[float] | None, patch_size: Sequence[int] | None
) -> None:
    if not 0 < memory < inf:
        raise PlanError(f"memory must be a number of GB above 0, it is {memory}.")
    if spacing is not None and (
        len(spacing) != 3 or not all(0 < length < inf for length in spacing)
    ):
        raise PlanError(
            f"spacing must be three lengths in mm above 0, in the order (z, y, x); it is "
            f"{tuple(spacing)}."
        )
    if patch_size is not None and (len(patch_size) not in (2, 3) or min(patch_size) < 1):
        raise PlanError(
            f"patch_size must be 2 or 3 numbers of voxels above 0; it is {tuple(patch_size)}."
        )
