"""The folds of a project: which are wanted, and what a hand-written file means."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnseg_core.dataset import CaseRef, Dataset, DatasetDescription, Labels
from nnseg_core.errors import DatasetError, NnsegError
from nnseg_core.files import write_json
from nnseg_core.pipeline.drawing_folds import Wish, draw
from nnseg_core.pipeline.splitting import (
    current_state,
    folds_wanted,
    read_or_make_folds,
    read_or_make_splits,
)
from nnseg_core.plugins import load_plugins
from nnseg_core.project import Project
from nnseg_core.workspace import Workspace


def project(folder: Path, names: list[str], notes: list[str] | None = None) -> Project:
    """A dataset of cases that no one reads."""
    return Project(
        dataset=Dataset(
            folder=folder / "Dataset001_Cells",
            description=DatasetDescription(
                name="Cells",
                channels=("MR",),
                labels=Labels(values={"cell": (1,)}),
                file_ending=".png",
            ),
            cases=tuple(CaseRef(identifier=name, images=()) for name in names),
        ),
        workspace=Workspace(folder),
        plugins=load_plugins(),
        note=(notes if notes is not None else []).append,
    )


NAMES = [f"case_{number:02d}" for number in range(10)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ("0",)),
        (["3"], ("3",)),
        (["0,2", "1", "02"], ("0", "2", "1")),
        (["each"], ("0", "1", "2")),
        (["2", "each", "all"], ("2", "0", "1", "all")),
    ],
)
def test_folds_are_wanted_once_and_in_order(
    given: list[str] | None, expected: tuple[str, ...]
) -> None:
    assert folds_wanted(given, 3) == expected


@pytest.mark.parametrize("given", ["first", "", "0;1", "-1"])
def test_what_is_no_fold_is_refused(given: str) -> None:
    with pytest.raises(NnsegError, match="it must be a number, 'each' or 'all'"):
        folds_wanted([given], 3)


def test_all_needs_no_folds(tmp_path: Path) -> None:
    few = project(tmp_path, NAMES[:2])

    assert read_or_make_folds(few, ["all"])["all"].train == tuple(NAMES[:2])
    assert not few.workspace.splits(few.name).exists()
    with pytest.raises(NnsegError, match="2 cases cannot be split into 5 folds"):
        read_or_make_splits(few, "0")


def test_folds_stay_when_cases_come(tmp_path: Path) -> None:
    before = read_or_make_folds(project(tmp_path, NAMES), ["each"])
    notes: list[str] = []

    after = read_or_make_folds(project(tmp_path, [*NAMES, "new"], notes), ["each"])

    assert notes == [
        "new cases in the folds (1): new; to validate with: 1 to fold 0. No other case has moved."
    ]
    for number, split in before.items():
        assert set(split.train) <= set(after[number].train)
        assert set(split.validation) <= set(after[number].validation)
    assert read_or_make_folds(project(tmp_path, [*NAMES, "new"]), ["each"]) == after


def test_a_list_written_by_hand_leaves_out_what_it_does_not_name(tmp_path: Path) -> None:
    mine = project(tmp_path, NAMES)
    path = mine.workspace.splits(mine.name)
    write_json(path, [{"train": NAMES[:5], "validation": NAMES[5:7]}])

    state = current_state(mine)

    assert not state.changed
    assert "cases in no fold" in state.notes[0]
    assert "(3): case_07, case_08, case_09" in state.notes[0]
    assert len(state.splits.members) == 7


def test_groups_and_stratification_need_what_they_go_by(tmp_path: Path) -> None:
    with pytest.raises(NnsegError, match="cases have not been checked yet: case_00"):
        draw(project(tmp_path, NAMES), Wish(stratify=True))
    with pytest.raises(DatasetError, match="gives no group for 10 of 10 cases"):
        draw(project(tmp_path, NAMES), Wish(groups="patient"))


def test_sites_validate_one_by_one(tmp_path: Path) -> None:
    state = draw(project(tmp_path, NAMES), Wish(sites="case_0[0-3]|case"))

    assert [len(fold.validation) for fold in state.splits.folds] == [6, 1, 1, 1, 1]
