"""``nnseg find-lr``: which learning rate to begin with, from a hundred steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnseg_core.cli.options import (
    Architecture,
    ConfigurationName,
    DatasetPath,
    Device,
    Loss,
    Memory,
    PlanName,
    PlannerName,
    Seed,
    Settings,
    Trainer,
    Workers,
    WorkspacePath,
    named_parts,
    open_project,
    parse_settings,
)
from nnseg_core.errors import PlanError


def find_lr(
    context: typer.Context,
    dataset: DatasetPath,
    configuration: ConfigurationName,
    fold: Annotated[str, typer.Option(help="Fold whose training cases are used.")] = "0",
    trainer: Trainer = None,
    loss: Loss = None,
    architecture: Architecture = None,
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
    seed: Seed = 0,
    device: Device = "auto",
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Suggest a learning rate: take steps while it rises, and see where the loss falls fastest.

    Nothing is trained that stays. Prints the option to train with, and draws the curve.

    Example: nnseg find-lr Dataset004_Hippocampus 3d_fullres --set trainer.optimizer=adamw
    """
    from nnseg_core.cli.order import chosen_plan, ordered, trial
    from nnseg_core.learning_rates import draw, suggest
    from nnseg_core.pipeline.rate_finding import try_learning_rates
    from nnseg_core.project import check_device

    if not 0 < lowest < highest:
        raise PlanError(f"--lowest {lowest:g} must be above 0 and below --highest {highest:g}.")
    parts = {"trainer": trainer, "loss": loss, "architecture": architecture}
    given = parse_settings(settings)
    typed = [planner, *parts.values(), *named_parts(given)]
    project = open_project(context.obj, dataset, workspace, workers, typed)
    order = ordered(
        *(configuration, planner, plan_name, given, memory), parts=parts, device=device, seed=seed
    )
    plan = chosen_plan(project, order)
    check_device(project, plan.configurations[configuration], plan.dataset, device)
    nowhere = project.workspace.model(project.name, "find-lr")  # nothing is written there
    request = trial(project, order, plan, fold, nowhere)
    curve = try_learning_rates(project, request, lowest, highest, steps)
    rate = float(f"{suggest(curve):.1g}")
    path = output or Path(f"find-lr_{configuration}.png")
    draw(curve, rate, f"{project.name}, {configuration}", path)
    print(f"curve: {path}")
    print(f"suggested: --set trainer.learning_rate={rate:g}")
