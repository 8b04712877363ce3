"""Left and right: labels that come in pairs, and the axis along which a mirror would swap them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from nnseg_core.geometry import Geometry

SIDES = {"left": "left", "right": "right", "lt": "left", "rt": "right", "l": "left", "r": "right"}
"""Words that say on which side; single letters do at the beginning and end of a name only."""

ACROSS = 2
"""The array axis (z, y, x) that runs from left to right in a usual scan, and in a picture."""


def lateral_pairs(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Names that differ in nothing but their side, such as ``kidney_l`` and ``kidney_r``.

    Left comes first. Case, order of the words and what stands between them do not matter.
    """
    sides: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = [word.casefold() for word in re.findall(r"\d+|[^\W\d_]?[^\W\dA-Z_]+|[A-Z]+", name)]
        for place, word in enumerate(words):
            if word in SIDES and (len(word) > 1 or place in (0, len(words) - 1)):
                rest = tuple(sorted(words[:place] + words[place + 1 :]))
                sides.setdefault(rest, {}).setdefault(SIDES[word], name)
                break
    return tuple((two["left"], two["right"]) for two in sides.values() if len(two) == 2)


def left_right_axis(geometry: Geometry) -> int:
    """The array axis (z, y, x) that lies closest to the patient's left-right direction.

    ``direction`` has the axes of the file (x, y, z) as columns, and the patient's, of which the
    first runs from right to left, as rows (ITK's convention). A picture has no patient: its width.
    """
    if len(geometry.direction) != 9:
        return ACROSS
    sideways = np.abs(np.reshape(geometry.direction, (3, 3))[0])
    return 2 - int(sideways.argmax())


def usual_axis(axes: Sequence[int]) -> int:
    """What most cases have, the later axis of equal ones; without any, that of usual scans."""
    return max(range(3), key=lambda axis: (axes.count(axis), axis)) if axes else ACROSS
