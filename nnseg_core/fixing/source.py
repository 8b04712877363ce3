"""What a dataset to mend consists of: a ``dataset.json`` or none, cases under any names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnseg_core.contracts import Reader
from nnseg_core.dataset import (
    BACKGROUND,
    CaseRef,
    DatasetDescription,
    Labels,
    describe,
    open_dataset,
    read_raw,
)
from nnseg_core.errors import DatasetError
from nnseg_core.fixing.change import Change
from nnseg_core.fixing.gather import Gathered, ending_of, gather, image_files

IMAGE_FOLDERS = ("imagesTr", "images", "image", "imgs", "img")
LABEL_FOLDERS = ("labelsTr", "labels", "label", "masks", "mask", "segmentations")
"""Folders that are taken for images and labels where no others are named."""

COLOURS = ("R", "G", "B")

ChooseReader = Callable[[DatasetDescription, Path | None], Reader]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user says of a dataset.

    ``images`` and ``labels`` are folders, ``names`` label values by name with background,
    ``channels`` their names in order.
    """

    images: Path | None = None
    labels: Path | None = None
    names: Mapping[str, int] | None = None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset as it is found. ``raw`` is what its dataset.json holds, or should."""

    raw: dict[str, Any]
    description: DatasetDescription
    cases: tuple[CaseRef, ...]
    changes: tuple[Change, ...]
    reader: Reader


def find_source(folder: Path, wishes: Wishes, choose_reader: ChooseReader) -> Source:
    """Read or make the description of a dataset, and find its cases.

    Raises ``DatasetError`` where there are none, or something must be told about them first.
    """
    described = folder / "dataset.json"
    if not described.is_file():
        return _undescribed(folder, wishes, choose_reader)
    raw = read_raw(described)
    raw |= {"labels": dict(wishes.names)} if wishes.names else {}
    raw |= {"channel_names": _numbered(wishes.channels)} if wishes.channels else {}
    description = describe(raw, name=folder.name, source=described)
    gathered = _described_cases(folder, raw, description, wishes)
    example = gathered.cases[0].images[0]
    return Source(
        raw=raw,
        description=description,
        cases=gathered.cases,
        changes=gathered.changes,
        reader=choose_reader(description, example),
    )


def _described_cases(
    folder: Path, raw: Mapping[str, Any], description: DatasetDescription, wishes: Wishes
) -> Gathered:
    if "dataset" in raw:
        cases = open_dataset(folder).cases
        lonely = [case.identifier for case in cases if case.label is None]
        changes = [Change("no-label", "left out: it has no label", name) for name in lonely]
        labelled = tuple(case for case in cases if case.label is not None)
        return _require_cases(Gathered(cases=labelled, changes=tuple(changes)), folder)
    images, labels = _folder_of_images(folder, wishes), _folder_of_labels(folder, wishes)
    return _require_cases(gather(images, labels, description.file_ending), folder)


def _undescribed(folder: Path, wishes: Wishes, choose_reader: ChooseReader) -> Source:
    images, labels = _folder_of_images(folder, wishes), _folder_of_labels(folder, wishes)
    endings = Counter(ending_of(path).lower() for path in image_files(images))
    ending = endings.most_common(1)[0][0]
    gathered = _require_cases(gather(images, labels, ending), folder)
    example = gathered.cases[0].images[0]
    guess = DatasetDescription(
        name=folder.name,
        channels=("image",),
        labels=Labels(values={"foreground": (1,)}),
        file_ending=ending,
    )
    reader = choose_reader(guess, example)
    names = dict(wishes.names) if wishes.names else _names_of(gathered.cases, reader)
    channels = wishes.channels or _channels_of(gathered.cases[0], reader)
    raw = {"channel_names": _numbered(channels), "labels": names, "file_ending": ending}
    made = Change("dataset-json", f"made: {', '.join(channels)}; {_shown(names)}")
    return Source(
        raw=raw,
        description=describe(raw, name=folder.name, source=folder / "dataset.json"),
        cases=gathered.cases,
        changes=(replace(made, file="dataset.json"), *gathered.changes),
        reader=reader,
    )


def _folder_of_images(folder: Path, wishes: Wishes) -> Path:
    return _chosen(folder, wishes.images, IMAGE_FOLDERS, "--images")


def _folder_of_labels(folder: Path, wishes: Wishes) -> Path:
    return _chosen(folder, wishes.labels, LABEL_FOLDERS, "--labels")


def _chosen(folder: Path, wished: Path | None, usual: Sequence[str], option: str) -> Path:
    """The folder that was named, inside the dataset or anywhere, else the first usual one."""
    tried = [folder / name for name in usual] if wished is None else [folder / wished, wished]
    found = next((path for path in tried if image_files(path)), None)
    if found is None:
        raise DatasetError(
            f"no image file is in {' or '.join(map(str, tried))}. "
            f"Name the folder with {option} FOLDER.",
            code="no-cases",
        )
    return found


def _require_cases(gathered: Gathered, folder: Path) -> Gathered:
    if not gathered.cases:
        left = "; ".join(f"{c.case or c.file}: {c.message}" for c in gathered.changes[:5])
        raise DatasetError(
            f"{folder} has no image with a label of the same name. {left or 'It is empty'}.",
            code="no-cases",
        )
    return gathered


def _names_of(cases: Sequence[CaseRef], reader: Reader) -> dict[str, int]:
    """A name for the only value that the labels hold beside 0.

    Raises ``DatasetError`` where they hold several: what they are, only the user knows.
    """
    values: set[int] = set()
    for case in cases:
        assert case.label is not None
        try:
            values |= set(map(int, _unique(reader.read_label(case.label)[0])))
        except DatasetError:  # said when the case is checked
            continue
    foreground = sorted(values - {0})
    if len(foreground) != 1:
        held = ", ".join(map(str, sorted(values)))
        example = ",".join(f"{value}=name{value}" for value in foreground)
        raise DatasetError(
            f"the labels hold the values {held}, and there is no dataset.json to name them. "
            f"Name them with --names 0=background,{example}.",
            code="dataset-json",
        )
    return {BACKGROUND: 0, "foreground": foreground[0]}


def _unique(label: Any) -> Any:
    import numpy as np

    return np.unique(label)


def _channels_of(case: CaseRef, reader: Reader) -> tuple[str, ...]:
    geometry, count = reader.peek(case.images[0])
    if len(case.images) == 1 and geometry.is_planar and count in (3, 4):
        return COLOURS
    if len(case.images) == 1 and geometry.is_planar:
        return ("image",)  # beside transparency, where there are two
    total = sum(reader.peek(path)[1] for path in case.images)
    return tuple(f"image_{number}" for number in range(total)) if total > 1 else ("image",)


def _numbered(channels: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(channels)}


def _shown(names: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in names.items())
