"""Folds: nnU-Net's equal scikit-learn's, no group crosses a split, labels are shared out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nnseg_core.errors import DatasetError, NnsegError
from nnseg_core.splits import (
    broken_groups,
    choose_split,
    leave_one_site_out,
    make_balanced_splits,
    make_splits,
    validate_with,
)
from nnseg_core.splits.balance import balance, count

NAMES = [f"case_{number:02d}" for number in range(12)]


def test_folds_validate_every_case_once() -> None:
    splits = make_splits(NAMES)

    assert sorted(name for split in splits for name in split.validation) == NAMES
    assert all(not set(split.train) & set(split.validation) for split in splits)


def test_folds_are_those_of_shuffled_k_fold_with_seed_12345() -> None:
    # KFold(5, shuffle=True, random_state=12345).split(range(12)) in scikit-learn 1.7
    expected = [[0, 3, 8], [7, 10, 11], [6, 9], [1, 4], [2, 5]]

    assert [
        [int(name[-2:]) for name in split.validation] for split in make_splits(NAMES)
    ] == expected


def test_the_order_of_names_does_not_matter() -> None:
    assert make_splits(NAMES[::-1]) == make_splits(NAMES)


def test_too_few_cases_say_what_to_do() -> None:
    with pytest.raises(NnsegError) as raised:
        make_splits(NAMES[:3])

    assert str(raised.value) == (
        "3 cases cannot be split into 5 folds. Train with --fold all, which uses every case for "
        "training and validation, or draw fewer: nnseg split DATASET --folds 3."
    )


def test_fold_all_trains_and_validates_on_everything() -> None:
    split = choose_split((), "all", NAMES[::-1])

    assert split.train == split.validation == tuple(NAMES)


def test_a_fold_beyond_the_last_is_refused_with_the_folds_there_are() -> None:
    with pytest.raises(NnsegError) as raised:
        choose_split(make_splits(NAMES), "7", NAMES)

    assert str(raised.value) == (
        "there is no fold 7: the dataset has folds 0 to 4. 'nnseg split DATASET --folds 8' would "
        "draw more."
    )


def test_a_fold_must_be_a_number_or_all() -> None:
    with pytest.raises(NnsegError, match="fold must be a number or 'all', not 'first'"):
        choose_split(make_splits(NAMES), "first", NAMES)


@pytest.mark.parametrize("seed", range(60))
def test_no_group_crosses_a_split_and_every_case_validates_once(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"c{number}" for number in range(int(random.integers(12, 80)))]
    patients = int(random.integers(6, len(names)))
    groups = {name: f"p{random.integers(patients)}" for name in names}
    folds = int(random.integers(2, min(6, len(set(groups.values())) + 1)))
    labels = {n: frozenset(np.flatnonzero(random.random(4) < 0.4).astype(str)) for n in names}

    splits = make_balanced_splits(names, folds, seed, groups, labels if seed % 2 else None)

    assert sorted(name for split in splits for name in split.validation) == sorted(names)
    for split in splits:
        assert broken_groups(split, groups) == []
        assert sorted((*split.train, *split.validation)) == sorted(names)
        assert split.validation


@pytest.mark.parametrize("seed", range(30))
def test_labels_are_balanced_within_one_case_where_they_can_be(seed: int) -> None:
    """Three labels, from rare to common; that they can be balanced was found by trying."""
    random = np.random.default_rng(seed)
    names = [f"c{number:02d}" for number in range(int(random.integers(20, 60)))]
    shares = {"rare": 0.15, "half": 0.5, "common": 0.9}
    labels = {
        name: frozenset(label for label, share in shares.items() if random.random() < share)
        for name in names
    }

    splits = make_balanced_splits(names, 5, presence=labels)

    sizes = [len(split.validation) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for label in shares:
        counts = [sum(label in labels[name] for name in split.validation) for split in splits]
        assert max(counts) - min(counts) <= 1, (label, counts)


@pytest.mark.parametrize("seed", range(12))
def test_two_folds_are_as_even_as_the_best_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    units = np.column_stack([np.ones(10, dtype=np.int64), random.random((10, 3)) < 0.4])

    dealt = balance(units.astype(np.int64), 2, seed=0)

    def cost(first: tuple[int, ...]) -> int:
        folds = np.array([int(unit in first) for unit in range(10)])
        return int(np.square(count(units, folds, 2)).sum())

    best = min(cost(first) for first in combinations(range(10), 5))
    assert cost(tuple(np.flatnonzero(dealt))) == best


def test_one_seed_draws_one_balance_and_another_draws_another() -> None:
    labels = {name: frozenset({"a"} if name < "case_05" else ()) for name in NAMES}

    first = make_balanced_splits(NAMES, 3, 1, presence=labels)
    assert first == make_balanced_splits(NAMES[::-1], 3, 1, presence=labels)
    assert first != make_balanced_splits(NAMES, 3, 2, presence=labels)


def test_fewer_groups_than_folds_are_refused() -> None:
    groups = {name: name[-1] if name < "case_03" else "0" for name in NAMES}

    with pytest.raises(NnsegError, match="3 groups cannot be split into 5 folds"):
        make_balanced_splits(NAMES, 5, groups=groups)


def test_each_site_is_left_out_once() -> None:
    sites = {name: "Ulm" if name < "case_04" else "Bonn" for name in NAMES}

    folds = dict(leave_one_site_out(NAMES, sites))

    assert list(folds) == ["Bonn", "Ulm"]
    assert folds["Ulm"].validation == folds["Bonn"].train == tuple(NAMES[:4])


def test_one_site_cannot_be_left_out() -> None:
    with pytest.raises(NnsegError, match=r"all cases are of one site \(Ulm\)"):
        leave_one_site_out(NAMES, dict.fromkeys(NAMES, "Ulm"))


def test_a_fixed_validation_set_is_one_fold() -> None:
    (split,) = validate_with(NAMES, ["case_03", "case_01"])

    assert split.validation == ("case_01", "case_03")
    assert len(split.train) == 10


def test_a_fixed_validation_set_names_cases_that_are_there() -> None:
    with pytest.raises(DatasetError, match="does not have: case_77. It has 12, such as case_00"):
        validate_with(NAMES, ["case_77", "case_01"])
    with pytest.raises(DatasetError, match="there must be cases to train on"):
        validate_with(NAMES, NAMES)
