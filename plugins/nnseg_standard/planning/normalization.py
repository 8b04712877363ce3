"""How to normalise a channel, told from its name as nnU-Net does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnseg_core.errors import PlanError
from nnseg_core.plan import ComponentRef

BY_CHANNEL_NAME = ("ct", "nonorm", "rescale_to_0_1", "rgb_to_0_1", "zscore", "ct_per_image")
"""Channel names that are the name of a normalisation; every other name means z-score."""

MOSTLY_EMPTY = 0.75
"""Below this share of voxels kept by cropping, images are mostly background of value 0."""

Choice = str | ComponentRef
"""A normalization by its name, with options if it has any to be set."""


def normalization_of(channel: str, known: Sequence[str] = BY_CHANNEL_NAME) -> str:
    """The normalisation of ``known`` for a channel of this name; case does not matter."""
    return {name.casefold(): name for name in known}.get(channel.casefold(), "zscore")


def choose(
    channels: Sequence[str], known: Sequence[str], given: Mapping[str, Choice]
) -> tuple[Choice, ...]:
    """The normalisation of each channel: what is ``given`` for it, else what its name says.

    Raises ``PlanError`` when something is given for a channel that does not exist.
    """
    for name in given:
        if name not in channels:
            raise PlanError(
                f"planner.normalization names channel {name!r}, but the dataset has "
                f"{', '.join(channels)}."
            )
    return tuple(given.get(channel, normalization_of(channel, known)) for channel in channels)


def masks(normalization: Choice, relative_size: float) -> bool:
    """Whether only voxels inside the non-zero region count, and those outside stay 0."""
    return normalization == "zscore" and relative_size < MOSTLY_EMPTY
