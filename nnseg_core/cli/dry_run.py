"""``--dry-run``: what a command would do and what that costs, with nothing written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnseg_core.machine import free_disk, in_words
from nnseg_core.plan import ComponentRef

if TYPE_CHECKING:
    from nnseg_core.cli.order import Order
    from nnseg_core.pipeline.cascade import EarlierStage
    from nnseg_core.pipeline.costs import Cost
    from nnseg_core.pipeline.rehearsal import Course, Rehearsal
    from nnseg_core.plan import Plan
    from nnseg_core.project import Project
    from nnseg_core.splits import Split

Row = tuple[str, str, str]
"""A step, what would be done, what it costs."""


def show_preprocessing(
    project: Project, planner: ComponentRef, plan_name: str, wanted: Sequence[str] | None
) -> None:
    """Print what ``nnseg preprocess`` would do with a dataset."""
    from nnseg_core.cli.plan import require_configuration
    from nnseg_core.pipeline.rehearsal import rehearse

    rehearsal = rehearse(project, planner, plan_name)
    plan = rehearsal.plan
    names = [require_configuration(plan, name) for name in wanted or ()] or [
        name for name, configuration in plan.configurations.items() if not configuration.previous
    ]
    known = _costs(project, rehearsal, plan, plan_name)
    rows = [*_prepared(project, rehearsal, plan_name)]
    needed = 0
    for name in names:
        row, disk = _preprocessing(project, rehearsal, plan_name, name, known)
        rows.append(row)
        needed += disk
    _show(project, rows, rehearsal, needed)


def show_training(project: Project, orders: Sequence[Order]) -> None:
    """Print what ``nnseg train`` would do for each order; all of them have one plan."""
    from dataclasses import replace

    from nnseg_core.pipeline.rehearsal import rehearse, rehearse_splits

    first = orders[0]
    rehearsal = rehearse(project, first.planner, first.plan_name)
    if first.begun is not None:
        rehearsal = replace(rehearsal, plan=first.begun.planned(rehearsal.plan))
    splits, changed, notes = rehearse_splits(project, first.folds)
    parts = [_ordered(project, rehearsal, order, splits) for order in orders]
    prepared = {stage: row for part in parts for stage, row in part.prepared.items()}
    rows = [
        *_prepared(project, rehearsal, first.plan_name),
        *(row for row, _ in prepared.values()),
        ("splits", changed, ""),
        *(row for part in parts for row in part.rows),
    ]
    _show(project, rows, rehearsal, sum(disk for _, disk in prepared.values()))
    for line in notes:
        project.note(line)
    bases = dict.fromkeys(part.basis for part in parts if part.basis)
    for basis in bases:
        print(f"The time is {basis}.")


@dataclass(frozen=True, kw_only=True)
class _Ordered:
    """What would be done for an order. ``prepared`` has a row and its bytes for each stage."""

    prepared: dict[str, tuple[Row, int]]
    rows: list[Row]
    basis: str | None


def _ordered(
    project: Project,
    rehearsal: Rehearsal,
    order: Order,
    splits: Mapping[str, Split],
) -> _Ordered:
    from dataclasses import replace

    from nnseg_core.cli.order import settled
    from nnseg_core.cli.stages import stages_before
    from nnseg_core.model_folder import fold_folder
    from nnseg_core.pipeline import require_same_plan
    from nnseg_core.pipeline.rehearsal import rehearse_training

    name = order.configuration
    plan, folder, before = settled(project, order, rehearsal.plan)
    if not order.restart:
        require_same_plan(folder, plan, name)
    if order.begun is not None:
        folds = [fold_folder(folder, fold) for fold in splits]
        order.begun.show(project, plan, name, folds, order.restart)
    courses = {fold: rehearse_training(project, plan, name, folder, fold) for fold in splits}
    if order.restart:
        courses = {f: replace(course, done=0, finished=False) for f, course in courses.items()}
    earlier = stages_before(project, plan, name, before, splits, write=False)
    known = _costs(project, rehearsal, plan, order.plan_name)
    timed = [c for c in courses.values() if not c.finished and c.max_minutes is None]
    return _Ordered(
        prepared={
            stage: _preprocessing(project, rehearsal, order.plan_name, stage, known)
            for stage in plan.stages(name)
        },
        rows=[
            *_before(project, name, earlier.values(), known),
            *(_fold(name, fold, splits[fold], known[name], courses[fold]) for fold in splits),
            ("", f"model folder {folder} ({_state(folder, *courses.values())})", ""),
        ],
        basis=_basis(known[name], timed[0]) if timed else None,
    )


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.4 h``, ``25 days``."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.2g} h"
    days = seconds / 86400
    return f"{days:.1f} days" if days < 10 else f"{days:.0f} days"


def show_costs(costs: Mapping[str, Cost], cases: int, workers: int) -> None:
    """Print a line per configuration: disk, preprocessing, training."""
    from nnseg_core.cli.display import table

    table(
        ("", "on disk", "to preprocess", "with memory", "GPU memory", "1000 training steps"),
        [
            (
                name,
                in_words(cost.disk),
                duration(cost.preprocessing_seconds / max(workers, 1)),
                in_words(cost.preprocessing_memory * max(workers, 1)),
                in_words(cost.training_memory),
                duration(1000 * cost.step_seconds),
            )
            for name, cost in costs.items()
        ],
        title=f"What {cases} cases cost, about",
    )
    bases = dict.fromkeys(cost.basis for cost in costs.values())
    for basis in bases:
        names = ", ".join(name for name, cost in costs.items() if cost.basis == basis)
        print(f"Training steps{f' of {names}' if len(bases) > 1 else ''} are {basis}.")


def _costs(project: Project, rehearsal: Rehearsal, plan: Plan, plan_name: str) -> dict[str, Cost]:
    from nnseg_core.pipeline.rehearsal import costs

    return costs(
        project.plugins,
        plan,
        rehearsal.fingerprint,
        project.typed,
        project.workspace.bench,
        (project.name, plan_name),
    )


def _prepared(project: Project, rehearsal: Rehearsal, plan_name: str) -> list[Row]:
    cases = len(project.dataset.cases)
    unread = cases - len(rehearsal.hashes or ())
    read = (
        f"{unread} of {cases} cases would be read"
        if unread < cases
        else f"{cases} cases: would be read"
    )
    path = project.workspace.plan(project.name, plan_name)
    return [
        ("check", read if unread else f"{cases} cases: as they were", ""),
        ("plan", f"{path} {'is there' if rehearsal.plan_exists else 'would be made'}", ""),
    ]


def _preprocessing(
    project: Project,
    rehearsal: Rehearsal,
    plan_name: str,
    name: str,
    known: Mapping[str, Cost],
) -> tuple[Row, int]:
    """What would be done for a configuration, and the bytes it needs on disk."""
    from nnseg_core.pipeline.rehearsal import disk_needed, missing_cases

    missing = missing_cases(project, rehearsal, plan_name, name)
    count, total = len(missing), len(project.dataset.cases)
    disk = disk_needed(project, rehearsal, name, missing)
    if not missing:
        return ("preprocess", f"{name}: all {total} cases are there", ""), 0
    cost, workers = known[name], max(project.workers, 1)
    seconds = cost.preprocessing_seconds * count / total / workers
    spent = (
        f"{in_words(disk)} of disk, {duration(seconds)}, "
        f"{in_words(cost.preprocessing_memory * workers)} of memory"
    )
    return ("preprocess", f"{name}: {count} of {total} cases", spent), disk


def _before(
    project: Project, name: str, stages: Iterable[EarlierStage], known: Mapping[str, Cost]
) -> Iterator[Row]:
    """What would be done of the stage before a cascade."""
    from nnseg_core.pipeline.rehearsal import rehearse_training

    seen: set[str] = set()
    for stage in stages:
        for fold in stage.folds:
            if fold not in seen:
                place = (project, stage.plan, stage.name, stage.folder, fold)
                course = rehearse_training(*place)
                yield _fold(stage.name, fold, stage.split(fold), known[stage.name], course)
                seen.add(fold)
    if seen:
        yield "segment", f"all cases by {stage.name}, onto the grid of {name}", ""


def _fold(name: str, fold: str, split: Split, cost: Cost, course: Course) -> Row:
    cases = f"{len(split.train)} cases to learn from, {len(split.validation)} to validate with"
    return "train", f"{name}, fold {fold}: {cases}; {_length(course)}", _spent(cost, course)


def _length(course: Course) -> str:
    if course.finished:
        return "trained already, nothing is left to do"
    if course.max_minutes is not None:
        return f"{course.max_minutes:g} minutes"
    if course.epochs is None or course.iterations is None:
        return "as long as the trainer decides"
    left = course.epochs - course.done
    return f"{left} epoch{'s' * (left != 1)} of {course.iterations} steps"


def _spent(cost: Cost, course: Course) -> str:
    """Memory and time of a training, or of 1000 steps where nobody knows how long it is."""
    if course.finished:
        return ""
    memory = f"{in_words(cost.training_memory)} of GPU memory"
    if course.max_minutes is not None:
        return f"{memory}, {duration(60 * course.max_minutes)}"
    if course.epochs is None or course.iterations is None:
        return f"{memory}, {duration(1000 * cost.step_seconds)} per 1000 steps"
    epoch = course.epoch_seconds or course.iterations * cost.step_seconds
    return f"{memory}, {duration((course.epochs - course.done) * epoch)}"


def _basis(cost: Cost, course: Course) -> str:
    return cost.basis if course.epoch_seconds is None else "what epochs of this model have taken"


def _state(folder: Path, *courses: Course) -> str:
    if all(course.finished for course in courses):
        return "finished"
    if begun := [course.done for course in courses if course.done and not course.finished]:
        return f"goes on after epoch {begun[0]}"
    return "is there, without this fold" if folder.is_dir() else "new"


def _show(project: Project, rows: Sequence[Row], rehearsal: Rehearsal, needed: int) -> None:
    from nnseg_core.cli.display import note, table

    table(("step", "what would be done", "what it costs, about"), rows, title="Nothing is written.")
    if rehearsal.hashes is None:
        note("The images have not been read: sizes are those of their headers, without cropping.")
    free = free_disk(project.workspace.root)
    print(f"Disk: {in_words(needed)} needed, {in_words(free)} free in {project.workspace.root}")
    if needed > free:
        note("warning: that is not enough. Free some, or choose another --workspace.")
