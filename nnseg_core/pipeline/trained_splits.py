"""Which models were trained with which folds: a case must not change sides behind their back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnseg_core import files
from nnseg_core.errors import ModelError
from nnseg_core.splits import Split, Splits
from nnseg_core.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedFold:
    """A fold that has been trained, or begun, and the cases it was trained with."""

    model: str
    fold: str
    split: Split


def trained_folds(workspace: Workspace, dataset: str) -> Iterator[TrainedFold]:
    """Every fold of every model of a dataset but ``all``, by what its record says."""
    for record in sorted(workspace.model(dataset, "").glob("*/fold_*/run.json")):
        fold = record.parent.name.removeprefix("fold_")
        split = recorded_split(record)
        if fold != "all" and split is not None:
            yield TrainedFold(model=record.parent.parent.name, fold=fold, split=split)


def conflicts(workspace: Workspace, dataset: str, splits: Splits) -> list[TrainedFold]:
    """The folds that were trained with cases that would now validate, or the reverse."""
    return [
        trained
        for trained in trained_folds(workspace, dataset)
        if not (
            trained.fold.isdecimal()
            and int(trained.fold) < len(splits.folds)
            and splits.folds[int(trained.fold)].agrees_with(trained.split)
        )
    ]


def require_same_split(fold_folder: Path, split: Split) -> None:
    """Raise ``ModelError`` where a fold was trained, or begun, with cases on the other side."""
    before = recorded_split(fold_folder / "run.json")
    if before is None or fold_folder.name == "fold_all" or split.agrees_with(before):
        return
    moved = {*before.train} & {*split.validation} or {*before.validation} & {*split.train}
    raise ModelError(
        f"{fold_folder} was trained with other folds: {sorted(moved)[0]}, for one, was to "
        f"{'train' if moved <= {*before.train} else 'validate'} then. Give this training a folder "
        "of its own with --name, or begin anew with --restart."
    )


def recorded_split(record: Path) -> Split | None:
    """The split in a training's ``run.json``; None where there is no such file."""
    if not record.is_file():
        return None
    split = files.read_json(record).get("split")
    return None if split is None else files.validate(Split, split, source=str(record))
