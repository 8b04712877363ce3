"""Bring folds up to date with a dataset that has gained or lost cases. Nothing else moves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from nnseg_core.splits.draw import Presence
from nnseg_core.splits.record import Grouping, Split, Splits


def new_cases(splits: Splits, identifiers: Collection[str]) -> list[str]:
    """The cases that the folds know nothing of, sorted; not those that were left out of them."""
    return sorted(set(identifiers) - set(splits.cases) - splits.members)


def gone_cases(splits: Splits, identifiers: Collection[str]) -> list[str]:
    """The cases in folds that the dataset does not have, sorted."""
    return sorted(splits.members - set(identifiers))


def without_cases(splits: Splits, gone: Collection[str]) -> Splits:
    """The folds without the cases that the dataset has no more."""
    kept = (
        Split(
            train=tuple(name for name in fold.train if name not in gone),
            validation=tuple(name for name in fold.validation if name not in gone),
        )
        for fold in splits.folds
    )
    cases = tuple(name for name in splits.cases if name not in gone)
    return replace(splits, folds=tuple(kept), cases=cases)


def with_cases(
    splits: Splits,
    added: Sequence[str],
    groups: Grouping | None = None,
    sites: Grouping | None = None,
    presence: Presence | None = None,
) -> Splits:
    """The folds with new cases dealt to them; each validates in one fold and trains in the others.

    A new group goes to the fold that validates with the fewest cases, then the fewest of its
    labels; more cases of a group go where the group is. A single fold only trains with new groups.
    A new site is a fold of its own. ``groups`` and ``sites`` know the new cases too.
    """
    folds = list(splits.folds)
    belongs = sites or groups
    unit_of = belongs.of if belongs else {}
    units: dict[str, list[str]] = {}
    for name in sorted(added):
        units.setdefault(unit_of.get(name, name), []).append(name)
    for unit, cases in units.items():
        known = frozenset(case for case, its in unit_of.items() if its == unit) & splits.members
        if known:
            folds = [_joined(fold, cases, known) for fold in folds]
        elif sites:
            before = {name for fold in folds for name in (*fold.train, *fold.validation)}
            folds = [_extended(fold, train=cases) for fold in folds]
            folds.append(Split(train=tuple(sorted(before)), validation=tuple(cases)))
        else:
            folds = _dealt(folds, cases, presence)
    return replace(
        splits,
        folds=tuple(folds),
        cases=tuple(sorted({*splits.cases, *added})),
        groups=groups,
        sites=sites,
    )


def _dealt(folds: list[Split], cases: list[str], presence: Presence | None) -> list[Split]:
    """The folds with a unit of new cases, which one of several folds validates with."""
    if len(folds) == 1:
        return [_extended(folds[0], train=cases)]
    labels = {label for case in cases for label in (presence or {}).get(case, ())}

    def load(number: int) -> tuple[int, int]:
        validation = folds[number].validation
        found = (labels & set((presence or {}).get(case, ())) for case in validation)
        return len(validation), sum(map(len, found))

    chosen = min(range(len(folds)), key=load)
    return [
        _extended(fold, validation=cases) if number == chosen else _extended(fold, train=cases)
        for number, fold in enumerate(folds)
    ]


def _joined(fold: Split, cases: list[str], known: frozenset[str]) -> Split:
    """The fold with more cases of a group, on the side where the group is."""
    if known & set(fold.validation):
        return _extended(fold, validation=cases)
    return _extended(fold, train=cases) if known & set(fold.train) else fold


def _extended(fold: Split, train: Sequence[str] = (), validation: Sequence[str] = ()) -> Split:
    return Split(
        train=tuple(sorted((*fold.train, *train))),
        validation=tuple(sorted((*fold.validation, *validation))),
    )
