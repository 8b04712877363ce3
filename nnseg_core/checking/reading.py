"""Read the files of a case, and note those that cannot be read instead of raising."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnseg_core.checking.findings import Finding, error
from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry

MEND = "Mend or replace the file, or take its case out of the dataset."

Headers = dict[Path, tuple[Geometry, int]]  # geometry and channels, of files that can be opened


def read_headers(case: CaseRef, reader: Reader, findings: list[Finding]) -> Headers:
    """Geometry and channels of each of a case's files that can be opened."""
    headers: Headers = {}
    for path in (*case.images, *([case.label] if case.label else [])):
        other = _other_nifti(path)
        if other is not None and other.exists():
            findings.append(
                error(
                    f"{other.name} lies in the same folder, and ITK may read either of the two, "
                    "whichever it is asked for",
                    "Keep one of them.",
                    case.identifier,
                    path,
                    code="two-files",
                )
            )
            continue
        try:
            headers[path] = reader.peek(path)
        except DatasetError as problem:
            findings.append(_unusable(case, path, problem))
    return headers


def _other_nifti(path: Path) -> Path | None:
    """x.nii for x.nii.gz and the other way round (ITK issue 2243)."""
    if path.name.endswith(".nii.gz"):
        return path.with_name(path.name.removesuffix(".gz"))
    return path.with_name(f"{path.name}.gz") if path.name.endswith(".nii") else None


def read_image(
    case: CaseRef, headers: Headers, reader: Reader, findings: list[Finding]
) -> NDArray[np.float32] | None:
    """The image (channel, z, y, x), or None with a finding for each file that is at fault."""
    if not headers.keys() >= set(case.images):
        return None
    try:
        return reader.read(case.images)[0]
    except DatasetError as together:
        alone = [found for path in case.images if (found := _try_image(case, path, reader))]
        if not alone and not any(finding.severity == "error" for finding in findings):
            alone = [_unusable(case, None, together)]
        findings += alone
        return None


def _try_image(case: CaseRef, path: Path, reader: Reader) -> Finding | None:
    try:
        reader.read([path])
    except DatasetError as problem:
        return _unusable(case, path, problem)
    return None


def read_label(
    case: CaseRef, headers: Headers, reader: Reader, findings: list[Finding]
) -> NDArray[np.int16] | None:
    """The label (z, y, x), or None with a finding."""
    if case.label is None or case.label not in headers:
        return None
    try:
        return reader.read_label(case.label)[0]
    except DatasetError as problem:
        findings.append(_unusable(case, case.label, problem))
        return None


def _unusable(case: CaseRef, path: Path | None, problem: DatasetError) -> Finding:
    message = str(problem).removeprefix(f"{path} ").rstrip(".")
    return error(message, MEND, case.identifier, path, code=problem.code)
