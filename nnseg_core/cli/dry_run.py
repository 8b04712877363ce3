"""``--dry-run``: what a command would do and what that costs, with nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnseg_core.machine import free_disk, in_words
from nnseg_core.plan import ComponentRef

if TYPE_CHECKING:
    from nnseg_core.pipeline.costs import Cost
    from nnseg_core.pipeline.rehearsal import Course, Rehearsal
    from nnseg_core.plan import Plan
    from nnseg_core.project import Project

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


def show_training(
    project: Project,
    planner: ComponentRef,
    plan_name: str,
    configuration: str,
    fold: str,
    name: str | None,
    parts: Mapping[str, str | None],
    settings: Mapping[str, Any],
    restart: bool,
) -> None:
    """Print what ``nnseg train`` would do."""
    from dataclasses import replace

    from nnseg_core.cli.plan import require_configuration
    from nnseg_core.cli.train import model_name, with_choices
    from nnseg_core.pipeline import require_same_plan, require_trainable
    from nnseg_core.pipeline.rehearsal import (
        rehearse,
        rehearse_split,
        rehearse_training,
    )

    rehearsal = rehearse(project, planner, plan_name)
    require_trainable(rehearsal.plan, require_configuration(rehearsal.plan, configuration))
    plan = with_choices(project, rehearsal.plan, configuration, parts, settings)
    folder = project.workspace.model(
        project.name, name or model_name(plan_name, configuration, plan, parts)
    )
    if not restart:
        require_same_plan(folder, plan, configuration)
    split, drawn = rehearse_split(project, fold)
    course = rehearse_training(project, plan, configuration, folder, fold)
    if restart:
        course = replace(course, done=0, finished=False)
    known = _costs(project, rehearsal, plan, plan_name)
    preprocessing, needed = _preprocessing(project, rehearsal, plan_name, configuration, known)
    cases = f"{len(split.train)} cases to learn from, {len(split.validation)} to validate with"
    rows = [
        *_prepared(project, rehearsal, plan_name),
        preprocessing,
        ("splits", "as they are" if drawn or fold == "all" else "would be drawn", ""),
        ("train", f"fold {fold}: {cases}; {_length(course)}", _spent(known[configuration], course)),
        ("", f"model folder {folder} ({_state(folder, course)})", ""),
    ]
    _show(project, rows, rehearsal, needed)
    if not course.finished and course.max_minutes is None:
        print(f"The time is {_basis(known[configuration], course)}.")


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
    checked = rehearsal.hashes is not None
    path = project.workspace.plan(project.name, plan_name)
    return [
        ("check", f"{cases} cases: {'as they were' if checked else 'would be read'}", ""),
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


def _length(course: Course) -> str:
    if course.finished:
        return "trained already, nothing is left to do"
    if course.max_minutes is not None:
        return f"{course.max_minutes:g} minutes"
    if course.epochs is None or course.iterations is None:
        return "as long as the trainer decides"
    return f"{course.epochs - course.done} epochs of {course.iterations} steps"


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


def _state(folder: Path, course: Course) -> str:
    if course.finished:
        return "finished"
    if course.done:
        return f"goes on after epoch {course.done}"
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
