"""What only all cases together decide: which values masks hold, and how many channels there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nnseg_core.dataset import BACKGROUND, IGNORE, DatasetDescription
from nnseg_core.fixing.case import Mended
from nnseg_core.fixing.change import Change
from nnseg_core.fixing.source import COLOURS

WHITE = 255
"""What pictures of masks hold for foreground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Changes to ``dataset.json``, and the masks in which 255 becomes another value.

    ``codes`` are those of the findings that are mended by it.
    """

    raw: dict[str, Any] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    masks: tuple[str, ...] = ()
    codes: frozenset[str] = frozenset()


def settle_values(description: DatasetDescription, mended: Sequence[Mended]) -> Settled:
    """Make one label of masks that hold 255 instead of its value.

    Where all masks do, 255 is declared: not a voxel changes, and predictions hold 255 as well.
    Where some do, those get the declared value. Masks that hold both are left alone: nobody knows
    what 255 means in them.
    """
    labels = description.labels
    if labels.is_regions or len(labels.foreground) != 1 or labels.foreground == (WHITE,):
        return Settled()
    (name,), (value,) = labels.values, labels.foreground
    held = {m.identifier: m.check.voxels.keys() - {0} for m in mended if m.check.voxels}
    white = tuple(sorted(case for case, values in held.items() if values == {WHITE}))
    others = set().union(*(values for case, values in held.items() if case not in white))
    if not white or not others <= {value, *labels.ignored}:
        return Settled()
    codes = frozenset({"mask-255"})
    if others:
        changes = tuple(Change("mask-255", f"255 is now {value}", case) for case in white)
        return Settled(changes=changes, masks=white, codes=codes)
    declared: dict[str, Any] = {BACKGROUND: 0, name: WHITE}
    declared |= {IGNORE: labels.ignore} if labels.ignored else {}
    message = f"{name!r} is declared as 255, as the masks have it; predictions will have it too"
    change = Change("mask-255", message, file="dataset.json")
    return Settled(raw={"labels": declared}, changes=(change,), codes=codes)


def settle_channels(description: DatasetDescription, mended: Sequence[Mended]) -> Settled:
    """Name the channels that every case has beyond those that dataset.json names."""
    named, counts = description.channels, {m.channels for m in mended if m.channels is not None}
    if len(counts) != 1 or (count := counts.pop()) <= len(named):
        return Settled()
    planar = any(m.check.geometry is not None and m.check.geometry.is_planar for m in mended)
    names = (*named, *(f"channel_{number}" for number in range(len(named), count)))
    names = COLOURS if planar and count == len(COLOURS) else names
    message = f"channel_names are now {', '.join(names)}: every case has {count} channels"
    return Settled(
        raw={"channel_names": {str(number): name for number, name in enumerate(names)}},
        changes=(Change("joined", message, file="dataset.json"),),
        codes=frozenset({"joined", "channels"}),
    )
