"""Deal units of cases to folds so that every fold gets the same share of everything.

A unit is a case, or all cases of a patient. What is to be shared out is how many cases a fold has,
and of how many of them each label is part. The sum of squares of these counts is smallest where
they are equal: units are moved and swapped between folds for as long as that makes it smaller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

ATTEMPTS = 20
"""Beginnings from which the best result is taken, as swaps alone may end in a poor one."""

PAIRS = 5_000_000
"""Pairs of units looked at over all attempts, about: many units share out well at once."""


def balance(units: Counts, folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each unit. ``units`` is (unit, quantity), its first column the cases of a unit.

    The same for the same seed. No fold is empty where there are as many units as folds.
    """
    random = np.random.RandomState(seed)
    attempts = max(1, min(ATTEMPTS, PAIRS // max(len(units) ** 2, 1)))
    best, lowest = np.zeros(len(units), dtype=np.intp), np.inf
    for _ in range(attempts):
        dealt = _improve(units, _deal(units[:, 0], folds, random), folds)
        counts = count(units, dealt, folds)
        if (cost := float(np.square(counts).sum())) < lowest:
            best, lowest = dealt, cost
        if (np.ptp(counts, axis=0) <= 1).all():  # nothing can be better
            return dealt
    return best


def count(units: Counts, dealt: NDArray[np.intp], folds: int) -> Counts:
    """What each fold has of each quantity: (fold, quantity)."""
    counts = np.zeros((folds, units.shape[1]), dtype=np.int64)
    np.add.at(counts, dealt, units)
    return counts


def _deal(sizes: Counts, folds: int, random: np.random.RandomState) -> NDArray[np.intp]:
    """The largest first, each to the fold that has least so far; equals in random order."""
    shuffled = random.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    dealt, filled = np.zeros(len(sizes), dtype=np.intp), np.zeros(folds, dtype=np.int64)
    for unit in order:
        dealt[unit] = fold = int(filled.argmin())
        filled[fold] += sizes[unit]
    return dealt


def _improve(units: Counts, dealt: NDArray[np.intp], folds: int) -> NDArray[np.intp]:
    """Move and swap units while the sum of squares falls.

    Units of one size are only swapped: dealt one by one, they are shared out already.
    """
    counts = count(units, dealt, folds)
    squares = np.square(units).sum(axis=1)
    may_move = len(set(units[:, 0].tolist())) > 1
    improved = True
    while improved:
        improved = False
        for unit in range(len(units)):
            here = dealt[unit]
            if may_move:
                costs = (counts - counts[here]) @ units[unit] + squares[unit]
                costs[here] = 0
                there = int(costs.argmin())
                if costs[there] < 0:
                    counts[here] -= units[unit]
                    counts[there] += units[unit]
                    dealt[unit], improved = there, True
                    continue
            other = _best_swap(unit, units, squares, dealt, counts)
            if other is not None:
                there = dealt[other]
                difference = units[other] - units[unit]
                counts[here] += difference
                counts[there] -= difference
                dealt[unit], dealt[other], improved = there, here, True
    return dealt


def _best_swap(
    unit: int, units: Counts, squares: Counts, dealt: NDArray[np.intp], counts: Counts
) -> int | None:
    """The unit of another fold to swap with, if one makes the sum of squares smaller."""
    here = dealt[unit]
    gaps = counts[here] - counts  # per fold: what this one has more
    change = (units * gaps[dealt]).sum(axis=1) - (gaps @ units[unit])[dealt]
    change += squares + squares[unit] - 2 * (units @ units[unit])
    change[dealt == here] = 0
    best = int(change.argmin())
    return best if change[best] < 0 else None
