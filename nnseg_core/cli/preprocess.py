"""``nnseg preprocess``: bring the cases of datasets to the network's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnseg_core.cli.check import require_usable
from nnseg_core.cli.options import (
    DryRun,
    FreezePlan,
    PlanName,
    PlannerName,
    Spacing,
    Trust,
    Workers,
    WorkspacePath,
    open_project,
    spacing_option,
)
from nnseg_core.cli.plan import plan_folder, require_configuration
from nnseg_core.plan import ComponentRef, Plan


def preprocess(
    context: typer.Context,
    datasets: Annotated[
        list[Path], typer.Argument(metavar="DATASET...", help="One or several dataset folders.")
    ],
    configuration: Annotated[
        list[str] | None,
        typer.Option("--configuration", "-c", help="Configuration to preprocess.  [default: all]"),
    ] = None,
    planner: PlannerName = "standard",
    plan_name: PlanName = None,
    spacing: Spacing = None,
    freeze_plan: FreezePlan = False,
    dry_run: DryRun = False,
    trust: Trust = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Bring the cases of datasets to the network's grid. Cases already there are kept.

    Training does this by itself; run it ahead of time to use a machine without a GPU.
    """
    from nnseg_core.pipeline import preprocess as run
    from nnseg_core.pipeline import read_or_make_plan

    for dataset in datasets:
        typed = [planner, *(trust or ())]
        project = open_project(context.obj, dataset, workspace, workers, typed, freeze_plan)
        reference = ComponentRef(name=planner, options=spacing_option(spacing))
        name = plan_folder(planner, plan_name)
        if dry_run:
            from nnseg_core.cli.dry_run import show_preprocessing

            show_preprocessing(project, reference, name, configuration)
            continue
        require_usable(project, reference)
        made = read_or_make_plan(project, reference, name)
        for chosen in configuration or _with_own_data(made):
            store = run(project, made, name, require_configuration(made, chosen))
            print(store.folder)


def _with_own_data(plan: Plan) -> list[str]:
    """All but cascades, which read the preprocessed cases of 3d_fullres."""
    return [
        name for name, configuration in plan.configurations.items() if not configuration.previous
    ]
