"""Components under a name of their own: functions that return configured standard ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nnseg_core.plan import ComponentRef
from nnseg_standard.planning.memory import Reference
from nnseg_standard.planning.normalization import BY_CHANNEL_NAME, Choice
from nnseg_standard.planning.planner import StandardPlanner

RESIDUAL_UNET = ComponentRef(name="residual_unet")


def residual_m(
    memory: float = 8.0,
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    architecture: ComponentRef = RESIDUAL_UNET,
    normalization: Mapping[str, Choice] | None = None,
    normalizations: tuple[str, ...] = BY_CHANNEL_NAME,
) -> StandardPlanner:
    """Plans residual U-Nets for 8 GB (nnU-Net's ResEnc M).

    Attributes:
        memory: GPU memory to plan for, in GB.
        spacing: Target spacing in mm, (z, y, x), instead of the derived one.
        patch_size: Patch size in the plan's axis order, instead of the largest that fits.
        architecture: The network that is planned for.
        normalization: Normalizations by channel, instead of those that channels are named after.
        normalizations: Names that channels may have to choose theirs; nnseg gives them.
    """
    planner = _residual("residual_m", 8.0, 135_000_000, 680_000_000)
    return replace(
        planner,
        memory=memory,
        spacing=spacing,
        patch_size=patch_size,
        architecture=architecture,
        normalization=normalization,
        normalizations=normalizations,
    )


def residual_l(
    memory: float = 24.0,
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    architecture: ComponentRef = RESIDUAL_UNET,
    normalization: Mapping[str, Choice] | None = None,
    normalizations: tuple[str, ...] = BY_CHANNEL_NAME,
) -> StandardPlanner:
    """Plans residual U-Nets for 24 GB (nnU-Net's ResEnc L).

    Attributes:
        memory: GPU memory to plan for, in GB.
        spacing: Target spacing in mm, (z, y, x), instead of the derived one.
        patch_size: Patch size in the plan's axis order, instead of the largest that fits.
        architecture: The network that is planned for.
        normalization: Normalizations by channel, instead of those that channels are named after.
        normalizations: Names that channels may have to choose theirs; nnseg gives them.
    """
    planner = _residual("residual_l", 24.0, 380_000_000, 2_100_000_000)
    return replace(
        planner,
        memory=memory,
        spacing=spacing,
        patch_size=patch_size,
        architecture=architecture,
        normalization=normalization,
        normalizations=normalizations,
    )


def residual_xl(
    memory: float = 40.0,
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    architecture: ComponentRef = RESIDUAL_UNET,
    normalization: Mapping[str, Choice] | None = None,
    normalizations: tuple[str, ...] = BY_CHANNEL_NAME,
) -> StandardPlanner:
    """Plans residual U-Nets for 40 GB (nnU-Net's ResEnc XL).

    Attributes:
        memory: GPU memory to plan for, in GB.
        spacing: Target spacing in mm, (z, y, x), instead of the derived one.
        patch_size: Patch size in the plan's axis order, instead of the largest that fits.
        architecture: The network that is planned for.
        normalization: Normalizations by channel, instead of those that channels are named after.
        normalizations: Names that channels may have to choose theirs; nnseg gives them.
    """
    planner = _residual("residual_xl", 40.0, 560_000_000, 3_600_000_000)
    return replace(
        planner,
        memory=memory,
        spacing=spacing,
        patch_size=patch_size,
        architecture=architecture,
        normalization=normalization,
        normalizations=normalizations,
    )


def _residual(name: str, memory: float, elements_2d: int, elements_3d: int) -> StandardPlanner:
    """The planner whose reference networks take ``memory`` GB; the numbers are nnU-Net's.

    It shrinks patches, in 2D too, until the whole reference batch fits, and lets a batch hold the
    whole dataset.
    """
    return StandardPlanner(
        dataset_share=1.0,
        reference_2d=Reference(
            elements=elements_2d, memory=memory, batch_size=12, fitting_batch=12, most_features=512
        ),
        reference_3d=Reference(
            elements=elements_3d, memory=memory, batch_size=2, fitting_batch=2, most_features=320
        ),
        name=name,
    )
