"""The labels of a ``dataset.json``: values and regions by name, ignored values, painting order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnseg_core.dataset import regions
from nnseg_core.dataset.entries import are_all, meant, near, optional
from nnseg_core.dataset.labels import BACKGROUND, IGNORE, Labels
from nnseg_core.errors import DatasetError

ORDER = "regions_class_order"


def read_labels(entries: Mapping[str, Any], raw: Mapping[str, Any], source: Path) -> Labels:
    """Labels from the ``labels`` of a ``dataset.json``, which is ``raw``.

    A list makes a region, of values or of names of other labels. The order of painting follows
    from the regions, unless ``regions_class_order`` gives it: by nnU-Net's integers, one for each
    region as they are listed, or by the names of the regions, those to paint first first.

    Raises ``DatasetError`` where something does not fit together.
    """
    if all(value.isdecimal() for value in entries):
        entries = {str(name): int(value) for value, name in entries.items()}  # nnU-Net v1
    if entries.get(BACKGROUND) not in (0, [0]):
        close = near(BACKGROUND, entries)
        raise DatasetError(
            f'labels in {source} need "background": 0'
            + (f"; they have {close!r}: {entries[close]!r}." if close else ".")
        )
    covered = {name: _values(name, entries, source) for name in entries}
    covered.pop(BACKGROUND)
    ignored = covered.pop(IGNORE, ())
    order = optional(raw, ORDER, list, source) or []
    if any(len(values) > 1 for values in covered.values()):
        covered, order = _in_order(covered, order, source)
    elif not are_all(int, order):
        raise DatasetError(f"{ORDER} in {source} must hold integers; it is {order}.")
    try:
        return Labels(
            values=covered,
            ignore=(ignored[0] if len(ignored) == 1 else ignored) if ignored else None,
            paint_order=tuple(order),
        )
    except ValueError as error:
        raise DatasetError(f"labels in {source}: {error}.") from None


def _values(
    name: str, entries: Mapping[str, Any], source: Path, within: tuple[str, ...] = ()
) -> tuple[int, ...]:
    """The values that a label covers; ``within`` are the regions that have led to it."""
    value = entries[name]
    parts = value if isinstance(value, list) else [value]
    if are_all(int, parts):
        return tuple(parts)
    if not isinstance(value, list) or not all(type(part) in (int, str) for part in parts):
        raise DatasetError(
            f"label {name!r} in {source} must be an integer, or for a region a list of integers or "
            f"of other labels' names; it is {value!r}."
        )
    path = (*within, name)
    found: set[int] = set()
    for part in parts:
        found |= {part} if isinstance(part, int) else _named(part, entries, source, path)
    return tuple(sorted(found))


def _named(
    name: str, entries: Mapping[str, Any], source: Path, within: tuple[str, ...]
) -> set[int]:
    region = within[-1]
    known = [other for other in entries if other not in (BACKGROUND, IGNORE, region)]
    if name in within:
        circle = " of ".join(map(repr, (*within[within.index(name) :], name)))
        raise DatasetError(f"region {region!r} in {source} is part of itself: {circle}.")
    if name not in known:
        raise DatasetError(
            f"region {region!r} in {source} names {name!r}, which is no label that it can hold. "
            f"{meant(name, known)}"
        )
    return set(_values(name, entries, source, within))


def _in_order(
    covered: dict[str, tuple[int, ...]], order: Sequence[Any], source: Path
) -> tuple[dict[str, tuple[int, ...]], list[int]]:
    """Regions in the order of painting, and what each is painted with."""
    if order and are_all(int, order):
        return covered, list(order)
    if order:
        return _by_names(covered, order, source)
    if unclear := regions.overlapping(covered):
        one, other = unclear
        raise DatasetError(
            f"regions {one!r} {covered[one]} and {other!r} {covered[other]} in {source} overlap, "
            "and neither is a part of the other: say which is painted over which, by "
            f'"{ORDER}": [names of all regions, those to paint first first].'
        )
    painted = regions.painted(covered)
    return {name: covered[name] for name in painted}, list(painted.values())


def _by_names(
    covered: dict[str, tuple[int, ...]], order: Sequence[Any], source: Path
) -> tuple[dict[str, tuple[int, ...]], list[int]]:
    for name in order:
        if name not in covered:
            raise DatasetError(
                f"{ORDER} in {source} must hold the names of the regions, or an integer for each; "
                f"it has {name!r}. {meant(str(name), covered)}"
            )
    if sorted(order) != sorted(covered):
        raise DatasetError(
            f"{ORDER} in {source} must name every region once: {', '.join(covered)}; "
            f"it is {list(order)}."
        )
    painted = regions.painted(covered, tuple(order))
    return {name: covered[name] for name in order}, list(painted.values())
