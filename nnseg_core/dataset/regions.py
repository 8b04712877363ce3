"""Regions: which value each is painted with in a mask, and in which order.

A region is a set of label values. Where one holds another, the larger is painted first, so that
the nested one paints over it; which follows from the sets, whatever order they are listed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

Regions = Mapping[str, tuple[int, ...]]


def overlapping(regions: Regions) -> tuple[str, str] | None:
    """Two regions whose order does not follow from their values: they share some, or are equal."""
    for (one, first), (other, second) in combinations(regions.items(), 2):
        a, b = set(first), set(second)
        if a & b and not (a < b or b < a):
            return one, other
    return None


def painted(regions: Regions, order: tuple[str, ...] | None = None) -> dict[str, int]:
    """The value that each region is painted with, in the order of painting.

    By default larger regions come first. A region is painted with the lowest of its values that
    no region nested in it has, which is what is left of it when those are painted over.
    """
    names = order or tuple(sorted(regions, key=lambda name: _size_then_values(regions[name])))
    return {name: _own_value(set(regions[name]), regions) for name in names}


def erased(regions: Regions) -> tuple[tuple[str, str], ...]:
    """Pairs of a region and a larger one that is painted over it, by the order of ``regions``.

    Such a region is in no mask ever.
    """
    return tuple(
        (one, later)
        for (one, first), (later, second) in combinations(regions.items(), 2)
        if set(first) < set(second)
    )


def _size_then_values(values: tuple[int, ...]) -> tuple[int, list[int]]:
    return -len(set(values)), sorted(values)


def _own_value(values: set[int], regions: Regions) -> int:
    nested = [set(other) for other in regions.values() if set(other) < values]
    return min(values.difference(*nested) or values)
