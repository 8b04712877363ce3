"""Pictures of masks over their images, for whoever would rather look than read."""

from __future__ import annotations

from pathlib import Path

from nnseg_core.contracts import Reader
from nnseg_core.dataset import DatasetDescription
from nnseg_core.pictures import overlay_png
from nnseg_core.pipeline.prediction import find_inputs

PICTURES = 12
"""Drawn at most per folder; more would not be looked at."""


def draw_folder(
    reader: Reader,
    description: DatasetDescription,
    images: Path,
    predictions: Path,
    references: Path,
) -> list[Path]:
    """Draw predictions and references over their images, beside the predictions.

    Returns the pictures. Raises ``DatasetError`` when there are no images in ``images``.
    """
    ending = description.file_ending
    pictures: list[Path] = []
    for case in find_inputs([images], ending):
        masks = [folder / f"{case.identifier}{ending}" for folder in (predictions, references)]
        if len(pictures) == PICTURES or not all(mask.is_file() for mask in masks):
            continue
        image, geometry = reader.read(case.images)
        prediction, reference = (reader.read_label(mask)[0] for mask in masks)
        pictures.append(predictions / f"{case.identifier}_overlay.png")
        overlay_png(
            pictures[-1],
            image,
            spacing=geometry.spacing,
            labels=description.labels,
            title=case.identifier,
            prediction=prediction,
            reference=reference,
        )
    return pictures
