"""``nnseg status``: what there is in the workspace, and what is running."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import WorkspacePath
from nnseg_core.errors import DatasetError

if TYPE_CHECKING:
    from nnseg_core.status import DatasetStatus, FoldStatus, Work
    from nnseg_core.workspace import Workspace


def status(
    dataset: Annotated[
        Path | None, typer.Argument(metavar="DATASET", help="Name or folder of one dataset.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspacePath = None,
) -> None:
    """Show datasets, plans, preprocessed cases, models with their scores, and what is running.

    Example: nnseg status Dataset004_Hippocampus
    """
    from nnseg_core.status import dataset_status
    from nnseg_core.workspace import find_workspace

    place = find_workspace(workspace)
    found = [dataset_status(place, name) for name in _chosen(place, dataset)]
    if as_json:
        print(json.dumps(_plain(place, found), indent=2, default=str))
    else:
        _show(place, found)


def _chosen(workspace: Workspace, dataset: Path | None) -> tuple[str, ...]:
    from nnseg_core.status import dataset_names

    names = dataset_names(workspace)
    if dataset is None:
        return names
    name = dataset.resolve().name
    if name not in names:
        raise DatasetError(
            f"{workspace.root} has nothing of a dataset {name!r}. "
            f"It has: {', '.join(names) or 'nothing yet'}."
        )
    return (name,)


def _plain(workspace: Workspace, found: Iterable[DatasetStatus]) -> dict[str, object]:
    return {
        "workspace": workspace.root,
        "datasets": [{**asdict(dataset), "size": dataset.size} for dataset in found],
    }


def _show(workspace: Workspace, found: list[DatasetStatus]) -> None:
    from nnseg_core.cli.display import table
    from nnseg_core.machine import free_disk, in_words

    free = in_words(free_disk(workspace.root))
    used = in_words(sum(dataset.size for dataset in found))
    print(f"workspace {workspace.root}: {used} used, {free} free\n")
    if not found:
        print("There is nothing yet. Begin with: nnseg check DATASET")
    for dataset in found:
        cases = "" if dataset.measured is None else f"{dataset.measured} cases, "
        print(f"{dataset.name}: {cases}{in_words(dataset.size)}")
        if dataset.configurations:
            table(("plan", "configuration", "preprocessed", "size"), _stored(dataset))
        if any(model.folds for model in dataset.models):
            columns = ("model", "fold", "state", "epochs", "Dice (95 % interval)", "size")
            table(columns, _trained(dataset))
        for model in dataset.models:
            for stage, segmented in model.next_stage.items():
                print(f"{model.name} has segmented {segmented} cases for {stage}\n")
    works = [work for dataset in found for work in dataset.works]
    for title, gone in (("running", False), ("ended in the middle", True)):
        chosen = [work for work in works if work.gone is gone]
        if chosen:
            print(title)
            table(("what", "where", "process", "since", "last sign"), _working(workspace, chosen))
    if any(work.gone for work in works):
        print("The same command goes on from there.")


def _stored(dataset: DatasetStatus) -> Iterator[tuple[str, ...]]:
    from nnseg_core.machine import in_words

    for part in dataset.configurations:
        total = "" if part.of_cases is None else f" of {part.of_cases}"
        running = ", running" if part.work and not part.work.gone else ""
        yield part.plan, part.name, f"{part.cases}{total}{running}", in_words(part.size)


def _trained(dataset: DatasetStatus) -> Iterator[tuple[str, ...]]:
    from nnseg_core.machine import in_words

    for model in dataset.models:
        for fold in model.folds:
            of = "" if fold.of_epochs is None else f" of {fold.of_epochs}"
            epochs = "-" if fold.trained and not fold.epochs else f"{fold.epochs}{of}"
            yield model.name, fold.name, state(fold), epochs, _scored(fold), in_words(fold.size)


def state(fold: FoldStatus) -> str:
    """Trained, stopped, or what is being done, with the time it will take."""
    if fold.work and not fold.work.gone:
        left = fold.seconds_left if fold.work.work == "training" else None
        return fold.work.work if left is None else f"{fold.work.work}, {duration(left)} left"
    return "trained" if fold.trained else "stopped"


def _scored(fold: FoldStatus) -> str:
    if fold.dice is None:
        return "-"
    if fold.interval is None:
        return f"{fold.dice:.3f}"
    low, high = fold.interval
    return f"{fold.dice:.3f} ({low:.3f} to {high:.3f})"


def _working(workspace: Workspace, works: Iterable[Work]) -> Iterator[tuple[str, ...]]:
    from nnseg_core.claims import local

    for work in works:
        folder = work.folder.relative_to(workspace.root).as_posix()
        process = f"{work.pid} on {work.host}"
        since, sign = local(work.started), f"{duration(work.silent)} ago"
        yield work.work, folder, process, since, sign


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``, ``2.1 days``."""
    for unit, length, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / length:.1f} h" if unit == "h" else f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.1f} days"
