"""Check one case: its files, their grids and their values."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import RawCase
from nnseg_core.checking.findings import Finding, error, warning
from nnseg_core.checking.grids import displacement, same_place, same_spacing, times
from nnseg_core.checking.reading import MEND, Headers, read_headers, read_image, read_label
from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef, DatasetDescription, Labels
from nnseg_core.geometry import Geometry

CHANNEL_REMEDY = "Add what is missing, take away what is too much, or correct channel_names."
CHANNEL_REMEDIES = {
    "alpha": "Save it without transparency.",
    "joined": "Name all its channels in channel_names, or keep those you want in a file each.",
}
"""By the code of the finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCheck:
    """What was found in one case, and what is needed of it to compare it with the others.

    ``voxels`` counts voxels by label value, ``digest`` identifies the image by its voxels; None
    where the file could not be used.
    """

    identifier: str
    findings: tuple[Finding, ...]
    geometry: Geometry | None
    voxels: dict[int, int] | None
    digest: str | None


def check_case(
    case: CaseRef, description: DatasetDescription, reader: Reader
) -> tuple[RawCase | None, CaseCheck]:
    """Read a case, and find everything that is wrong with it by itself.

    The case comes back only where there is no error.
    """
    findings = list(_check_names(case, description))
    headers = read_headers(case, reader, findings)
    findings += [*_check_channels(case, headers, description), *_check_grids(case, headers)]
    image = read_image(case, headers, reader, findings)
    label = read_label(case, headers, reader, findings)
    voxels = None if label is None else count_values(label)
    findings += [] if image is None else _check_image(case, image, len(description.channels))
    findings += [] if voxels is None else check_values(case, voxels, description.labels)
    geometry = headers[case.images[0]][0] if case.images[0] in headers else None
    check = CaseCheck(
        identifier=case.identifier,
        findings=tuple(findings),
        geometry=geometry,
        voxels=voxels,
        digest=None if image is None else _digest(image),
    )
    if image is None or geometry is None or any(f.severity == "error" for f in findings):
        return None, check
    return RawCase(identifier=case.identifier, image=image, label=label, geometry=geometry), check


def _check_names(case: CaseRef, description: DatasetDescription) -> Iterator[Finding]:
    ending = description.file_ending
    if case.label is None:
        yield error(
            "its image has no label",
            f"Add labelsTr/{case.identifier}{ending}, or move the image elsewhere.",
            case.identifier,
            code="no-label",
        )
    pattern = re.compile(rf"{re.escape(case.identifier)}_(\d{{4}}){re.escape(ending)}")
    numbers = [match[1] for path in case.images if (match := pattern.fullmatch(path.name))]
    expected = [f"{index:04d}" for index in range(len(numbers))]
    if numbers != expected:
        yield error(
            f"its channels are numbered {', '.join(numbers)}",
            f"Number them {', '.join(expected)}, in the order of channel_names.",
            case.identifier,
            code="channel-numbers",
        )


def _check_channels(
    case: CaseRef, headers: Headers, description: DatasetDescription
) -> Iterator[Finding]:
    if not headers.keys() >= set(case.images):
        return
    count, named = sum(headers[path][1] for path in case.images), description.channels
    if count != len(named):
        together = len(case.images) == 1
        code = _code_of_channels(count, len(named), headers[case.images[0]][0]) if together else ""
        yield error(
            f"it has {count} channels, but dataset.json names {len(named)}: {', '.join(named)}",
            CHANNEL_REMEDIES.get(code, CHANNEL_REMEDY),
            case.identifier,
            case.images[0] if together else None,
            code=code or "channels",
        )


def _code_of_channels(count: int, named: int, geometry: Geometry) -> str:
    """What is wrong with one file for all channels: pictures have a transparency at times."""
    if geometry.is_planar and (count, named) in ((4, 3), (2, 1), (4, 1)):
        return "alpha"
    return "joined" if count > named else "channels"


def _check_grids(case: CaseRef, headers: Headers) -> Iterator[Finding]:
    """Every other file against the first image."""
    if case.images[0] not in headers:
        return
    expected, first = headers[case.images[0]][0], case.images[0].name
    for path, (found, _) in headers.items():
        nearest = ", with nearest neighbours" if path == case.label else ""
        resample = f"Resample it onto the grid of {first}{nearest}."
        if found.shape != expected.shape:
            yield error(
                f"it has {times(found.shape)} voxels (z, y, x), but {first} has "
                f"{times(expected.shape)}",
                resample,
                case.identifier,
                path,
                code="picture-size" if expected.is_planar else "grid-shape",
            )
        elif not same_spacing(expected, found):
            yield error(
                f"its voxels are {times(found.spacing)} mm (z, y, x), but those of {first} "
                f"{times(expected.spacing)} mm",
                f"{resample} If only the spacing in its header is wrong, correct that.",
                case.identifier,
                path,
                code="grid-spacing",
            )
        elif not same_place(expected, found):
            yield warning(
                f"by origin and direction it lies up to {displacement(expected, found):.3g} mm "
                f"away from {first}",
                "Look at one over the other. If they match voxel by voxel, leave it: nnseg goes "
                f"by voxels. {resample}",
                case.identifier,
                path,
                code="grid-place",
            )


def _check_image(case: CaseRef, image: NDArray[np.float32], declared: int) -> Iterator[Finding]:
    """``declared`` channels are looked at; that there are more is said elsewhere."""
    image = image[:declared]
    lowest, highest = image.min(axis=(1, 2, 3)), image.max(axis=(1, 2, 3))
    if not np.isfinite([lowest, highest]).all():
        yield error(
            "its image holds NaN or infinite voxels", MEND, case.identifier, code="not-finite"
        )
    elif not (lowest.any() or highest.any()):
        yield error(
            "its image is empty: every voxel is 0", MEND, case.identifier, code="empty-image"
        )
    else:
        for channel in np.flatnonzero(lowest == highest):
            yield warning(
                f"channel {channel} of its image is {lowest[channel]:g} everywhere",
                "Look at the file. If the channel was never taken, leave the case out.",
                case.identifier,
                code="constant-channel",
            )


def check_values(case: CaseRef, voxels: dict[int, int], labels: Labels) -> Iterator[Finding]:
    """``voxels`` of the label, by value, against the values that are declared."""
    declared = {0, *labels.ignored, *labels.foreground}
    undeclared = {value: count for value, count in voxels.items() if value not in declared}
    if undeclared:
        shown = ", ".join(f"{value} ({count} voxels)" for value, count in undeclared.items())
        only_mask = undeclared.keys() == {255} and len(labels.foreground) == 1
        mask = "A mask of 0 and 255 must hold 1 instead of 255." if 255 in undeclared else ""
        yield error(
            f"its label holds values that dataset.json does not declare: {shown}",
            mask or "Add them to labels in dataset.json, or change them in the file.",
            case.identifier,
            case.label,
            "mask-255" if only_mask else "undeclared-values",
        )


def count_values(label: NDArray[np.int16]) -> dict[int, int]:
    """Voxels by value; counted slice by slice, which needs little memory."""
    low, high = int(label.min()), int(label.max())
    counts = np.zeros(high - low + 1, dtype=np.int64)
    for part in label:
        counts += np.bincount(part.ravel().astype(np.int64) - low, minlength=len(counts))
    return {low + int(index): int(counts[index]) for index in np.flatnonzero(counts)}


def _digest(image: NDArray[np.float32]) -> str:
    """A checksum and a sum of the bits: 64 of them in a quarter of the time of any hash."""
    voxels = np.ascontiguousarray(image)
    total = int(voxels.view(np.uint32).sum(dtype=np.uint64))
    return f"{image.shape} {zlib.crc32(voxels.data):08x} {total:x}"
