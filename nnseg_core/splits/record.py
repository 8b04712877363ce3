"""Folds as records: which cases train, which validate, and how that came about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nnseg_core.errors import DatasetError, NnsegError

SEED = 12345  # nnU-Net's


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Case identifiers of one fold."""

    train: tuple[str, ...]
    validation: tuple[str, ...]

    def agrees_with(self, other: Split) -> bool:
        """Whether no case that both know changes sides."""
        return not (
            set(self.train) & set(other.validation) or set(self.validation) & set(other.train)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Which group each case belongs to: a patient, or a site.

    ``source`` is what they came from: ``names``, a regular expression, or the path of a table.
    ``sha256`` is that of the groups, so that two runs can be compared without them.
    """

    source: str
    of: dict[str, str]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The folds of a dataset, and how they were made.

    ``scheme`` is ``k-fold`` (nnU-Net's), ``groups``, ``stratified``, ``groups, stratified``,
    ``sites``, ``fixed`` or ``file``. ``cases`` are all that were known when they were made: what
    is among them and in no fold was left out on purpose, what is not among them is new.
    ``source`` is the file that the folds were read from. Folds may be edited by hand.
    """

    scheme: str
    cases: tuple[str, ...]
    seed: int | None = None
    groups: Grouping | None = None
    sites: Grouping | None = None
    source: str | None = None
    folds: tuple[Split, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.folds:
            raise ValueError("there are no folds")
        for number, split in enumerate(self.folds):
            if both := sorted(set(split.train) & set(split.validation)):
                raise ValueError(f"in fold {number}, {both[0]} is to train and to validate")

    @property
    def members(self) -> frozenset[str]:
        """All cases that are in a fold."""
        return frozenset(name for fold in self.folds for name in (*fold.train, *fold.validation))


def grouping(source: str, groups: Mapping[str, str]) -> Grouping:
    """A grouping with its hash."""
    ordered = dict(sorted(groups.items()))
    digest = hashlib.sha256(json.dumps(ordered).encode()).hexdigest()
    return Grouping(source=source, of=ordered, sha256=digest)


def choose_split(splits: Sequence[Split], fold: str, identifiers: Collection[str]) -> Split:
    """The split of ``fold``: a number, or ``all`` for every case in both halves.

    Raises ``NnsegError`` for a fold that there is none of, naming those there are.
    """
    names = tuple(sorted(identifiers))
    if fold == "all":
        return Split(train=names, validation=names)
    if not fold.isdecimal():
        raise NnsegError(f"fold must be a number or 'all', not {fold!r}.")
    if int(fold) >= len(splits):
        there = "fold 0 only" if len(splits) == 1 else f"folds 0 to {len(splits) - 1}"
        raise NnsegError(
            f"there is no fold {fold}: the dataset has {there}. 'nnseg split DATASET --folds "
            f"{int(fold) + 1}' would draw more."
        )
    return splits[int(fold)]


def require_unbroken(folds: Sequence[Split], groups: Mapping[str, str], what: str) -> None:
    """Raise ``DatasetError`` for a group that has cases in both halves of a fold.

    ``what`` begins the message, as in "the folds of splits_final.json".
    """
    for number, split in enumerate(folds):
        if broken := broken_groups(split, groups):
            name = broken[0]
            train = next(case for case in split.train if groups.get(case) == name)
            validation = next(case for case in split.validation if groups.get(case) == name)
            raise DatasetError(
                f"{what}: in fold {number}, group {name!r} trains with {train} and validates with "
                f"{validation}. A group must be on one side."
            )


def broken_groups(split: Split, groups: Mapping[str, str]) -> list[str]:
    """Groups with cases in both halves, sorted."""
    halves = ({groups[case] for case in half if case in groups} for half in _halves(split))
    return sorted(set.intersection(*halves))


def _halves(split: Split) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return split.train, split.validation
