"""What a dataset is: its description and its cases. And how nnU-Net's folder is read in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnseg_core.dataset.annotated import mistakes
from nnseg_core.dataset.description import (
    DatasetDescription,
    read_description,
)
from nnseg_core.dataset.entries import are_all, near
from nnseg_core.errors import DatasetError


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRef:
    """A case by its files: one image per channel (or one for all), and a label if there is one."""

    identifier: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset folder: its description, and its training cases by identifier, sorted."""

    folder: Path
    description: DatasetDescription
    cases: tuple[CaseRef, ...] = field(default=())


def open_dataset(folder: Path) -> Dataset:
    """Read ``dataset.json`` and list the training cases of an nnU-Net dataset folder, in place.

    Images are ``imagesTr/CASE_0000.ending`` (one file per channel), labels
    ``labelsTr/CASE.ending``; the ``dataset`` key of ``dataset.json`` replaces both folders.

    Raises ``DatasetError`` when the folder, ``dataset.json`` or every training case is missing, or
    when its ``annotated`` fits no case.
    """
    description, raw = read_description(folder / "dataset.json")
    if "dataset" in raw:
        cases = _listed_cases(folder, raw["dataset"])
    else:
        cases = _folder_cases(folder, description)
    if not cases:
        raise DatasetError(_why_no_cases(folder, description.file_ending), code="no-cases")
    names = [case.identifier for case in cases]
    if wrong := mistakes(names, description.annotated):
        where = folder / "dataset.json"
        raise DatasetError("\n".join(f"{where}: {each}" for each in wrong), code="dataset-json")
    return Dataset(folder=folder, description=description, cases=cases)


def find_images(folder: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """Images of ``folder`` by case, in channel order (``CASE_0000.ending``, ``CASE_0001…``)."""
    pattern = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})" + re.escape(ending))
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):  # what macOS leaves in archives
            continue
        if match := pattern.fullmatch(path.name):
            found.setdefault(match["case"], {})[match["channel"]] = path
    return {case: tuple(files[c] for c in sorted(files)) for case, files in sorted(found.items())}


def _why_no_cases(folder: Path, ending: str) -> str:
    """What lies in the folder instead of training cases, and what should."""
    images = folder / "imagesTr"
    names = [path.name for path in _visible(images)]
    others = sorted({"".join(Path(name).suffixes[-2:]) for name in names})
    if not images.is_dir():
        found = f"there is no folder imagesTr{_similar('imagesTr', folder)}"
    elif not names:
        found = "imagesTr is empty"
    elif any(name.endswith(ending) for name in names):
        found = f"of {len(names)} files in imagesTr, none has the number of its channel in its name"
    else:
        found = (
            f"none of the {len(names)} files in imagesTr ends in {ending!r}, which is file_ending "
            f"in dataset.json; they end in {', '.join(map(repr, others[:5]))}"
        )
    return (
        f"{folder} has no training cases: {found}. Expected images named "
        f"imagesTr/CASE_0000{ending} and labels labelsTr/CASE{ending}; "
        f"file_ending in dataset.json is {ending!r}."
        + (" 'nnseg fix' makes a copy with these names." if names else "")
    )


def _similar(name: str, folder: Path) -> str:
    close = near(name, [path.name for path in _visible(folder)])
    return f", but {close!r}" if close else ""


def _visible(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.startswith("."))


def _folder_cases(folder: Path, description: DatasetDescription) -> tuple[CaseRef, ...]:
    images = find_images(folder / "imagesTr", description.file_ending)
    if images and not (folder / "labelsTr").is_dir():
        raise DatasetError(
            f"{folder} has no folder labelsTr{_similar('labelsTr', folder)}. It holds a label for "
            f"every image, named labelsTr/CASE{description.file_ending}.",
            code="no-cases",
        )
    labels = {case: folder / "labelsTr" / f"{case}{description.file_ending}" for case in images}
    return tuple(
        CaseRef(
            identifier=case, images=files, label=labels[case] if labels[case].is_file() else None
        )
        for case, files in images.items()
    )


def _listed_cases(folder: Path, listed: Any) -> tuple[CaseRef, ...]:
    if not isinstance(listed, Mapping):
        raise DatasetError(f'"dataset" in {folder / "dataset.json"} must map case names to files.')
    return tuple(_listed_case(folder, case, entry) for case, entry in sorted(listed.items()))


def _listed_case(folder: Path, case: str, entry: Any) -> CaseRef:
    files = entry if isinstance(entry, Mapping) else {}
    images, label = files.get("images"), files.get("label") or ""
    if not isinstance(images, list) or not images or not are_all(str, [*images, label]):
        raise DatasetError(
            f'case {case!r} under "dataset" in {folder / "dataset.json"} needs '
            '{"images": ["…"], "label": "…"}.'
        )
    return CaseRef(
        identifier=case,
        images=tuple((folder / image).resolve() for image in images),
        label=(folder / label).resolve() if label else None,
    )
