"""Which axes may be mirrored: not the one that swaps left and right, where labels name sides.

nnU-Net mirrors along all axes, so that its networks cannot tell a left kidney from a right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnseg_core.dataset.labels import Labels
from nnseg_core.dataset.laterality import lateral_pairs, usual_axis
from nnseg_core.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirroring:
    """Labels that come in pairs, and the axis of the files (z, y, x) that is not mirrored for them.

    ``agreeing`` of ``cases`` have left and right along it; there are none where nobody measured.
    """

    pairs: tuple[tuple[str, str], ...]
    axis: int
    agreeing: int
    cases: int

    def axes_of(self, patch_axes: Sequence[int]) -> tuple[int, ...] | None:
        """The axes to mirror of a patch that has these axes of the files; None for all."""
        if not self.pairs or self.axis not in patch_axes:
            return None
        return tuple(place for place, axis in enumerate(patch_axes) if axis != self.axis)


def mirroring(labels: Labels, fingerprint: Fingerprint) -> Mirroring:
    """What the names of the labels and the orientation of the images say."""
    axis = usual_axis(fingerprint.left_right)
    return Mirroring(
        pairs=lateral_pairs(labels.values),
        axis=axis,
        agreeing=fingerprint.left_right.count(axis),
        cases=len(fingerprint.left_right),
    )
