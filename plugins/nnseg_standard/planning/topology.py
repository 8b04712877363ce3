"""Which axes a U-Net pools at which stage, and where its kernels are flat.

An axis is pooled while it is long enough and about as fine as the finest; kernels stay flat along
an axis until pooling has made the others about as coarse. The rules are nnU-Net's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Literal

from nnseg_core.plan import Topology

SHORTEST_EDGE = 4
"""Voxels per axis that a feature map keeps."""

SIMILAR = 2.0
"""Axes whose spacings differ by less than this factor are pooled together."""

LONE_EDGE = 3 * SHORTEST_EDGE
"""Voxels that an axis needs to be pooled alone; with others, twice the shortest edge is enough."""

Fate = Literal["pooled", "short", "coarse", "alone"]
"""What becomes of an axis after a stage: pooled, or why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A resolution of the U-Net. ``spacing`` is in mm, ``size`` in voxels before any padding.

    ``stride`` led to this stage, ``kernel`` is that of its convolutions, and ``fates`` say for
    each axis whether it is pooled on the way to the next stage.
    """

    spacing: tuple[float, ...]
    size: tuple[float, ...]
    stride: tuple[int, ...]
    kernel: tuple[int, ...]
    fates: tuple[Fate, ...]


def fit_topology(
    spacing: Sequence[float],
    patch_size: Sequence[float],
    base_features: int = 32,
    most_features: int = 320,
) -> Topology:
    """The U-Net for a patch, which is padded up to a size that can be pooled that often.

    Features double per stage from ``base_features`` up to ``most_features``. ``patch_size`` need
    not be whole: a median over an even number of cases may be a half.
    """
    stages = pooling(spacing, patch_size)
    strides = tuple(stage.stride for stage in stages)
    factors = _factors(strides)
    return Topology(
        patch_size=tuple(
            ceil(size / factor) * factor for size, factor in zip(patch_size, factors, strict=True)
        ),
        features=tuple(min(most_features, base_features * 2**i) for i in range(len(strides))),
        strides=strides,
        kernel_sizes=tuple(stage.kernel for stage in stages),
    )


def pooling_factors(topology: Topology) -> tuple[int, ...]:
    """By how much each axis is pooled from the first stage to the last."""
    return _factors(topology.strides)


def pooling(spacing: Sequence[float], size: Sequence[float]) -> tuple[Stage, ...]:
    """The stages from full resolution to the bottleneck. The first stage does not pool."""
    stages: list[Stage] = []
    stride = kernel = (1,) * len(size)
    while True:
        fates = _fates(spacing, size)
        is_bottleneck = "pooled" not in fates
        kernel = (3,) * len(size) if is_bottleneck else _grown(kernel, spacing)
        stages.append(
            Stage(
                spacing=tuple(spacing), size=tuple(size), stride=stride, kernel=kernel, fates=fates
            )
        )
        if is_bottleneck:
            return tuple(stages)
        stride = tuple(2 if fate == "pooled" else 1 for fate in fates)
        spacing = [length * step for length, step in zip(spacing, stride, strict=True)]
        size = [ceil(voxels / step) for voxels, step in zip(size, stride, strict=True)]


def _fates(spacing: Sequence[float], size: Sequence[float]) -> tuple[Fate, ...]:
    """Long axes whose spacing is similar to the finest of them are pooled; one alone if longer."""
    long = [voxels >= 2 * SHORTEST_EDGE for voxels in size]
    finest = min((s for s, is_long in zip(spacing, long, strict=True) if is_long), default=0.0)
    fates: tuple[Fate, ...] = tuple(
        "short" if not is_long else "pooled" if length / finest < SIMILAR else "coarse"
        for length, is_long in zip(spacing, long, strict=True)
    )
    if fates.count("pooled") == 1 and size[fates.index("pooled")] < LONE_EDGE:
        return tuple("alone" if fate == "pooled" else fate for fate in fates)
    return fates


def _grown(kernel: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Kernels once 3 stay so; the others become 3 when their axis is similar to the finest."""
    finest = min(spacing)
    return tuple(
        3 if edge == 3 or length / finest < SIMILAR else 1
        for edge, length in zip(kernel, spacing, strict=True)
    )


def _factors(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(prod(along_axis) for along_axis in zip(*strides, strict=True))
