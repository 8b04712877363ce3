"""Draw folds: as nnU-Net does, by groups, balanced by labels, by sites, or with cases given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from nnseg_core.errors import DatasetError, NnsegError
from nnseg_core.splits.balance import balance
from nnseg_core.splits.record import SEED, Split
from nnseg_core.wording import some

Presence = Mapping[str, Collection[str]]
"""The labels that occur in each case."""


def make_splits(identifiers: Sequence[str], folds: int = 5, seed: int = SEED) -> tuple[Split, ...]:
    """The folds nnU-Net draws: shuffled k-fold over the sorted identifiers, seed 12345.

    Raises ``NnsegError`` when there are fewer cases than folds.
    """
    names = np.array(sorted(identifiers))
    _require_enough(len(names), folds, "cases")
    shuffled = np.random.RandomState(seed).permutation(len(names))
    chosen = (set(names[part].tolist()) for part in np.array_split(shuffled, folds))
    return tuple(_split(identifiers, validation) for validation in chosen)


def make_balanced_splits(
    identifiers: Sequence[str],
    folds: int = 5,
    seed: int = SEED,
    groups: Mapping[str, str] | None = None,
    presence: Presence | None = None,
) -> tuple[Split, ...]:
    """Folds of equal size that keep groups whole, and share out labels where ``presence`` is given.

    Raises ``NnsegError`` when there are fewer cases or groups than folds.
    """
    names = sorted(identifiers)
    units: dict[str, list[str]] = {}
    for name in names:
        units.setdefault(groups[name] if groups else name, []).append(name)
    _require_enough(len(units), folds, "groups" if groups else "cases")
    labels = sorted({label for name in names for label in (presence or {}).get(name, ())})
    counts = [
        [len(unit), *(sum(label in (presence or {})[name] for name in unit) for label in labels)]
        for unit in units.values()
    ]
    dealt = balance(np.array(counts, dtype=np.int64), folds, seed)
    validations: list[set[str]] = [set() for _ in range(folds)]
    for unit, fold in zip(units.values(), dealt, strict=True):
        validations[fold].update(unit)
    return tuple(_split(names, validation) for validation in validations)


def leave_one_site_out(
    identifiers: Sequence[str], sites: Mapping[str, str]
) -> tuple[tuple[str, Split], ...]:
    """A fold per site, sorted by name: its cases validate, those of all other sites train.

    Raises ``NnsegError`` when there is one site only.
    """
    names = sorted({sites[name] for name in identifiers})
    if len(names) < 2:
        raise NnsegError(
            f"all cases are of one site ({names[0]}): to leave one out, there must be two or more."
        )
    return tuple(
        (site, _split(identifiers, {name for name in identifiers if sites[name] == site}))
        for site in names
    )


def validate_with(identifiers: Sequence[str], validation: Collection[str]) -> tuple[Split, ...]:
    """One fold whose validation cases are given; all others train.

    Raises ``DatasetError`` where the dataset lacks one of them, or none is left to train on.
    """
    unknown = sorted(set(validation) - set(identifiers))
    if unknown:
        raise DatasetError(
            f"the fixed validation set names cases that the dataset does not have: "
            f"{some(unknown)}. It has {len(identifiers)}, such as {sorted(identifiers)[0]}."
        )
    split = _split(identifiers, set(validation))
    if not split.train or not split.validation:
        raise DatasetError(
            f"{len(validation)} of {len(identifiers)} cases are in the fixed validation set; there "
            "must be cases to train on and cases to validate with."
        )
    return (split,)


def _split(identifiers: Iterable[str], validation: Collection[str]) -> Split:
    names = sorted(identifiers)
    return Split(
        train=tuple(name for name in names if name not in validation),
        validation=tuple(name for name in names if name in validation),
    )


def _require_enough(units: int, folds: int, what: str) -> None:
    if folds < 2:
        raise NnsegError(
            f"--folds {folds}: there must be two or more. For one fold, name its validation cases "
            "with --fixed-validation; --fold all trains on everything."
        )
    if units < folds:
        fewer = f", or draw fewer: nnseg split DATASET --folds {units}" if units > 1 else ""
        raise NnsegError(
            f"{units} {what} cannot be split into {folds} folds. Train with --fold all, "
            f"which uses every case for training and validation{fewer}."
        )
