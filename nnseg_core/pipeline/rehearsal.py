"""What a run would do, found out without writing anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from nnseg_core import kinds
from nnseg_core.contracts import Architecture
from nnseg_core.dataset import CaseRef
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_core.model_folder import WEIGHTS_FILE, fold_folder
from nnseg_core.pipeline.costs import Cost, disk_of_cases, estimate, known_speed
from nnseg_core.pipeline.examine import examined_before, require_clean
from nnseg_core.pipeline.examined import known_examination
from nnseg_core.pipeline.explaining import architecture_of
from nnseg_core.pipeline.planning import plan_from_fingerprint, read_or_make_plan
from nnseg_core.pipeline.preprocessing import case_keys, shares_cases_with, store_of
from nnseg_core.pipeline.splitting import (
    current_state,
    folds_wanted,
    read_or_make_folds,
    split_of,
)
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.plugins import Plugins
from nnseg_core.project import Project, facts_of
from nnseg_core.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What stands already of a dataset's preparation, and what the rest would start from.

    ``hashes`` is None where the dataset has not been checked as it is now: then ``fingerprint`` is
    made from the headers of the images, without cropping, and a new ``plan`` from that.
    """

    fingerprint: Fingerprint
    hashes: Mapping[str, str] | None
    plan: Plan
    plan_exists: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long a training would be: epochs of so many steps, or minutes; None where unknown.

    ``done`` are the epochs that the fold has behind it, ``finished`` says that it is trained.
    ``epoch_seconds`` is what epochs of this model have taken, None where there were none.
    """

    epochs: int | None
    iterations: int | None
    max_minutes: float | None
    done: int
    finished: bool
    epoch_seconds: float | None


def rehearse(project: Project, planner: ComponentRef, plan_name: str) -> Rehearsal:
    """Look at what has been done. Raises what the steps would raise for what is there.

    Images are not read, only their headers where they have not been measured.
    """
    measuring = project.build(kinds.PLANNER, planner)
    examination = examined_before(project, measuring)
    if examination is None and project.freeze_plan:
        examination = known_examination(project, measuring)  # without the new cases
    fingerprint = (
        measured_from_headers(project) if examination is None else require_clean(examination)
    )
    exists = project.workspace.plan(project.name, plan_name).is_file()
    return Rehearsal(
        fingerprint=fingerprint,
        hashes=None if examination is None else examination.hashes,
        plan=read_or_make_plan(project, planner, plan_name)
        if exists
        else plan_from_fingerprint(
            project.plugins, planner, project.dataset.description, fingerprint, project.typed
        ),
        plan_exists=exists,
    )


def missing_cases(
    project: Project, rehearsal: Rehearsal, plan_name: str, name: str
) -> tuple[CaseRef, ...]:
    """The cases that would be preprocessed; all of them where their content is not known."""
    cases = project.dataset.cases
    if rehearsal.hashes is None:
        return cases
    store = store_of(project, rehearsal.plan, plan_name, name)
    keys = case_keys(rehearsal.plan, rehearsal.plan.configurations[name], rehearsal.hashes)
    return tuple(
        case for case in cases if store.key(case.identifier) != keys.get(case.identifier, "")
    )


def disk_needed(
    project: Project, rehearsal: Rehearsal, name: str, missing: tuple[CaseRef, ...]
) -> int:
    """Bytes that the missing cases would take."""
    sizes = disk_of_cases(
        rehearsal.plan, rehearsal.plan.configurations[name], rehearsal.fingerprint
    )
    names = [case.identifier for case in project.dataset.cases]
    if len(sizes) != len(names):  # the plan is frozen: new cases are not in the fingerprint
        return sum(sizes) * len(missing) // len(sizes)
    by_case = dict(zip(names, sizes, strict=True))
    return sum(by_case[case.identifier] for case in missing)


def costs(
    plugins: Plugins,
    plan: Plan,
    fingerprint: Fingerprint,
    typed: frozenset[str] = frozenset(),
    bench: Path | None = None,
    place: tuple[str, str] = ("", ""),
) -> dict[str, Cost]:
    """The cost of each configuration; a cascade's is that of its own stage.

    Its cases are those of 3d_fullres, which cost nothing again.

    ``bench`` is the workspace's file of measurements, ``place`` the dataset and the plan in it.
    """
    architectures: dict[str, Architecture] = {
        name: architecture_of(plugins, plan, configuration, typed)
        for name, configuration in plan.configurations.items()
    }
    speed = known_speed(bench, *place)
    return {
        name: _own_cost(plan, name, estimate(plan, name, fingerprint, architectures, speed))
        for name in plan.configurations
    }


def _own_cost(plan: Plan, name: str, cost: Cost) -> Cost:
    """Without what another configuration has to pay for."""
    if shares_cases_with(plan, name) == name:
        return cost
    return replace(cost, disk=0, preprocessing_memory=0, preprocessing_seconds=0.0)


def rehearse_splits(
    project: Project, wanted: Sequence[str] | None
) -> tuple[dict[str, Split], str, tuple[str, ...]]:
    """The cases of the wanted folds, what would become of the splits, and what is to be said."""
    if wanted and all(fold == "all" for fold in wanted):
        return read_or_make_folds(project, wanted), "as they are", ()
    state = current_state(project)
    folds = folds_wanted(wanted, len(state.splits.folds))
    exists = project.workspace.splits(project.name).is_file()
    changed = "would be extended by new cases" if exists else "would be drawn"
    chosen = {fold: split_of(project, state.splits, fold) for fold in folds}
    return chosen, changed if state.changed else "as they are", state.notes


def rehearse_training(project: Project, plan: Plan, name: str, folder: Path, fold: str) -> Course:
    """How long the training of a fold would be, and how far it is."""
    configuration = plan.configurations[name]
    facts = facts_of(configuration, plan.dataset)
    trainer: Any = project.build(kinds.TRAINER, configuration.trainer, **facts)
    place = fold_folder(folder, fold)
    logs = [_epochs(path) for path in sorted(folder.glob("fold_*/metrics.jsonl"))]
    seconds = [row["seconds"] for rows in logs for row in rows]
    return Course(
        epochs=getattr(trainer, "epochs", None),
        iterations=getattr(trainer, "iterations", None),
        max_minutes=getattr(trainer, "max_minutes", None),
        done=len(_epochs(place / "metrics.jsonl")),
        finished=(place / WEIGHTS_FILE).is_file(),
        epoch_seconds=median(seconds) if seconds else None,
    )


def measured_from_headers(project: Project) -> Fingerprint:
    """Sizes and spacings as the images' headers have them, uncropped; no intensities."""
    reader = project.reader()
    grids = [reader.peek(case.images[0])[0] for case in project.dataset.cases]
    nothing = IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 0.0))
    return Fingerprint(
        spacings=tuple(grid.spacing for grid in grids),
        shapes=tuple(grid.shape for grid in grids),
        relative_size=1.0,
        intensities=(nothing,) * len(project.dataset.description.channels),
    )


def _epochs(path: Path) -> list[dict[str, Any]]:
    """The rows of a training's log; a torn last line is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
