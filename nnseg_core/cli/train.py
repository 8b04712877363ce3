"""``nnseg train``: one fold of one configuration, whatever is missing before it included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnseg_core.cli.check import require_usable
from nnseg_core.cli.options import (
    DatasetPath,
    Device,
    DryRun,
    Memory,
    PlanName,
    PlannerName,
    Settings,
    Workers,
    WorkspacePath,
    folder_name,
    named_parts,
    open_project,
    parse_settings,
    planner_options,
)
from nnseg_core.cli.plan import plan_folder, require_configuration
from nnseg_core.plan import ComponentRef, Plan

if TYPE_CHECKING:
    from nnseg_core.project import Project
    from nnseg_core.scoring.scores import Scores

CALLBACKS = ("line", "csv", "plot")
"""Always there; more come with ``--callback``."""


def train(
    context: typer.Context,
    dataset: DatasetPath,
    configuration: Annotated[
        str, typer.Argument(help="2d, 3d_fullres, ...: a configuration of the plan.")
    ],
    fold: Annotated[str, typer.Option(help="Fold to train: 0 to 4, or all.")] = "0",
    trainer: Annotated[
        str | None, typer.Option(help="Trainer: a name, or module:attribute.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Loss: a name, or module:attribute.")] = None,
    augmentation: Annotated[
        str | None, typer.Option(help="Augmentation: a name, or module:attribute.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Network: a name, or module:attribute.")
    ] = None,
    callback: Annotated[
        list[str] | None,
        typer.Option(help="Callback to add: a name, or module:attribute. Repeatable."),
    ] = None,
    settings: Settings = None,
    planner: PlannerName = "standard",
    memory: Memory = None,
    plan_name: PlanName = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model folder.  [default: made from the parts]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0,
    device: Device = "auto",
    restart: Annotated[
        bool, typer.Option(help="Begin anew; without it an unfinished training goes on.")
    ] = False,
    dry_run: DryRun = False,
    trust: Annotated[
        list[str] | None, typer.Option(help="Import path that a plan may name. Repeatable.")
    ] = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Train one fold, then predict and score its validation cases in full.

    Checks, measures, plans and preprocesses by itself where that has not been done. The last line
    it prints is the path of the model folder.

    Example: nnseg train Dataset004_Hippocampus 3d_fullres --trainer quick
    """
    from nnseg_core import kinds
    from nnseg_core.pipeline import (
        TrainingRequest,
        preprocess,
        read_or_make_plan,
        read_or_make_splits,
        require_same_plan,
        require_trainable,
        validate,
    )
    from nnseg_core.pipeline import (
        train as run,
    )
    from nnseg_core.project import check_device

    parts = {
        "trainer": trainer,
        "loss": loss,
        "augmentation": augmentation,
        "architecture": architecture,
    }
    given = parse_settings(settings)
    if name is not None:
        folder_name("--name", name)
    typed = [planner, *parts.values(), *named_parts(given), *(callback or ()), *(trust or ())]
    project = open_project(context.obj, dataset, workspace, workers, typed)
    callbacks = [
        project.component(kinds.CALLBACK, reference).build()
        for reference in (*CALLBACKS, *(callback or ()))
    ]
    own, others = planner_options(given, memory)
    plan_name = plan_folder(planner, plan_name)
    reference = ComponentRef(name=planner, options=own)
    if dry_run:
        from nnseg_core.cli.dry_run import show_training

        show_training(
            *(project, reference, plan_name, configuration, fold, name, parts, others, restart)
        )
        return
    require_usable(project, reference)
    plan = read_or_make_plan(project, reference, plan_name)
    require_trainable(plan, require_configuration(plan, configuration))
    plan = with_choices(project, plan, configuration, parts, others)
    check_device(project, plan.configurations[configuration], plan.dataset, device)
    folder = project.workspace.model(
        project.name, name or model_name(plan_name, configuration, plan, parts)
    )
    if not restart:
        require_same_plan(folder, plan, configuration)
    split = read_or_make_splits(project, fold)
    store = preprocess(project, plan, plan_name, configuration)
    request = TrainingRequest(
        plan=plan,
        name=configuration,
        fold=fold,
        split=split,
        store=store,
        folder=folder,
        device=device,
        seed=seed,
        workers=project.workers,
        restart=restart,
        settings=given,
    )
    model = run(project, request, callbacks)
    show_scores(validate(project, model, request))
    print(model.folder)


def with_choices(
    project: Project,
    plan: Plan,
    name: str,
    parts: Mapping[str, str | None],
    settings: Mapping[str, Any],
) -> Plan:
    """The plan with the user's parts and settings in one configuration, all of them checked."""
    from dataclasses import replace

    from nnseg_core.project import (
        apply_settings,
        check_parts,
        choose_part,
        mirror_as_trained,
        require_same_cases,
    )

    chosen = apply_settings(choose_part(plan.configurations[name], parts), settings)
    require_same_cases(plan.configurations[name], chosen)
    check_parts(project, chosen, plan.dataset)
    chosen = mirror_as_trained(project, chosen, plan.dataset)
    return replace(plan, configurations={**plan.configurations, name: chosen})


def model_name(
    plan_name: str, configuration: str, plan: Plan, parts: Mapping[str, str | None]
) -> str:
    """``3d_fullres-quick``: what tells this model from others of the dataset."""
    trainer = plan.configurations[configuration].trainer.name
    others = [given for part, given in parts.items() if given and part != "trainer"]
    pieces = [*([] if plan_name == "standard" else [plan_name]), configuration, trainer, *others]
    return "-".join(pieces).replace(":", ".")


def show_scores(scores: Scores) -> None:
    """Print a table of means with their intervals, and what was missed."""
    from nnseg_core.cli.display import table
    from nnseg_core.scoring.tables import table as rows_of

    columns, *rows = rows_of(scores)
    table(columns, rows, title=f"cases: {len(scores.cases)}; mean (95 % interval)")
