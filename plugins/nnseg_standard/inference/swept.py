"""Logits whose slices are computed as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SweptLogits:
    """Logits (output, z, y, x), of which ``logits[:, start:stop]`` gives slices, in rising order.

    Slices before the last ``start`` are gone. ``np.asarray`` keeps them all, in float32.
    """

    def __init__(self, slabs: Iterator[NDArray[np.floating]], slices: int) -> None:
        """``slabs`` (output, some slices, y, x) follow each other and are overwritten in turn."""
        slab = next(slabs)
        self.shape = (len(slab), slices, *slab.shape[2:])
        self._slabs = slabs
        self._held: list[tuple[int, NDArray[np.floating]]] = [(0, slab)]  # with their first slice

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[np.floating]:
        """Raises ``ValueError`` for slices that are gone."""
        outputs, slices = index
        start, stop, _ = slices.indices(self.shape[1])
        self._let_go(start)
        while self._end < stop:
            self._advance()
        parts = [
            slab[outputs, max(start - first, 0) : stop - first]
            for first, slab in self._held
            if first < stop and start < first + slab.shape[1]
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:, :], dtype=dtype or np.float32)

    @property
    def _end(self) -> int:
        first, slab = self._held[-1]
        return first + int(slab.shape[1])

    def _let_go(self, start: int) -> None:
        """Forget what lies before ``start``."""
        gone = self._held[0][0]
        if start < gone:
            raise ValueError(
                f"slices {start} to {gone} of these logits are gone. Ask for slices in rising "
                "order, or keep all of them: numpy.asarray(logits)."
            )
        cuts = [min(max(start - first, 0), slab.shape[1]) for first, slab in self._held]
        self._held = [
            (first + cut, slab[:, cut:])
            for (first, slab), cut in zip(self._held, cuts, strict=True)
        ]

    def _advance(self) -> None:
        """Take the next slab. It overwrites the last one, whose rest is copied before."""
        end = self._end
        first, slab = self._held.pop()
        kept = [*self._held, (first, slab.copy())]
        self._held = [(first, slab) for first, slab in kept if slab.shape[1]]
        self._held.append((end, next(self._slabs)))
