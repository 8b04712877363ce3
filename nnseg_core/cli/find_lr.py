"""``nnseg find-lr``: which learning rate to begin with, from a hundred steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnseg_core.cli.check import require_usable
from nnseg_core.cli.options import (
    DatasetPath,
    Device,
    Memory,
    PlanName,
    PlannerName,
    Settings,
    Workers,
    WorkspacePath,
    named_parts,
    open_project,
    parse_settings,
    planner_options,
)
from nnseg_core.cli.plan import plan_folder, require_configuration
from nnseg_core.errors import PlanError
from nnseg_core.plan import ComponentRef


def find_lr(
    context: typer.Context,
    dataset: DatasetPath,
    configuration: Annotated[
        str, typer.Argument(help="2d, 3d_fullres, ...: a configuration of the plan.")
    ],
    fold: Annotated[str, typer.Option(help="Fold whose training cases are used.")] = "0",
    trainer: Annotated[
        str | None, typer.Option(help="Trainer: a name, or module:attribute.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Loss: a name, or module:attribute.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Network: a name, or module:attribute.")
    ] = None,
    lowest: Annotated[float, typer.Option(help="Learning rate of the first step.")] = 1e-5,
    highest: Annotated[float, typer.Option(help="Learning rate of the last step.")] = 1.0,
    steps: Annotated[int, typer.Option(min=20, help="Steps of the optimizer.")] = 100,
    output: Annotated[
        Path | None, typer.Option(help="Picture to draw.  [default: find-lr_CONFIGURATION.png]")
    ] = None,
    settings: Settings = None,
    planner: PlannerName = "standard",
    memory: Memory = None,
    plan_name: PlanName = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0,
    device: Device = "auto",
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Suggest a learning rate: take steps while it rises, and see where the loss falls fastest.

    Nothing is trained that stays. Prints the option to train with, and draws the curve.

    Example: nnseg find-lr Dataset004_Hippocampus 3d_fullres --set trainer.optimizer=adamw
    """
    from nnseg_core.cli.order import with_choices
    from nnseg_core.learning_rates import draw, suggest
    from nnseg_core.pipeline import (
        TrainingRequest,
        preprocess,
        read_or_make_plan,
        read_or_make_splits,
    )
    from nnseg_core.pipeline.rate_finding import try_learning_rates
    from nnseg_core.project import check_device

    if not 0 < lowest < highest:
        raise PlanError(f"--lowest {lowest:g} must be above 0 and below --highest {highest:g}.")
    parts = {"trainer": trainer, "loss": loss, "architecture": architecture}
    given = parse_settings(settings)
    typed = [planner, *parts.values(), *named_parts(given)]
    project = open_project(context.obj, dataset, workspace, workers, typed)
    own, others = planner_options(given, memory)
    plan_name = plan_folder(planner, plan_name)
    reference = ComponentRef(name=planner, options=own)
    require_usable(project, reference)
    plan = read_or_make_plan(project, reference, plan_name)
    require_configuration(plan, configuration)
    plan = with_choices(project, plan, configuration, parts, others)
    check_device(project, plan.configurations[configuration], plan.dataset, device)
    request = TrainingRequest(
        plan=plan,
        name=configuration,
        fold=fold,
        split=read_or_make_splits(project, fold),
        store=preprocess(project, plan, plan_name, configuration),
        folder=project.workspace.model(project.name, "find-lr"),  # nothing is written there
        device=device,
        seed=seed,
        workers=project.workers,
        settings=given,
    )
    curve = try_learning_rates(project, request, lowest, highest, steps)
    rate = float(f"{suggest(curve):.1g}")
    path = output or Path(f"find-lr_{configuration}.png")
    draw(curve, rate, f"{project.name}, {configuration}", path)
    print(f"curve: {path}")
    print(f"suggested: --set trainer.learning_rate={rate:g}")
