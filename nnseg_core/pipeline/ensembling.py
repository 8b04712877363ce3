"""Average the class probabilities of several folders of predictions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nnseg_core.averaging import decide
from nnseg_core.case import Segmentation
from nnseg_core.contracts import Reader
from nnseg_core.dataset import DatasetDescription
from nnseg_core.errors import DatasetError
from nnseg_core.pipeline.prediction import PROBABILITIES, write_mask
from nnseg_core.progress import Report, silent
from nnseg_core.writing import make_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Folders of predictions with probabilities, and the cases that all of them have."""

    folders: tuple[Path, ...]
    cases: tuple[str, ...]


def find_predictions(folders: Sequence[Path]) -> Folders:
    """The cases of some folders. Raises ``DatasetError`` unless every one has all of them."""
    found = {
        folder: {path.name.removesuffix(PROBABILITIES) for path in folder.glob(f"*{PROBABILITIES}")}
        for folder in folders
    }
    if len(found) < 2:
        raise DatasetError("an ensemble needs two folders of predictions, or more.")
    cases = set[str]().union(*found.values())
    if not cases:
        raise DatasetError(
            f"no probabilities (*{PROBABILITIES}) in {', '.join(map(str, folders))}. "
            "Predict with --probabilities."
        )
    lacking = [
        f"{folder} lacks {', '.join(sorted(cases - there)[:5])}"
        f"{' ...' if len(cases - there) > 5 else ''}"
        for folder, there in found.items()
        if cases - there
    ]
    if lacking:
        raise DatasetError(
            f"every folder needs the probabilities of all cases, but {'; '.join(lacking)}. "
            "Predict these with --probabilities."
        )
    return Folders(folders=tuple(folders), cases=tuple(sorted(cases)))


def ensemble(
    reader: Reader,
    description: DatasetDescription,
    found: Folders,
    output: Path,
    probabilities: bool = False,
    report: Report = silent,
) -> int:
    """Write the masks that the mean of the probabilities amounts to; returns how many.

    Raises ``DatasetError`` where probabilities of a case differ in shape, or do not fit the labels.
    """
    if output.resolve() in {folder.resolve() for folder in found.folders}:
        raise DatasetError(f"the ensemble would replace the predictions in {output}.")
    make_folder(output)
    for done, case in enumerate(found.cases, start=1):
        mean = _mean(found.folders, case, description.labels.outputs)
        _, geometry = reader.read_label(found.folders[0] / f"{case}{description.file_ending}")
        segmentation = Segmentation(
            identifier=case,
            label=decide(mean, description.labels),
            geometry=geometry,
            probability=mean if probabilities else None,
        )
        write_mask(output, segmentation, reader, description.file_ending)
        report("ensemble", done, len(found.cases), case)
    return len(found.cases)


def _mean(folders: Sequence[Path], case: str, outputs: int) -> NDArray[np.float32]:
    """One array after the other, so that two are in memory."""
    total: NDArray[np.float32] | None = None
    for folder in folders:
        path = folder / f"{case}{PROBABILITIES}"
        probability = _read(path)
        if probability.shape[0] != outputs:
            raise DatasetError(
                f"{path} holds {probability.shape[0]} outputs, but the labels need {outputs}."
            )
        if total is None:
            total = probability
        elif total.shape != probability.shape:
            raise DatasetError(
                f"{path} has shape {probability.shape}, but that of {folders[0]} is {total.shape}."
            )
        else:
            total += probability
    assert total is not None, "there are folders"
    total /= np.float32(len(folders))
    return total


def _read(path: Path) -> NDArray[np.float32]:
    try:
        # Opened here, since numpy leaves a file open that turns out to be torn.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return np.asarray(file["probability"], dtype=np.float32)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}. Predict that case again.") from error
