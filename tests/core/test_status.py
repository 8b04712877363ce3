"""What the files of a workspace tell, complete or not."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nnseg_core.claims import SILENCE, Claim, claim, claim_file, read_claim
from nnseg_core.status import DatasetStatus, FoldStatus, dataset_names, dataset_status
from nnseg_core.workspace import Workspace

NAME = "Dataset001_Cells"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def rows(*epochs: int, total: int = 10, seconds: float = 2.0) -> str:
    lines = ({"epoch": e, "epochs": total, "seconds": seconds} for e in epochs)
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three of four cases preprocessed; fold 0 is trained and scored, fold 1 in the middle."""
    place = Workspace(tmp_path)
    planned = {
        "dataset": {"training_cases": 4},
        "configurations": {"2d": {}, "cascade": {"previous": "2d"}},
    }
    write(place.plan(NAME, "standard"), planned)
    write(place.cases(NAME), {"sha256": {"a": "1", "b": "2", "c": "3", "d": "4"}})
    for case in ("a", "b", "c", ".d.new"):
        write(place.store(NAME, "standard", "2d") / case / "case.json", "{}")
        write(place.store(NAME, "standard", "2d") / case / "image.b2nd", "x" * 100)
    model = place.model(NAME, "first")
    write(model / "model.json", {"configuration": "2d"})
    write(model / "fold_0" / "metrics.jsonl", rows(8, 9))
    write(model / "fold_0" / "weights.safetensors", "x" * 1000)
    scores = {"foreground_mean": {"Dice": 0.8, "interval": {"Dice": [0.7, 0.9]}}, "mean": {}}
    write(model / "fold_0" / "validation" / "summary.json", json.dumps(scores, indent=2))
    write(model / "fold_1" / "metrics.jsonl", rows(0, 1, 2, 3))
    return place


def fold(workspace: Workspace, number: int) -> FoldStatus:
    (model,) = dataset_status(workspace, NAME).models
    return model.folds[number]


def test_cases_are_counted_when_they_are_complete(workspace: Workspace) -> None:
    found = dataset_status(workspace, NAME)

    (configuration,) = found.configurations
    assert found.measured == 4
    assert (configuration.plan, configuration.name) == ("standard", "2d")
    assert (configuration.cases, configuration.of_cases) == (3, 4)
    assert configuration.size == 4 * (100 + 2)
    assert configuration.work is None


def test_what_a_cascade_is_given_is_counted(workspace: Workspace) -> None:
    before = dataset_status(workspace, NAME).size
    stage = workspace.model(NAME, "first") / "next_stage" / "cascade"
    for name in ("a.b2nd", "b.b2nd", ".c.new.b2nd"):
        write(stage / name, "x" * 10)
    write(workspace.model(NAME, "first") / "previous" / "fold_0" / "weights.safetensors", "x" * 5)

    found = dataset_status(workspace, NAME)

    assert found.models[0].next_stage == {"cascade": 2}
    assert [fold.name for fold in found.models[0].folds] == ["0", "1"]
    assert found.size == before + 35


def test_a_mean_of_one_case_has_no_interval(workspace: Workspace) -> None:
    scores = {"foreground_mean": {"Dice": 0.8, "interval": {"Dice": [None, None]}}, "mean": {}}
    summary = workspace.model(NAME, "first") / "fold_0" / "validation" / "summary.json"
    write(summary, json.dumps(scores, indent=2))

    assert (fold(workspace, 0).dice, fold(workspace, 0).interval) == (0.8, None)


def test_a_trained_fold_has_its_score(workspace: Workspace) -> None:
    trained = fold(workspace, 0)

    assert trained.trained
    assert (trained.epochs, trained.of_epochs, trained.seconds_left) == (10, 10, None)
    assert (trained.dice, trained.interval) == (0.8, (0.7, 0.9))


def test_a_fold_in_the_middle_tells_what_is_left(workspace: Workspace) -> None:
    begun = fold(workspace, 1)

    assert not begun.trained
    assert (begun.epochs, begun.of_epochs) == (4, 10)
    assert begun.seconds_left == 12
    assert begun.dice is None


def test_the_first_epoch_does_not_tell_of_the_others(workspace: Workspace) -> None:
    log = workspace.model(NAME, "first") / "fold_1" / "metrics.jsonl"
    write(log, rows(0, seconds=100) + rows(1, 2, 3))

    assert fold(workspace, 1).seconds_left == 12


def test_a_line_that_is_being_written_does_not_count(workspace: Workspace) -> None:
    log = workspace.model(NAME, "first") / "fold_1" / "metrics.jsonl"
    write(log, rows(0, 1) + rows(2)[:-1])

    assert fold(workspace, 1).epochs == 2


def test_a_long_log_is_read_from_its_end(workspace: Workspace) -> None:
    log = workspace.model(NAME, "first") / "fold_1" / "metrics.jsonl"
    write(log, rows(*range(20_000), total=30_000))

    begun = fold(workspace, 1)

    assert log.stat().st_size > 2**18
    assert (begun.epochs, begun.seconds_left) == (20_000, 20_000)


def test_what_is_running_is_told(workspace: Workspace) -> None:
    with claim(workspace.model(NAME, "first") / "fold_1", "training"):
        (work,) = dataset_status(workspace, NAME).works

    assert (work.work, work.pid, work.gone) == ("training", os.getpid(), False)
    assert work.folder == workspace.model(NAME, "first") / "fold_1"
    assert 0 <= work.silent < 60
    assert dataset_status(workspace, NAME).works == ()


def test_a_run_that_has_only_begun_is_told(workspace: Workspace) -> None:
    with claim(workspace.model(NAME, "second") / "fold_all", "training"):
        second = dataset_status(workspace, NAME).models[1]

    (begun,) = second.folds
    assert (begun.name, begun.epochs, begun.of_epochs) == ("all", 0, None)
    assert begun.work is not None


def test_a_run_that_was_killed_is_gone(workspace: Workspace) -> None:
    folder = workspace.store(NAME, "standard", "2d")
    with claim(folder, "preprocessing"):
        there = read_claim(claim_file(folder))
    assert there is not None
    long_ago = (datetime.now(UTC) - timedelta(seconds=2 * SILENCE)).isoformat()
    killed: Claim = replace(there, began="17", alive=long_ago)
    write(claim_file(folder), asdict(killed))

    (work,) = dataset_status(workspace, NAME).works

    assert work.gone
    assert work.silent == pytest.approx(2 * SILENCE, abs=60)


def test_looking_changes_nothing(workspace: Workspace) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")}

    dataset_status(workspace, NAME)

    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")} == before


def test_datasets_are_found_by_either_half(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    write(place.cases("Dataset002_B"), {})
    write(place.model("Dataset001_A", "model") / "model.json", {})
    write(tmp_path / "datasets" / "notes.txt", "mine")

    assert dataset_names(place) == ("Dataset001_A", "Dataset002_B")


def test_a_workspace_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert dataset_names(Workspace(tmp_path / "nothing")) == ()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"dataset": 1, "configurations": []}'])
def test_damaged_files_are_no_hindrance(workspace: Workspace, content: str) -> None:
    for path in [*workspace.root.rglob("*.json"), *workspace.root.rglob("*.jsonl")]:
        write(path, content)
    write(claim_file(workspace.model(NAME, "first") / "fold_0"), content)

    found = dataset_status(workspace, NAME)

    assert isinstance(found, DatasetStatus)
    assert found.configurations[0].cases == 3
    assert found.works == ()


@pytest.mark.parametrize("dice", ["NaN", "null"])
def test_an_undefined_score_is_none(workspace: Workspace, dice: str) -> None:
    path = workspace.model(NAME, "first") / "fold_0" / "validation" / "summary.json"
    write(path, f'{{"foreground_mean": {{"Dice": {dice}, "interval": {{"Dice": [0, 1]}}}}}}')

    assert fold(workspace, 0).dice is None


def test_foreign_folders_are_shown_as_far_as_they_go(workspace: Workspace) -> None:
    write(workspace.root / "models" / NAME / "mine" / "notes.txt", "mine")
    write(workspace.root / "datasets" / NAME / "extra" / "notes" / "notes.txt", "mine")

    found = dataset_status(workspace, NAME)

    assert [model.name for model in found.models] == ["first", "mine"]
    assert found.models[1].folds == ()
