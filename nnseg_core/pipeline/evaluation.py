"""Step 8: score masks against references."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nnseg_core import files
from nnseg_core.checking.case import check_values, count_values
from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef, DatasetDescription, Labels, read_description
from nnseg_core.errors import CasesFailed, DatasetError
from nnseg_core.model_folder import read_plan_of
from nnseg_core.parallel import map_cases, values
from nnseg_core.progress import Report, silent
from nnseg_core.scoring.scores import TOLERANCE, CaseScores, Scores, score_case, summarise
from nnseg_core.scoring.tables import COLUMNS, rows, summary


def evaluate(
    reader: Reader,
    description: DatasetDescription,
    predictions: Path,
    references: Path,
    *,
    tolerance: float = TOLERANCE,
    allow_missing: bool = False,
    workers: int = 0,
    report: Report = silent,
) -> tuple[Scores, CasesFailed | None]:
    """Score every reference mask of a folder against the prediction of the same name.

    Cases that cannot be scored, with a prediction on another grid for instance or a reference with
    a value that no label declares, are left out and named in the error that comes with the scores.

    Raises ``DatasetError`` for references without prediction (unless ``allow_missing``), and
    ``CasesFailed`` where no case can be scored.
    """
    pairs = _pairs(predictions, references, description.file_ending, allow_missing)
    return score_pairs(
        *(reader, description, pairs), tolerance=tolerance, workers=workers, report=report
    )


def score_pairs(
    reader: Reader,
    description: DatasetDescription,
    pairs: Sequence[CaseRef],
    *,
    tolerance: float = TOLERANCE,
    workers: int = 0,
    report: Report = silent,
) -> tuple[Scores, CasesFailed | None]:
    """Score masks against references; ``images`` of a pair is its mask. Raises as ``evaluate``."""
    work = partial(_score, reader=reader, description=description, tolerance=tolerance)
    scored: dict[str, CaseScores] = {}
    failed = None
    try:
        for case, scores in values(map_cases(work, pairs, workers)):
            scored[case.identifier] = scores
            report("evaluate", len(scored), len(pairs), case.identifier)
    except CasesFailed as error:
        if not scored:
            raise
        failed = error
    found = [scored[pair.identifier] for pair in pairs if pair.identifier in scored]
    return summarise(found, description.labels), failed


def write_scores(folder: Path, scores: Scores, labels: Labels) -> None:
    """Write ``summary.json`` (with nnU-Net's keys among ours) and ``scores.csv``."""
    files.write_json(folder / "summary.json", summary(scores, labels))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(scores))
    files.write_text(folder / "scores.csv", text.getvalue())


def find_description(given: Path | None, predictions: Path, references: Path) -> DatasetDescription:
    """The description with the label names: given, or found beside either folder.

    Raises ``DatasetError`` when there is none.
    """
    places = [
        folder / "dataset.json"
        for folder in (references, references.parent, predictions, predictions.parent)
    ]
    path = given or next((place for place in places if place.is_file()), None)
    if path is None:
        raise DatasetError(
            f"no dataset.json beside {references}: give the one with the label names by "
            "--dataset-json."
        )
    return read_description(path)[0]


def find_labels(
    model: Path | None, given: Path | None, folders: Sequence[Path]
) -> DatasetDescription:
    """The description with the label names: a model's, or given, or found beside some folders.

    Raises ``DatasetError`` when there is none.
    """
    if model is not None:
        return read_plan_of(model).dataset
    places = [place / "dataset.json" for f in folders for place in (f, f.resolve().parent)]
    path = given or next((place for place in places if place.is_file()), None)
    if path is None:
        raise DatasetError(
            "the label names are not known: give --model, or --dataset-json with the dataset.json "
            "that has them."
        )
    return read_description(path)[0]


def _pairs(
    predictions: Path, references: Path, ending: str, allow_missing: bool
) -> tuple[CaseRef, ...]:
    found = sorted(path for path in references.glob(f"*{ending}")) if references.is_dir() else []
    if not found:
        raise DatasetError(f"{references} holds no {ending} masks.")
    missing = [path.name for path in found if not (predictions / path.name).is_file()]
    if missing and not allow_missing:
        raise DatasetError(
            f"{len(missing)} of {len(found)} references have no prediction in {predictions}: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}. "
            "Predict them, or leave them out with --allow-missing."
        )
    pairs = tuple(
        CaseRef(
            identifier=path.name.removesuffix(ending),
            images=(predictions / path.name,),
            label=path,
        )
        for path in found
        if path.name not in missing
    )
    if not pairs:
        raise DatasetError(
            f"none of the references in {references} has a prediction in {predictions}."
        )
    return pairs


def _score(
    pair: CaseRef, *, reader: Reader, description: DatasetDescription, tolerance: float
) -> CaseScores:
    prediction, _ = reader.read_label(pair.images[0])
    if pair.label is None:  # _pairs gives every pair its reference
        raise ValueError(pair)
    reference, geometry = reader.read_label(pair.label)
    for finding in check_values(pair, count_values(reference), description.labels):
        raise DatasetError(str(finding))
    return score_case(
        pair.identifier,
        prediction,
        reference,
        geometry.spacing,
        description.labels,
        tolerance,
        description.annotated_in(pair.identifier),
    )
