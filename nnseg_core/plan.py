"""What is decided: a plan, its configurations, and the components they are made of.

A user may edit a plan; nobody edits a fingerprint. Everything that a trained model needs beside
its weights is in the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf
from typing import Any

from nnseg_core.dataset import DatasetDescription
from nnseg_core.fingerprint import IntensityStatistics

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRef:
    """A component by reference, with the options it is built with (JSON values)."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The shape of a U-Net: per stage, from full resolution down, its features, stride and kernel.

    All tuples of axes are in the plan's axis order; 2D topologies have two axes.
    """

    patch_size: tuple[int, ...]
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One way to train: resolution, patch, network shape, and the components to use.

    ``spacing`` is in mm; ``spacing``, ``patch_size`` and ``median_shape`` follow the plan's axis
    order and have two axes for a 2D configuration. ``normalization`` and ``mask_normalization``
    have one entry per channel: the first a name, or an object of name and options; the second says
    whether only voxels inside the non-zero region count. ``batch_dice`` sums the Dice loss over the
    batch. ``previous`` names the configuration whose prediction is an extra input (cascade).
    ``mirror_axes`` are the axes of the patch along which training and prediction may mirror it;
    None means all.
    """

    spacing: tuple[float, ...]
    patch_size: tuple[int, ...]
    batch_size: int
    median_shape: tuple[float, ...]
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    normalization: tuple[str | ComponentRef, ...]
    mask_normalization: tuple[bool, ...]
    batch_dice: bool
    previous: str | None = None
    mirror_axes: tuple[int, ...] | None = None
    preprocessor: ComponentRef = ComponentRef(name="standard")
    architecture: ComponentRef = ComponentRef(name="plain_unet")
    augmentation: ComponentRef = ComponentRef(name="standard")
    loss: ComponentRef = ComponentRef(name="dice_ce")
    trainer: ComponentRef = ComponentRef(name="standard")
    predictor: ComponentRef = ComponentRef(name="tiles")
    postprocessor: ComponentRef = ComponentRef(name="none")

    def __post_init__(self) -> None:
        axes = len(self.patch_size)
        for name, values in (("spacing", self.spacing), ("median_shape", self.median_shape)):
            if len(values) != axes:
                raise ValueError(f"patch_size has {axes} axes but {name} has {len(values)}")
        stages = len(self.features)
        for name, rows in (("strides", self.strides), ("kernel_sizes", self.kernel_sizes)):
            if len(rows) != stages:
                raise ValueError(f"features has {stages} stages but {name} has {len(rows)}")
            if any(len(row) != axes for row in rows):
                raise ValueError(f"{name} must be rows of {axes} numbers, got {rows}")
        if axes not in (2, 3):
            raise ValueError(f"patch_size must have 2 or 3 axes, got {self.patch_size}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not all(0 < length < inf for length in self.spacing):
            raise ValueError(f"spacing must be lengths in mm above 0, got {self.spacing}")
        for name, numbers in (
            ("features", self.features),
            ("strides", chain(*self.strides)),
            ("kernel_sizes", chain(*self.kernel_sizes)),
        ):
            if any(number < 1 for number in numbers):
                raise ValueError(f"{name} must hold numbers above 0, got {getattr(self, name)}")
        self._check_pooling()
        for axis in self.mirror_axes or ():
            if axis not in range(axes):
                raise ValueError(f"mirror_axes has {axis}, but the axes are 0 to {axes - 1}")

    def _check_pooling(self) -> None:
        for axis, size in enumerate(self.patch_size):
            factor = 1
            for stride in self.strides:
                factor *= stride[axis]
            if size < 1 or size % factor:
                raise ValueError(
                    f"patch_size {self.patch_size} cannot be pooled by {factor} along axis {axis}; "
                    f"make it a multiple of {factor}"
                )

    @property
    def topology(self) -> Topology:
        """What an architecture needs to know of this configuration."""
        return Topology(
            patch_size=self.patch_size,
            features=self.features,
            strides=self.strides,
            kernel_sizes=self.kernel_sizes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All decisions for a dataset.

    ``axes`` is the order into which the axes (z, y, x) of every array are put: the axis of
    lowest resolution first. ``intensities`` are the fingerprint's, one per channel.
    """

    dataset: DatasetDescription
    planner: ComponentRef
    axes: tuple[int, int, int]
    intensities: tuple[IntensityStatistics, ...]
    configurations: dict[str, Configuration]
    format: int = FORMAT

    def __post_init__(self) -> None:
        if sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"axes must be an order of 0, 1, 2, got {self.axes}")
        for name, configuration in self.configurations.items():
            previous = configuration.previous
            if previous and previous not in self.configurations:
                raise ValueError(f"configuration {name!r} follows {previous!r}, which is missing")
            if previous and self.configurations[previous].previous:
                raise ValueError(
                    f"configuration {name!r} follows {previous!r}, which must not follow another"
                )

    def stages(self, name: str) -> tuple[str, ...]:
        """The configurations to run for ``name``, in order: ``3d_lowres`` before its cascade."""
        previous = self.configurations[name].previous
        return (*self.stages(previous), name) if previous else (name,)

    def only(self, name: str) -> Plan:
        """The part of the plan that a model keeps: ``name``, with the stage before a cascade."""
        kept = {stage: self.configurations[stage] for stage in self.stages(name)}
        return replace(self, configurations=kept)
