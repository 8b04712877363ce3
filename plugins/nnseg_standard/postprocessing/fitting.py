"""Which structures to reduce to one object: those whose Dice is better for it (nnU-Net's rule)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nnseg_core.contracts import Postprocessor, PredictedCases

Scores = Mapping[str, float | None]
"""Mean Dice by label; None for one that occurs nowhere."""

Structure = str | list[str]
"""A label or region by name, or several that together are one object."""


def objects_that_help(
    cases: PredictedCases,
    unchanged: Postprocessor,
    cleaned: Callable[[list[Structure]], Postprocessor],
) -> list[Structure]:
    """The structures to clean, one after the other; none where masks are better as they are.

    First the whole foreground as one object: kept if the mean of the labels rises and no label
    falls. Then each label or region on top of that, kept if its own Dice rises. ``cleaned`` makes
    the postprocessor for some structures.
    """
    names = list(cases.labels.values)
    foreground: Structure = names if len(names) > 1 else names[0]
    before, together = cases.dice([unchanged, cleaned([foreground])])
    kept = [foreground] if _helps(together, before) else []
    if len(names) == 1:
        return kept
    best = together if kept else before
    if cases.labels.is_regions:
        return _one_by_one(cases, cleaned, names, kept, best)
    # Cleaning one class changes no voxel of another: all of them can be tried at once.
    (each,) = cases.dice([cleaned([*kept, *names])])
    return [*kept, *(name for name in names if _rises(each[name], best[name]))]


def _one_by_one(
    cases: PredictedCases,
    cleaned: Callable[[list[Structure]], Postprocessor],
    names: Sequence[str],
    kept: list[Structure],
    best: Scores,
) -> list[Structure]:
    """Regions overlap, so that each is tried on top of those before it."""
    for name in names:
        (trial,) = cases.dice([cleaned([*kept, name])])
        if _rises(trial[name], best[name]):
            kept, best = [*kept, name], trial
    return kept


def _helps(after: Scores, before: Scores) -> bool:
    fallen = any(_rises(before[name], after[name]) for name in before)
    return not fallen and _rises(_mean(after), _mean(before))


def _rises(after: float | None, before: float | None) -> bool:
    return after is not None and (before is None or after > before)


def _mean(scores: Scores) -> float | None:
    known = [score for score in scores.values() if score is not None]
    return sum(known) / len(known) if known else None
