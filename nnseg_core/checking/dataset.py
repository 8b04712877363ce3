"""Check a dataset: everything that is wrong with it, in one pass."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nnseg_core.checking.annotation import check_annotation
from nnseg_core.checking.case import CaseCheck, check_case
from nnseg_core.checking.findings import Finding, error, warning
from nnseg_core.checking.grids import times
from nnseg_core.contracts import Reader
from nnseg_core.dataset import (
    KEYS,
    CaseRef,
    Dataset,
    Labels,
    find_images,
    read_description,
    regions,
)

SPACING_FACTOR = 3.0
"""From the median: the ratio from which nnU-Net calls a spacing anisotropic."""

ABSURD_FACTOR = 50.0
"""From the median: no two scanners differ that much, but micrometres do from millimetres."""

IMAGE_ENDINGS = (
    *(".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".dcm", ".img", ".npy", ".npz"),
    *(".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg"),
)
"""What files end in that are taken for images, whether or not there is a reader for them."""


def check_dataset(
    dataset: Dataset, reader: Reader, on_case: Callable[[CaseRef], None] | None = None
) -> tuple[Finding, ...]:
    """All findings: of the folder, of every case, and of the cases side by side.

    ``on_case`` is called after each case. To check cases in parallel, call the three parts.
    """
    checks = []
    for case in dataset.cases:
        checks.append(check_case(case, dataset.description, reader)[1])
        if on_case is not None:
            on_case(case)
    of_cases = [finding for check in checks for finding in check.findings]
    return (*check_folder(dataset), *of_cases, *check_across(checks, dataset))


def check_folder(dataset: Dataset) -> tuple[Finding, ...]:
    """What the names of the files and ``dataset.json`` tell."""
    return (
        *_check_keys(dataset),
        *_check_count(dataset),
        *_check_strays(dataset),
        *_check_endings(dataset),
        *_check_labels(dataset),
    )


def check_across(checks: Sequence[CaseCheck], dataset: Dataset) -> tuple[Finding, ...]:
    """What only shows when the cases are seen side by side."""
    return (
        *_check_occurrence(checks, dataset.description.labels),
        *check_annotation(checks, dataset),
        *_check_duplicates(checks),
        *_check_spacings(checks),
    )


def _check_count(dataset: Dataset) -> Iterator[Finding]:
    announced, found = dataset.description.training_cases, len(dataset.cases)
    if announced is not None and announced != found:
        yield warning(
            f"numTraining in dataset.json is {announced}, but there are {found} training cases",
            "Look for cases that were not copied, or correct numTraining.",
            file=dataset.folder / "dataset.json",
            code="num-training",
        )


def _check_strays(dataset: Dataset) -> Iterator[Finding]:
    """Files with the dataset's ending that belong to no case, listed or not."""
    ending = dataset.description.file_ending
    named = find_images(dataset.folder / "imagesTr", ending)  # "dataset" may list some of them
    images = {path.resolve() for case in dataset.cases for path in case.images}
    images |= {path.resolve() for files in named.values() for path in files}
    labels = {case.label.resolve() for case in dataset.cases if case.label}
    for path in _files(dataset.folder / "labelsTr", ending):
        name = path.name.removesuffix(ending)
        if path.resolve() not in labels and name not in named:
            yield error(
                "there is no image for this label",
                f"Add imagesTr/{name}_0000{ending}, or move the label elsewhere.",
                file=path,
                code="no-image",
            )
    for path in _files(dataset.folder / "imagesTr", ending):
        if path.resolve() not in images:
            name = path.name.removesuffix(ending)
            yield warning(
                "this image belongs to no case",
                f"Name it {name}_0000{ending} if it is channel 0 of case {name}.",
                file=path,
                code="stray-image",
            )


def _check_keys(dataset: Dataset) -> Iterator[Finding]:
    """Keys of dataset.json that are nearly, but not quite, those that mean something."""
    path = dataset.folder / "dataset.json"
    for key in read_description(path)[1] if path.is_file() else ():
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.8)
        if near and key not in KEYS:
            yield warning(
                f"dataset.json has the key {key!r}, which means nothing",
                f"If {near[0]!r} was meant, correct it.",
                file=path,
                code="unknown-key",
            )


def _check_endings(dataset: Dataset) -> Iterator[Finding]:
    """Images and labels that are left out in silence, because their name ends otherwise."""
    ending = dataset.description.file_ending
    listed = {file for case in dataset.cases for file in (*case.images, case.label)}
    for part in ("imagesTr", "labelsTr"):
        for path in _files(dataset.folder / part):
            if path.name.endswith(ending) or not path.name.lower().endswith(IMAGE_ENDINGS):
                continue
            twin = path.with_name(path.name.removesuffix(".gz"))
            twins = {twin, twin.with_name(f"{twin.name}.gz")}  # two-files tells of those
            if not twins & listed:
                yield warning(
                    f"{part}/{path.name} does not end in {ending}, so it is not read",
                    f"Convert it to {ending}, or move it elsewhere.",
                    file=path,
                    code="other-ending",
                )


def _files(folder: Path, ending: str = "") -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in found if p.name.endswith(ending) and not p.name.startswith("."))


def _check_labels(dataset: Dataset) -> Iterator[Finding]:
    labels, file = dataset.description.labels, dataset.folder / "dataset.json"
    values = [*labels.foreground, *labels.ignored]
    if values != list(range(1, len(values) + 1)):
        yield warning(
            f"label values are {', '.join(map(str, values))}, not 1 to {len(values)}"
            + (" with ignore as the highest" if labels.ignored else ""),
            "Nothing needs to be done here, but nnU-Net refuses this.",
            file=file,
            code="label-values",
        )
    for nested, later in regions.erased(labels.values) if labels.is_regions else ():
        yield error(
            f"regions_class_order paints region {later!r} over {nested!r}, which is a part of it, "
            "so that no mask would ever have it",
            "Delete regions_class_order: the right order follows from the regions. Or list the "
            "larger regions first, in labels and in regions_class_order.",
            file=file,
            code="paint-order-erases",
        )
    for (name, covered), painted in zip(labels.values.items(), labels.paint_order, strict=False):
        if painted not in covered:
            yield warning(
                f"regions_class_order paints region {name!r} with {painted}, which is none of its "
                f"values ({', '.join(map(str, covered))})",
                "Put the entries of regions_class_order into the order of the regions.",
                file=file,
                code="paint-order",
            )


def _check_occurrence(checks: Sequence[CaseCheck], labels: Labels) -> Iterator[Finding]:
    voxels: Counter[int] = Counter()
    for check in checks:
        voxels.update(check.voxels or {})
    if not voxels:
        return
    if voxels.keys() <= {0, *labels.ignored}:
        yield error(
            "no case has any foreground: all labels are background",
            "Look at the label files and at labels in dataset.json.",
            code="no-foreground",
        )
        return
    for name, covered in labels.values.items():
        if not any(voxels[value] for value in covered):
            yield warning(
                f"label {name!r} ({', '.join(map(str, covered))}) occurs in no case",
                "Take it out of dataset.json, or look for the cases that should have it.",
                code="absent-label",
            )


def _check_duplicates(checks: Sequence[CaseCheck]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for check in checks:
        if check.digest is None:
            continue
        original = first.setdefault(check.digest, check.identifier)
        if original != check.identifier:
            yield warning(
                f"its image has the same voxels as that of case {original}",
                "Keep one of them: a copy in another fold makes validation scores too good.",
                check.identifier,
                code="duplicate-image",
            )


def _check_spacings(checks: Sequence[CaseCheck]) -> Iterator[Finding]:
    known = [(check.identifier, check.geometry.spacing) for check in checks if check.geometry]
    if not known:
        return
    usual = np.median([spacing for _, spacing in known], axis=0)
    for name, spacing in known:
        ratio = np.asarray(spacing) / usual
        far = max(ratio.max(), 1 / ratio.min())
        if far > SPACING_FACTOR:
            absurd = far > ABSURD_FACTOR
            yield Finding(
                "error" if absurd else "warning",
                f"its voxels are {times(spacing)} mm (z, y, x), far from the median of "
                f"{times(usual)} mm",
                "Correct the spacing in its header; the unit may be wrong."
                if absurd
                else "Check spacing and axis order in its header; leave it if they are right.",
                name,
                code="spacing",
            )
