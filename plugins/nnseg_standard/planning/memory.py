"""How large a patch and a batch may be: start large, shrink until the network fits.

Memory is counted in elements that the convolutions put out, and compared with networks that were
measured. The rules are nnU-Net's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from nnseg_core.errors import PlanError
from nnseg_core.plan import Topology
from nnseg_standard.planning.topology import fit_topology, pooling_factors

SMALLEST_BATCH = 2
"""Batches are never smaller: with one sample, each step would follow a single patch."""

START_VOXELS = {2: 2048**2, 3: 256**3}
"""Volume of the first patch that is tried, by number of axes: more than fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A network that was measured: what fits into the same memory must be no larger.

    A network that puts out ``elements`` per sample filled ``memory`` GB in training with
    ``batch_size`` samples. Patches shrink until ``fitting_batch`` samples fit; memory that is
    left makes the batch larger. Networks have up to ``most_features`` channels, beginning with
    ``base_features``.
    """

    elements: int
    memory: float
    batch_size: int
    fitting_batch: int
    most_features: int
    base_features: int = 32

    def budget(self, memory: float) -> float:
        """Elements per sample, at the reference batch size, that ``memory`` GB allow."""
        return self.elements * (memory / self.memory)

    def gigabytes(self, elements: float) -> float:
        """Memory that a network takes which puts out ``elements`` for its whole batch."""
        return elements / (self.elements * self.batch_size) * self.memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A patch that was tried: its size before padding, its U-Net, and what that puts out."""

    asked: tuple[float, ...]
    topology: Topology
    elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch size, and what decided it: samples that fit into memory, and that the data allow."""

    size: int
    fitting: int
    allowed: int


def start_patch_size(spacing: Sequence[float], median_shape: Sequence[float]) -> tuple[float, ...]:
    """A patch as long in mm along every axis, larger than fits, but within the median image."""
    resolution = 1 / np.asarray(spacing)
    axes = len(resolution)
    scale = (START_VOXELS[axes] / np.prod(resolution)) ** (1 / axes)
    return tuple(np.minimum(np.round(resolution * scale), median_shape).tolist())


def shrink_to_fit(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    reference: Reference,
    memory: float,
    elements: Callable[[Topology], int],
) -> tuple[Trial, ...]:
    """The largest U-Net, by its patch, whose ``fitting_batch`` stays within ``memory`` GB.

    It is the last of the trials. Raises ``PlanError`` when not even the smallest patch fits.
    """
    budget = reference.budget(memory)
    start = start_patch_size(spacing, median_shape)
    trials = [try_patch(spacing, start, reference, elements)]
    while trials[-1].elements / reference.batch_size * reference.fitting_batch > budget:
        topology = trials[-1].topology
        smaller = _shrunk(topology, spacing, median_shape)
        if min(smaller) < 1:
            raise PlanError(
                f"no network fits into {memory} GB: the patch is down to {topology.patch_size}. "
                "Allow more memory."
            )
        trials.append(try_patch(spacing, smaller, reference, elements))
    return tuple(trials)


def try_patch(
    spacing: Sequence[float],
    patch_size: Sequence[float],
    reference: Reference,
    elements: Callable[[Topology], int],
) -> Trial:
    """The U-Net for a patch, as wide as the reference's."""
    topology = fit_topology(spacing, patch_size, reference.base_features, reference.most_features)
    return Trial(asked=tuple(patch_size), topology=topology, elements=elements(topology))


def largest_batch(
    topology: Topology,
    elements: int,
    reference: Reference,
    memory: float,
    most_voxels: float,
) -> Batch:
    """Samples that fit into ``memory`` GB, and together have no more than ``most_voxels``.

    At least 2, even where neither allows it.
    """
    fitting = round(reference.budget(memory) / elements * reference.batch_size)
    allowed = round(most_voxels / prod(topology.patch_size))
    size = max(min(fitting, allowed), SMALLEST_BATCH)
    return Batch(size=size, fitting=fitting, allowed=allowed)


def _shrunk(
    topology: Topology, spacing: Sequence[float], median_shape: Sequence[float]
) -> tuple[int, ...]:
    """The patch with one step less along the axis that covers most of the median image.

    A shorter axis may be pooled less often and then allow a smaller step: at 256, pooled to 4, the
    step is 64, but 224 can be pooled to 7 with steps of 32. So the step is that of the patch
    after a trial.
    """
    patch = topology.patch_size
    covered = [size / median for size, median in zip(patch, median_shape, strict=True)]
    axis = max(range(len(patch)), key=lambda a: (covered[a], a))  # the last one among equals
    trial = list(patch)
    trial[axis] -= pooling_factors(topology)[axis]
    step = pooling_factors(fit_topology(spacing, trial))[axis]
    return tuple(size - step if a == axis else size for a, size in enumerate(patch))
