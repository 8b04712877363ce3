"""Before the first step: how often each label will be in a patch, and how small its objects are.

Both come from the foreground coordinates that preprocessing has stored; no image is read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnseg_core.wording import some
from nnseg_standard.data.cache import PatchSource
from nnseg_standard.data.feed import PatchFeed
from nnseg_standard.data.sampling import centred, draw_box
from nnseg_standard.preprocessing.foreground import ANNOTATED, SAMPLES

PATCHES = 200
"""Drawn to estimate shares: enough to tell 1 % from 5 %."""

CASES = 100
"""Looked at, at most; coordinates of a case take a few milliseconds."""

LARGEST_BOX = 2**24
"""Voxels around a label in which its objects are told apart."""

RARE = 0.05
"""Labels in fewer patches than this are named one by one."""

NAMED = 8
"""Labels that are named in one line."""

log = logging.getLogger(__name__)

Coordinates = Mapping[str, NDArray[np.int32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """The smallest object whose voxels are all known: its label, its case, and their number."""

    voxels: int
    label: str
    case: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """``shares`` of patches with each label; ``absent`` labels are in no case at all."""

    shares: dict[str, float]
    smallest: Smallest | None
    absent: tuple[str, ...]


def say_outlook(feed: PatchFeed, names: Sequence[str]) -> None:
    """Log what is to be expected of a training with ``feed``."""
    outlook = look_ahead(feed, names)
    log.info("%s", sentence(outlook))
    if outlook.absent:
        log.warning(
            "no training case of this fold has %s, so it cannot be learned: choose another fold "
            "or split, or leave the label out of dataset.json",
            some(outlook.absent, NAMED),
        )


def look_ahead(feed: PatchFeed, names: Sequence[str]) -> Outlook:
    """Draw patches as ``feed`` does, and look which of the stored coordinates are inside."""
    cases = tuple(feed.identifiers[:CASES])
    foreground = cache(lambda case: _labels(feed.store, case))
    drawn = list(_patches(feed, cases))
    shares = {
        name: sum(_inside(foreground(case).get(name), box) for case, box in drawn) / len(drawn)
        for name in names
    }
    objects = (found for case in cases for found in _objects(case, foreground(case)))
    has = {name for case in cases for name, voxels in foreground(case).items() if len(voxels)}
    complete = len(cases) == len(feed.identifiers)
    return Outlook(
        shares=shares,
        smallest=min(objects, key=lambda found: found.voxels, default=None),
        absent=tuple(name for name in names if name not in has) if complete else (),
    )


def sentence(outlook: Outlook) -> str:
    """What is to be expected, in a line."""
    rare = [name for name, share in outlook.shares.items() if share < RARE]
    shown = rare or sorted(outlook.shares, key=lambda name: outlook.shares[name])[:3]
    shares = ", ".join(f"{name} in {outlook.shares[name]:.0%}" for name in shown[:NAMED])
    more = f" (and {len(shown) - NAMED} more)" if len(shown) > NAMED else ""
    found = outlook.smallest
    small = (
        f"; smallest object: {found.voxels} voxels ({found.label}, {found.case})" if found else ""
    )
    return f"training patches: {shares}{more}{small}"


Span = tuple[NDArray[np.int64], NDArray[np.int64]]


def _patches(feed: PatchFeed, cases: Sequence[str]) -> Iterator[tuple[str, Span]]:
    """Cases and patches as a training draws them, before they are turned and scaled."""
    random = np.random.default_rng(feed.seed)
    size = _volume(feed.patch_size)
    initial = _volume(feed.augmentation.initial_patch_size(feed.patch_size))
    for _ in range(PATCHES):
        case = cases[int(random.integers(len(cases)))]
        shape, foreground = feed.store.shape(case), feed.store.foreground(case)
        forced = bool(random.random() < feed.foreground_share)
        box = centred(draw_box(random, shape, foreground, initial, size, forced), size)
        yield case, (np.asarray(box.start), np.asarray(box.stop))


def _inside(voxels: NDArray[np.int32] | None, span: Span) -> bool:
    if voxels is None or not len(voxels):
        return False
    start, stop = span
    return bool(((voxels >= start) & (voxels < stop)).all(axis=1).any())


def _labels(store: PatchSource, case: str) -> Coordinates:
    return {name: found for name, found in store.foreground(case).items() if name != ANNOTATED}


def _objects(case: str, foreground: Coordinates) -> Iterator[Smallest]:
    """The smallest object of each label of which all voxels were stored."""
    for name, voxels in foreground.items():
        if not 0 < len(voxels) < SAMPLES:
            continue
        corner = voxels.min(axis=0)
        size = voxels.max(axis=0) - corner + 1
        if int(np.prod(size, dtype=np.int64)) > LARGEST_BOX:
            continue
        mask = np.zeros(size, dtype=bool)
        mask[tuple((voxels - corner).T)] = True
        objects, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, 3))
        yield Smallest(voxels=int(np.bincount(objects[mask])[1:].min()), label=name, case=case)


def _volume(size: Sequence[int]) -> tuple[int, ...]:
    """A slice as a volume."""
    return (1,) * (3 - len(size)) + tuple(size)
