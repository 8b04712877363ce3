"""Which channel or label of one dataset is which of another: by name."""

from __future__ import annotations

from collections.abc import Sequence


def counterparts(names: Sequence[str], others: Sequence[str]) -> tuple[int | None, ...]:
    """For each of ``names`` its place among ``others``, None where it is missing there.

    Case and outer spaces do not count; the first of equal names is taken.
    """
    places = {_folded(other): place for place, other in reversed(list(enumerate(others)))}
    return tuple(places.get(_folded(name)) for name in names)


def _folded(name: str) -> str:
    return name.strip().casefold()
