"""New cases join the folds; nothing that was in them moves."""

from __future__ import annotations

import numpy as np
import pytest

from nnseg_core.splits import (
    Split,
    Splits,
    broken_groups,
    grouping,
    leave_one_site_out,
    make_balanced_splits,
    make_splits,
    new_cases,
    with_cases,
    without_cases,
)

NAMES = tuple(f"case_{number:02d}" for number in range(12))


def splits(folds: tuple[Split, ...], **more: object) -> Splits:
    return Splits(scheme="k-fold", cases=NAMES, folds=folds, **more)  # type: ignore[arg-type]


def test_new_cases_even_out_the_validation_and_no_case_moves() -> None:
    before = splits(make_splits(NAMES))  # 3, 3, 2, 2, 2 to validate with

    after = with_cases(before, ["new_0", "new_1", "new_2"])

    assert [len(fold.validation) for fold in after.folds] == [3, 3, 3, 3, 3]
    assert all(len(fold.train) == 12 for fold in after.folds)
    for old, new in zip(before.folds, after.folds, strict=True):
        assert set(old.train) <= set(new.train)
        assert set(old.validation) <= set(new.validation)
    assert new_cases(after, (*NAMES, "new_0", "new_1", "new_2")) == []


def test_a_fixed_validation_set_stays_fixed() -> None:
    before = splits((Split(train=NAMES[2:], validation=NAMES[:2]),))

    after = with_cases(before, ["new"])

    assert after.folds == (Split(train=(*NAMES[2:], "new"), validation=NAMES[:2]),)


def test_more_of_a_patient_go_where_the_patient_is() -> None:
    groups = {name: name[-1] for name in NAMES}  # 00 and 10, 01 and 11
    before = splits(make_balanced_splits(NAMES, 3, groups=groups), groups=grouping("g", groups))
    grown = grouping("g", {**groups, "new_a": "0", "new_b": "0", "other": "z"})

    after = with_cases(before, ["new_a", "new_b", "other"], groups=grown)

    where = next(fold for fold in after.folds if "case_00" in fold.validation)
    assert {"new_a", "new_b"} <= set(where.validation)
    assert all(broken_groups(fold, grown.of) == [] for fold in after.folds)


def test_new_cases_of_rare_labels_go_where_there_are_fewest() -> None:
    before = splits(
        (
            Split(train=NAMES[:6], validation=NAMES[6:]),
            Split(train=NAMES[6:], validation=NAMES[:6]),
        )
    )
    presence = {NAMES[6]: {"rare"}, "new": {"rare"}}

    after = with_cases(before, ["new"], presence=presence)

    assert "new" in after.folds[1].validation


def test_a_new_site_is_a_fold_of_its_own() -> None:
    sites = {name: "Ulm" if name < "case_04" else "Bonn" for name in NAMES}
    folds = tuple(fold for _, fold in leave_one_site_out(NAMES, sites))
    grown = grouping("s", {**sites, "new_bonn": "Bonn", "new_rome": "Rome"})

    after = with_cases(
        splits(folds, sites=grouping("s", sites)), ["new_bonn", "new_rome"], sites=grown
    )

    assert "new_bonn" in after.folds[0].validation
    assert after.folds[2] == Split(train=(*NAMES, "new_bonn"), validation=("new_rome",))
    assert all("new_rome" in fold.train for fold in after.folds[:2])


def test_cases_left_out_on_purpose_are_not_new() -> None:
    kept = splits((Split(train=NAMES[:6], validation=NAMES[6:10]),))

    assert new_cases(kept, (*NAMES, "new")) == ["new"]


def test_cases_that_are_gone_leave_all_folds() -> None:
    after = without_cases(splits(make_splits(NAMES)), ["case_00"])

    assert "case_00" not in after.members
    assert sum(len(fold.validation) for fold in after.folds) == 11


@pytest.mark.parametrize("seed", range(30))
def test_no_group_crosses_a_split_however_often_cases_come(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = {f"c{number:03d}": f"p{random.integers(15)}" for number in range(90)}
    names = sorted(groups)
    first = names[:40]
    made = Splits(
        scheme="groups",
        cases=tuple(first),
        groups=grouping("g", {name: groups[name] for name in first}),
        folds=make_balanced_splits(first, 4, seed, groups),
    )

    for end in (45, 60, 90):
        added = new_cases(made, names[:end])
        made = with_cases(made, added, groups=grouping("g", {n: groups[n] for n in names[:end]}))

    assert all(broken_groups(fold, groups) == [] for fold in made.folds)
    assert sorted(name for fold in made.folds for name in fold.validation) == names
