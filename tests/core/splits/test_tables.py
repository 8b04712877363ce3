"""What users have: tables of patients, lists of cases, nnU-Net's splits_final.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.files import write_json
from nnseg_core.splits import Split, Splits, make_splits
from nnseg_core.splits.tables import (
    SITE_COLUMNS,
    read_folds,
    read_grouping,
    read_names,
    read_splits,
)

NAMES = ("a_1", "a_2", "b_1")
GROUPS = {"a_1": "P1", "a_2": "P1", "b_1": "P2"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "case,group\na_1,P1\na_2,P1\nb_1,P2\nelsewhere,P3\n"),
        ("t.csv", "\ufeffage;Patient;Case\n50;P1;a_1\n50;P1;a_2\n61;P2;b_1\n"),
        ("t.tsv", "id\tsubject\na_1\tP1\na_2\tP1\nb_1\tP2\n"),
        ("t.csv", "case,whatever\na_1,P1\na_2,P1\nb_1,P2\n"),
        ("t.json", '{"a_1": "P1", "a_2": "P1", "b_1": "P2"}'),
        ("t.json", '[{"case": "a_1", "group": "P1"}, {"case": "a_2", "group": "P1"},'
         ' {"case": "b_1", "group": "P2"}]'),
    ],
)  # fmt: skip
def test_groups_are_read_from_any_table(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")

    assert read_grouping(str(tmp_path / name), NAMES).of == GROUPS


def test_groups_are_read_from_names() -> None:
    assert read_grouping("(.)_", NAMES).of == {"a_1": "a", "a_2": "a", "b_1": "b"}
    assert read_grouping("^.", NAMES).of == {"a_1": "a", "a_2": "a", "b_1": "b"}
    by_name = read_grouping("names", ("p07_1", "p07_2", "p08_left"))
    assert by_name.of == {"p07_1": "p07", "p07_2": "p07", "p08_left": "p08"}


def test_equal_groups_have_equal_hashes(tmp_path: Path) -> None:
    write_json(tmp_path / "t.json", {"b_1": "b", "a_2": "a", "a_1": "a"})

    assert (
        read_grouping(str(tmp_path / "t.json"), NAMES).sha256 == read_grouping("^.", NAMES).sha256
    )


def test_a_table_of_sites_has_its_own_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("case,group,site\na_1,P1,Ulm\na_2,P1,Ulm\nb_1,P2,Bonn\n")

    sites = read_grouping(str(tmp_path / "t.csv"), NAMES, SITE_COLUMNS)

    assert sites.of == {"a_1": "Ulm", "a_2": "Ulm", "b_1": "Bonn"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,group\na_1,P1\n", "gives no group for 2 of 3 cases: a_2, b_1. Every case needs one"),
        ("a,b,c\n1,2,3\n", "has no column 'case'; it has a, b, c."),
        ("case,group\na_1,P1\na_1,P2\n", "has two entries for a_1: P1 and P2"),
        ("", "has no column 'case'"),
    ],
)
def test_a_table_that_does_not_fit_says_so(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)

    with pytest.raises(DatasetError, match=message):
        read_grouping(str(tmp_path / "t.csv"), NAMES)


def test_no_table_no_expression() -> None:
    with pytest.raises(DatasetError, match=r"there is no file .*t\.csv"):
        read_grouping("t.csv", NAMES)
    with pytest.raises(DatasetError, match="nor a regular expression: unterminated"):
        read_grouping("([", NAMES)


def test_lists_of_cases(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("a_1\n\nb_1\n")
    (tmp_path / "v.json").write_text('["a_1", "b_1"]')

    for given in ("a_1, b_1", str(tmp_path / "v.txt"), str(tmp_path / "v.json")):
        assert read_names(given) == ("a_1", "b_1")


def test_nnunets_folds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["b", "a"], "val": ["c"]}]))

    assert read_folds(path) == (Split(train=("a", "b"), validation=("c",)),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "has no folds"),
        ({"train": []}, "has no folds"),
        ([{"train": ["a"]}], "fold 0 in .* must be"),
        ([{"train": ["a"], "val": ["b"]}, {"train": ["a"], "val": [1]}], "fold 1 in .* must be"),
        ([{"train": ["a", "b"], "val": ["b"]}], "in fold 0, b is to train and to validate"),
    ],
)
def test_folds_that_are_none_say_so(tmp_path: Path, content: object, message: str) -> None:
    write_json(tmp_path / "splits.json", content)

    with pytest.raises(DatasetError, match=message):
        read_splits(tmp_path / "splits.json")


def test_pickled_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is a pickle, which can run any code"):
        read_folds(tmp_path / "splits_final.pkl")


def test_splits_come_back_as_they_were(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(6)]
    splits = Splits(
        scheme="groups",
        cases=tuple(names),
        seed=1,
        groups=read_grouping(".", names),
        folds=make_splits(names, 3),
    )
    write_json(tmp_path / "splits.json", splits)

    assert read_splits(tmp_path / "splits.json") == splits


def test_a_typing_error_in_splits_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "splits.json", {"sheme": "file", "cases": [], "folds": []})

    with pytest.raises(PlanError, match="sheme"):
        read_splits(tmp_path / "splits.json")
