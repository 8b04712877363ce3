"""``nnseg ensemble``: the mean of several folders of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ensemble(
    context: typer.Context,
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDERS...", help="Folders written by nnseg predict --probabilities."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the masks.")],
    dataset_json: Annotated[
        Path | None,
        typer.Option(help="dataset.json with the label names.  [default: beside a folder]"),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder whose labels these are, in its place.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option(help="Also write the mean probabilities (float32, npz).")
    ] = False,
) -> None:
    """Average the class probabilities of several predictions of the same cases into masks.

    Example: nnseg ensemble masks_2d masks_3d masks --model MODEL
    """
    from nnseg_core.cli.display import note, reporter
    from nnseg_core.pipeline.ensembling import ensemble as run
    from nnseg_core.pipeline.ensembling import find_predictions
    from nnseg_core.pipeline.evaluation import find_labels
    from nnseg_core.project import choose_reader

    found = find_predictions(predictions)
    description = find_labels(model, dataset_json, (*predictions, output))
    example = found.folders[0] / f"{found.cases[0]}{description.file_ending}"
    reader = choose_reader(context.obj, description, example)
    done = run(reader, description, found, output, probabilities, reporter())
    note(f"masks written: {done}, each the mean of {len(found.folders)}")
    print(output)
