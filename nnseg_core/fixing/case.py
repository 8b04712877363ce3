"""Mend one case in its copy: check it, mend what was found, and look again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nnseg_core.checking import CaseCheck, Finding, check_case
from nnseg_core.checking.grids import DRIFT, displacement
from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef, DatasetDescription
from nnseg_core.errors import DatasetError
from nnseg_core.fixing import nifti, volumes
from nnseg_core.fixing.change import Change

NOISE = 1e-5
"""Voxels from which two grids differ; less is how NIfTI's headers round, in numbers of 32 bits."""

SPATIAL = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".gipl")
"""Endings of formats that keep origin and direction."""

Step = tuple[CaseRef, str | None]  # the case as it is now, and what was done if anything was


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """A case in the copy, what was changed in it, and what is still wrong with it.

    ``channels`` counts them over its files; None where one of those cannot be opened.
    """

    identifier: str
    changes: tuple[Change, ...]
    check: CaseCheck
    channels: int | None


def mend_case(
    case: CaseRef, *, root: Path | None, description: DatasetDescription, reader: Reader
) -> Mended:
    """Copy a case into the folders of ``root`` under the usual names, and mend it there.

    Without ``root`` the copy is thrown away.
    """
    if root is None:
        with tempfile.TemporaryDirectory(prefix="nnseg-fix-") as folder:
            return mend_case(case, root=Path(folder), description=description, reader=reader)
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(exist_ok=True)
    copy, placed = _place(case, root, description.file_ending)
    copy, mended, check = _mend(copy, description, reader)
    snapped = [] if _has_errors(check) else _snap(copy, reader)
    return Mended(
        identifier=case.identifier,
        changes=(*placed, *mended, *snapped),
        check=check,
        channels=_count_channels(copy, reader),
    )


def _place(case: CaseRef, root: Path, ending: str) -> tuple[CaseRef, list[Change]]:
    images = tuple(
        root / "imagesTr" / f"{case.identifier}_{channel:04d}{ending}"
        for channel in range(len(case.images))
    )
    label = root / "labelsTr" / f"{case.identifier}{ending}" if case.label else None
    changes: list[Change] = []
    pairs = [*zip(case.images, images, strict=True)]
    pairs += [(case.label, label)] if case.label and label else []
    for source, target in pairs:
        try:
            volumes.place(source, target)
        except (RuntimeError, OSError) as error:  # what ITK says is long, its last line the cause
            cause = str(error).strip().splitlines()[-1]
            changes.append(Change("other-ending", f"not converted: {cause}", case.identifier))
            continue
        _place_spacing(source, target, case.identifier)
        if source.name != target.name:
            message = f"was {source.name}"
            changes.append(_change("other-ending", message, case.identifier, target))
    return CaseRef(identifier=case.identifier, images=images, label=label), changes


def _place_spacing(source: Path, target: Path, identifier: str) -> None:
    """The JSON file with the spacing that may lie beside a TIFF stack."""
    if target.suffix in (".tif", ".tiff"):
        beside = [source.with_name(f"{name}.json") for name in (source.stem, identifier)]
        found = next((path for path in beside if path.is_file()), None)
        if found is not None:
            shutil.copyfile(found, target.with_suffix(".json"))


def _mend(
    case: CaseRef, description: DatasetDescription, reader: Reader
) -> tuple[CaseRef, list[Change], CaseCheck]:
    """Mend one kind of finding after the other, until none is left that was not tried."""
    changes: list[Change] = []
    tried: set[tuple[str, Path | None]] = set()
    while True:
        check = check_case(case, description, reader)[1]
        todo = _next(check.findings, tried)
        if not todo:
            return case, changes, check
        for finding in todo:
            tried.add((finding.code, finding.file))
            case, done = _try(finding, case)
            if done:
                changes.append(_change(finding.code, done, case.identifier, finding.file))


def _next(findings: tuple[Finding, ...], tried: set[tuple[str, Path | None]]) -> list[Finding]:
    """Findings of the first kind that can be mended; a damaged file is left as it is."""
    damaged = {finding.file for finding in findings if finding.code == "unreadable"}
    for code in FIXERS:
        todo = [f for f in findings if f.code == code and f.file and f.file not in damaged]
        if todo := [f for f in todo if (f.code, f.file) not in tried]:
            return todo
    return []


def _try(finding: Finding, case: CaseRef) -> Step:
    assert finding.file is not None
    try:
        return FIXERS[finding.code](case, finding.file)
    except RuntimeError:  # ITK cannot read or write it: the next check says what is wrong
        return case, None


def _make_regular(case: CaseRef, file: Path) -> Step:
    if not nifti.is_nifti(file):
        return case, None
    content = nifti.content_of(file)
    moved = nifti.make_regular(content)
    if moved is None:
        return case, None
    nifti.write_content(file, content)
    return case, f"put on the nearest regular grid; a corner moved by up to {moved:.3g} mm"


def _make_finite(case: CaseRef, file: Path) -> Step:
    if not nifti.is_nifti(file):
        return case, volumes.make_finite(file)
    content = nifti.content_of(file)
    done = nifti.replace_non_finite(content)
    if done:
        nifti.write_content(file, content)
    return case, done


def _drop_alpha(case: CaseRef, file: Path) -> Step:
    return case, volumes.drop_alpha(file)


def _separate(case: CaseRef, file: Path) -> Step:
    """One channel of a grey picture in colours, or one file for each volume of a 4D file."""
    if not file.name.endswith(SPATIAL):
        return case, volumes.make_grey(file)
    ending = file.name.removeprefix(f"{case.identifier}_0000")
    count = volumes.count(file)
    images = tuple(
        file.with_name(f"{case.identifier}_{number:04d}{ending}") for number in range(count)
    )
    volumes.split(file, images)
    return replace(case, images=images), f"{count} channels, now in one file each"


def _put_onto(case: CaseRef, file: Path) -> Step:
    put = volumes.put_label_onto if file == case.label else volumes.put_image_onto
    return case, put(file, case.images[0])


FIXERS: dict[str, Callable[[CaseRef, Path], Step]] = {
    "sheared": _make_regular,
    "zero-spacing": _make_regular,
    "not-finite": _make_finite,
    "alpha": _drop_alpha,
    "joined": _separate,
    "grid-shape": _put_onto,
    "grid-spacing": _put_onto,
    "grid-place": _put_onto,
}
"""By the code of the finding, in the order in which they work: a grid is known last."""


def _snap(case: CaseRef, reader: Reader) -> list[Change]:
    """Give files that lie next to nothing away from their image exactly its geometry."""
    if not case.images[0].name.endswith(SPATIAL):
        return []
    first = reader.peek(case.images[0])[0]
    changes = []
    for path in (*case.images[1:], *((case.label,) if case.label else ())):
        apart = displacement(first, reader.peek(path)[0]) / min(first.spacing)
        if NOISE < apart <= DRIFT:
            volumes.snap(path, case.images[0])
            message = f"given exactly the grid of its image, {apart:.1g} voxels away"
            changes.append(_change("grid-noise", message, case.identifier, path))
    return changes


def _change(code: str, message: str, case: str, file: Path | None) -> Change:
    return Change(code, message, case, f"{file.parent.name}/{file.name}" if file else None)


def _has_errors(check: CaseCheck) -> bool:
    """But for label values, which are settled for all cases together."""
    errors = (finding for finding in check.findings if finding.severity == "error")
    return any(finding.code not in ("mask-255", "undeclared-values") for finding in errors)


def _count_channels(case: CaseRef, reader: Reader) -> int | None:
    try:
        return sum(reader.peek(path)[1] for path in case.images)
    except DatasetError:
        return None
