"""``nnseg select``: the best of the trained models and their pairs, as one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import (
    DatasetPath,
    Device,
    Settings,
    Workers,
    WorkspacePath,
    folder_name,
    open_project,
    parse_settings,
)

if TYPE_CHECKING:
    from nnseg_core.selection import Selection


def select(
    context: typer.Context,
    dataset: DatasetPath,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model to compare, by its folder's name. Repeatable.  [default: all]"),
    ] = None,
    fold: Annotated[
        list[str] | None,
        typer.Option(help="Fold to compare on: 0 or 0,1. Repeatable.  [default: all there are]"),
    ] = None,
    ensembles: Annotated[
        bool, typer.Option(help="Try every pair of models as an ensemble too.")
    ] = True,
    postprocessor: Annotated[
        str,
        typer.Option(help="What is tried on the best: largest, large, none, or module:attribute."),
    ] = "largest",
    settings: Settings = None,
    name: Annotated[
        str, typer.Option(help="Name of the folder of the selected model.")
    ] = "selected",
    device: Device = "auto",
    trust: Annotated[
        list[str] | None, typer.Option(help="Import path that a model may name. Repeatable.")
    ] = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Choose the best model or pair of models by their Dice on cases they have not seen.

    Postprocessing is fitted to the best, and kept only if it helps. The last line it prints is the
    path of one model folder, with all that prediction needs.

    Example: nnseg select Dataset004_Hippocampus
    """
    from nnseg_core.pipeline.postprocessing import with_options
    from nnseg_core.pipeline.selection import select as run
    from nnseg_core.plan import ComponentRef

    reference = with_options(ComponentRef(name=postprocessor), parse_settings(settings))
    folder_name("--name", name)
    typed = [postprocessor, *(trust or ())]
    project = open_project(context.obj, dataset, workspace, workers, typed)
    folder, selection = run(
        project,
        models=model,
        folds=fold,
        postprocessor=reference,
        ensembles=ensembles,
        name=name,
        device=device,
    )
    show_selection(selection, folder)
    print(folder)


def show_selection(selection: Selection, folder: Path) -> None:
    """Print the table of candidates, what was chosen, and how to predict with it."""
    from nnseg_core.cli.display import note, table
    from nnseg_core.selection import described, rows

    for left_out, reason in selection.left_out.items():
        note(f"not compared: {left_out}: {reason}")
    columns, *body = rows(selection)
    folds = ", ".join(selection.folds)
    table(columns, body, title=f"cases: {selection.cases}, out of folds {folds}; Dice")
    print(f"best: {selection.best.name}; postprocessing: {described(selection)}")
    print(f"nnseg predict {folder} IMAGES MASKS")
