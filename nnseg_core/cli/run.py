"""``nnseg run``: everything for a dataset, from its files to one selected model and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.control import Epochs, MaxTime, StopFile, budget
from nnseg_core.cli.options import (
    DatasetPath,
    Device,
    DryRun,
    Loss,
    Memory,
    PlanName,
    PlannerName,
    Seed,
    Settings,
    Trainer,
    Trust,
    Workers,
    WorkspacePath,
    folder_name,
    named_parts,
    open_project,
    parse_settings,
)
from nnseg_core.cli.plan import require_configuration
from nnseg_core.errors import NnsegError
from nnseg_core.plan import Plan
from nnseg_core.team import current

if TYPE_CHECKING:
    from nnseg_core.cli.order import Order
    from nnseg_core.project import Project
    from nnseg_core.training import TrainedModel


def run(
    context: typer.Context,
    dataset: DatasetPath,
    configuration: Annotated[
        list[str] | None,
        typer.Option(
            "--configuration", "-c", help="Train this one only. Repeatable.  [default: all planned]"
        ),
    ] = None,
    fold: Annotated[
        list[str] | None,
        typer.Option("--fold", help="Fold to train: 0, 0,1 or each. Repeatable.  [default: each]"),
    ] = None,
    trainer: Trainer = None,
    loss: Loss = None,
    settings: Settings = None,
    epochs: Epochs = None,
    max_time: MaxTime = None,
    planner: PlannerName = "standard",
    memory: Memory = None,
    plan_name: PlanName = None,
    name: Annotated[
        str, typer.Option(help="Name of the folder of the selected model.")
    ] = "selected",
    seed: Seed = 0,
    device: Device = "auto",
    stop_file: StopFile = None,
    dry_run: DryRun = False,
    trust: Trust = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Check, plan, preprocess, train all folds of all configurations, select, and report.

    Stopped at any point, the same command goes on from there. `--epochs` and `--max-time` are for
    each fold. The last line it prints is the path of one model folder, with all that prediction
    needs and a page `report.html`.

    Example: nnseg run Dataset004_Hippocampus --max-time 2h
    """
    from nnseg_core.cli.order import ordered

    given = parse_settings(settings)
    limits = budget(given, epochs, max_time, extend=None, restart=False)
    folder_name("--name", name)
    _require_unseen(fold)
    typed = [planner, trainer, loss, *named_parts(given), *(trust or ())]
    project = open_project(context.obj, dataset, workspace, workers, typed)
    order = ordered(
        *("", planner, plan_name, given, memory),
        parts={"trainer": trainer, "loss": loss},
        limits=limits,
        folds=fold or ["each"],
        device=device,
        seed=seed,
        stop_file=stop_file,
    )
    if dry_run:
        _rehearse(project, order, configuration)
        return
    print(_run(project, order, configuration, name))


def _run(project: Project, order: Order, wanted: Sequence[str] | None, name: str) -> Path:
    from nnseg_core.cli.display import note
    from nnseg_core.cli.order import carry_out, planned
    from nnseg_core.cli.select import show_selection
    from nnseg_core.pipeline import read_or_make_folds
    from nnseg_core.pipeline.reporting import write_report
    from nnseg_core.pipeline.selection import require_replaceable, select

    require_replaceable(project, name)
    orders = _orders(planned(project, order), order, wanted)
    models = []
    for number, one in enumerate(orders, start=1):
        note(f"{one.configuration} ({number} of {len(orders)})")
        models.append(carry_out(project, one))
    if not current().ranks.main:  # the rest is one process's work
        return project.workspace.model(project.name, name)
    note("comparing what was trained")
    folds = tuple(read_or_make_folds(project, order.folds))
    names = [model.name for model in models]
    folder, selection = select(project, names, folds, name=name, device=order.device)
    show_selection(selection, folder)
    report = write_report(selection, _members(project, selection.best.members), folder)
    note(f"report: {report}")
    return folder


def _require_unseen(folds: Sequence[str] | None) -> None:
    """Refuse fold ``all`` before any work: models are compared on cases they have not seen."""
    if any(part.strip() == "all" for item in folds or () for part in item.split(",")):
        raise NnsegError(
            "--fold all leaves no case unseen, and nnseg run compares on those. Name folds by "
            "number (nnseg split draws as few as 2), or train by nnseg train --fold all."
        )


def _rehearse(project: Project, order: Order, wanted: Sequence[str] | None) -> None:
    from nnseg_core.cli.display import note
    from nnseg_core.cli.dry_run import show_training
    from nnseg_core.pipeline.rehearsal import rehearse

    plan = rehearse(project, order.planner, order.plan_name).plan
    show_training(project, _orders(plan, order, wanted))
    note("Then the models and their pairs would be compared, and the best written as one model.")


def _orders(plan: Plan, order: Order, wanted: Sequence[str] | None) -> list[Order]:
    """One for each configuration, a stage before the cascade that follows it."""
    names = [require_configuration(plan, name) for name in wanted or plan.configurations]
    ordered = dict.fromkeys(stage for name in names for stage in plan.stages(name))
    chosen = [name for name in ordered if name in names]
    return [replace(order, configuration=name) for name in chosen]


def _members(project: Project, names: Sequence[str]) -> list[TrainedModel]:
    from nnseg_core.model_folder import open_model

    return [open_model(project.workspace.model(project.name, name)) for name in names]
