"""``nnseg train``: folds of one configuration, whatever is missing before them included."""

from __future__ import annotations

from typing import Annotated

import typer

from nnseg_core.cli.beginning import Adapt, From, SourceFold, beginning
from nnseg_core.cli.control import Epochs, Extend, MaxTime, StopFile, budget
from nnseg_core.cli.folds import Folds
from nnseg_core.cli.options import (
    Architecture,
    ConfigurationName,
    DatasetPath,
    Device,
    DryRun,
    FreezePlan,
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


def train(
    context: typer.Context,
    dataset: DatasetPath,
    configuration: ConfigurationName,
    fold: Folds = None,
    trainer: Trainer = None,
    loss: Loss = None,
    augmentation: Annotated[
        str | None, typer.Option(help="Augmentation: a name, or module:attribute.")
    ] = None,
    architecture: Architecture = None,
    callback: Annotated[
        list[str] | None,
        typer.Option(help="Callback to add: a name, or module:attribute. Repeatable."),
    ] = None,
    settings: Settings = None,
    epochs: Epochs = None,
    max_time: MaxTime = None,
    source: From = None,
    source_fold: SourceFold = None,
    adapt: Adapt = False,
    planner: PlannerName = "standard",
    memory: Memory = None,
    plan_name: PlanName = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model folder.  [default: made from the parts]")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    restart: Annotated[
        bool, typer.Option(help="Begin anew; without it an unfinished training goes on.")
    ] = False,
    extend: Extend = None,
    stop_file: StopFile = None,
    logits: Annotated[
        bool,
        typer.Option(
            "--logits/--no-logits",
            help="Keep the logits of the validation for nnseg select, a few MB a scan.",
        ),
    ] = True,
    freeze_plan: FreezePlan = False,
    previous: Annotated[
        str | None,
        typer.Option(
            help="Of a cascade: name of the model folder of the stage before it.  "
            "[default: made from the parts]"
        ),
    ] = None,
    dry_run: DryRun = False,
    trust: Trust = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Train a fold or several, and predict and score the validation cases of each in full.

    Checks, measures, plans and preprocesses by itself where that has not been done. A cascade has
    the folds of the stage before it trained first. The last line printed is the path of the model
    folder.

    Example: nnseg train Dataset004_Hippocampus 3d_fullres --trainer quick
    """
    from nnseg_core.cli.order import carry_out, ordered

    given = parse_settings(settings)
    limits = budget(given, epochs, max_time, extend, restart)
    if name is not None:
        folder_name("--name", name)
    parts = {
        "trainer": trainer,
        "loss": loss,
        "augmentation": augmentation,
        "architecture": architecture,
    }
    typed = [planner, *parts.values(), *named_parts(given), *(callback or ()), *(trust or ())]
    project = open_project(context.obj, dataset, workspace, workers, typed, freeze_plan)
    begun = beginning(source, source_fold, adapt, configuration)
    if begun is not None and plan_name is None and not adapt:
        plan_name = begun.label
    order = ordered(
        *(configuration, planner, plan_name, given, memory),
        parts=parts,
        limits=limits,
        callbacks=tuple(callback or ()),
        folds=fold,
        name=name,
        previous=previous,
        begun=begun,
        device=device,
        seed=seed,
        restart=restart,
        extend=extend,
        stop_file=stop_file,
        logits=logits,
    )
    if dry_run:
        from nnseg_core.cli.dry_run import show_training

        show_training(project, [order])
        return
    print(carry_out(project, order))
