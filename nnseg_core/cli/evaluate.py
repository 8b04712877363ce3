"""``nnseg evaluate``: score masks against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    context: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    references: Annotated[
        Path, typer.Argument(help="Folder of reference masks, of the same names.")
    ],
    dataset_json: Annotated[
        Path | None,
        typer.Option(help="dataset.json with the label names.  [default: beside the references]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for summary.json and scores.csv.  [default: PREDICTIONS]"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images: overlay pictures are drawn.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Of the surface Dice, in mm.")] = 1.0,
    allow_missing: Annotated[
        bool,
        typer.Option(help="Score what there is; references without a prediction are left out."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0 works in this one.")
    ] = None,
) -> None:
    """Score masks: Dice, IoU, surface Dice, HD95, volume error; per case, label and overall.

    A structure that was missed counts as 0, it is never dropped. summary.json says what each
    number means.

    Example: nnseg evaluate masks Dataset004_Hippocampus/labelsTs
    """
    from nnseg_core.cli.display import reporter
    from nnseg_core.cli.order import show_scores
    from nnseg_core.errors import DatasetError
    from nnseg_core.parallel import default_workers
    from nnseg_core.pipeline.drawing import draw_folder
    from nnseg_core.pipeline.evaluation import evaluate as run
    from nnseg_core.pipeline.evaluation import find_description, write_scores
    from nnseg_core.pipeline.prediction import find_inputs
    from nnseg_core.project import choose_reader
    from nnseg_core.writing import require_place

    if not predictions.is_dir():
        raise DatasetError(f"there is no folder {predictions}.")
    description = find_description(dataset_json, predictions, references)
    example = next(predictions.glob(f"*{description.file_ending}"), None)
    reader = choose_reader(context.obj, description, example)
    folder = output or predictions
    require_place(folder)  # before the work, which may find nothing to write
    if images is not None:
        find_inputs([images], description.file_ending)
    scores, failed = run(
        reader,
        description,
        predictions,
        references,
        tolerance=tolerance,
        allow_missing=allow_missing,
        workers=default_workers() if workers is None else workers,
        report=reporter(),
    )
    write_scores(folder, scores, description.labels)
    if images is not None:
        draw_folder(reader, description, images, predictions, references)
    show_scores(scores)
    if failed:
        raise failed
    print(folder / "summary.json")
