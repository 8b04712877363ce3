"""Step 1: check every case and measure it, in one pass over the files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nnseg_core import desk, files
from nnseg_core.case import RawCase
from nnseg_core.checking import CaseCheck, Finding, check_across, check_case, check_folder
from nnseg_core.contracts import Planner, Reader
from nnseg_core.dataset import CaseRef, DatasetDescription
from nnseg_core.errors import DatasetError
from nnseg_core.fingerprint import CaseFingerprint, Fingerprint, merge
from nnseg_core.parallel import values
from nnseg_core.pipeline.budget import DRAW_SECONDS, EXAMINE_SECONDS, PREPROCESS_SECONDS, budget
from nnseg_core.project import Project

SAMPLES = 100_000_000
"""Foreground intensities drawn per channel over the whole dataset (nnU-Net's number)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What one pass over a dataset's files gave.

    ``hashes`` maps each case to the SHA-256 of its files' content. ``fingerprint`` is None where
    errors were found.
    """

    findings: tuple[Finding, ...]
    fingerprint: Fingerprint | None
    hashes: dict[str, str]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make work impossible."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def examine(project: Project, planner: Planner) -> Examination:
    """Check and measure a dataset, unless its files have been measured before and not changed.

    Raises ``DatasetError`` when every image is of a kind that cannot be opened at all.
    """
    seen = _files_of(project.dataset.cases, project.dataset.folder)
    of_folder = check_folder(project.dataset)
    of_files = _read_examination(project, planner, seen)
    if of_files is None:
        of_files = _examine_files(project, planner)
        if _with_folder(of_files, of_folder).fingerprint is not None:
            assert of_files.fingerprint is not None
            files.write_json(project.workspace.fingerprint(project.name), of_files.fingerprint)
            record = _record(of_files, seen, planner)
            files.write_json(project.workspace.cases(project.name), record)
    return _with_folder(of_files, of_folder)


def examined_before(project: Project, planner: Planner) -> Examination | None:
    """What ``examine`` found before, if no file has changed since. Opens no image."""
    seen = _files_of(project.dataset.cases, project.dataset.folder)
    of_files = _read_examination(project, planner, seen)
    return None if of_files is None else _with_folder(of_files, check_folder(project.dataset))


def require_clean(examination: Examination) -> Fingerprint:
    """The fingerprint. Raises ``DatasetError`` listing every error, if there are any."""
    if examination.fingerprint is None:
        lines = [str(finding) for finding in examination.errors]
        raise DatasetError("\n".join([f"the dataset has {len(lines)} errors:", *lines]))
    return examination.fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaseResult:
    check: CaseCheck
    fingerprint: CaseFingerprint | None
    sha256: str


def _with_folder(of_files: Examination, of_folder: tuple[Finding, ...]) -> Examination:
    """Names are looked at every time: a new file that belongs to no case changes no other file."""
    both = replace(of_files, findings=(*of_folder, *of_files.findings))
    return replace(both, fingerprint=None) if both.errors else both


def _examine_files(project: Project, planner: Planner) -> Examination:
    dataset = project.dataset
    reader = project.reader()
    work = partial(
        _examine_case,
        description=dataset.description,
        reader=reader,
        planner=planner,
        samples=SAMPLES // len(dataset.cases),
    )
    needed = budget(dataset.cases, reader, project.workers)
    draws = SAMPLES * len(dataset.description.channels)
    # Workers stay for the preprocessing, which nearly always comes next.
    seconds = needed.voxels * (EXAMINE_SECONDS + PREPROCESS_SECONDS) + draws * DRAW_SECONDS
    project.crew.room = needed.room
    if project.crew.starts(needed.workers, seconds):
        project.note(str(needed))
    results: dict[str, _CaseResult] = {}
    outcomes = project.crew.map(work, dataset.cases, needed.workers, seconds)
    for case, result in values(outcomes):
        results[case.identifier] = result
        project.report("examine", len(results), len(dataset.cases), case.identifier)
    ordered = [results[case.identifier] for case in dataset.cases]
    checks = [result.check for result in ordered]
    findings = (
        *(finding for check in checks for finding in check.findings),
        *check_across(checks, dataset),
    )
    measured = [result.fingerprint for result in ordered if result.fingerprint is not None]
    clean = not any(finding.severity == "error" for finding in findings)
    return Examination(
        findings=findings,
        fingerprint=merge(measured) if clean else None,
        hashes={name: results[name].sha256 for name in sorted(results)},
    )


def _examine_case(
    case: CaseRef,
    *,
    description: DatasetDescription,
    reader: Reader,
    planner: Planner,
    samples: int,
) -> _CaseResult:
    desk.stage("reading its files")
    raw, check = check_case(case, description, reader)
    fingerprint = None
    if isinstance(raw, RawCase):
        desk.stage("measuring it")
        fingerprint = planner.measure(raw, samples)
        label_bytes = 0 if raw.label is None else raw.label.nbytes
        desk.keep(decoded_key(case), raw, raw.image.nbytes + label_bytes)
    return _CaseResult(check=check, fingerprint=fingerprint, sha256=hash_files(files_of(case)))


def decoded_key(case: CaseRef) -> str:
    """Under which a decoded case is kept for the next step: its files as they are now."""
    return str([(str(path), _stamp(path)) for path in files_of(case)])


def files_of(case: CaseRef) -> tuple[Path, ...]:
    """A case's images and label."""
    return (*case.images, *((case.label,) if case.label else ()))


def hash_files(paths: Sequence[Path]) -> str:
    """SHA-256 over the content of files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files_of(cases: Sequence[CaseRef], folder: Path) -> dict[str, dict[str, list[int]]]:
    """Size and date of each file by case: enough to see that nothing has changed."""
    return {case.identifier: {str(p): _stamp(p) for p in files_of(case)} for case in cases} | {
        "dataset.json": {str(folder / "dataset.json"): _stamp(folder / "dataset.json")}
    }


def _stamp(path: Path) -> list[int]:
    if not path.is_file():
        return [0, 0]
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _measured_by(planner: Planner) -> str:
    return f"{type(planner).__module__}:{type(planner).measure.__qualname__}"


def _record(examination: Examination, seen: Any, planner: Planner) -> dict[str, Any]:
    return {
        "measured_by": _measured_by(planner),
        "files": seen,
        "sha256": examination.hashes,
        "findings": examination.findings,
    }


def _read_examination(project: Project, planner: Planner, seen: Any) -> Examination | None:
    measured = project.workspace.fingerprint(project.name)
    if not measured.is_file():
        return None
    known = _read_record(project.workspace.cases(project.name), seen, planner)
    if known is None:
        return None
    findings, hashes = known
    fingerprint = files.read_fingerprint(measured)
    return Examination(findings=findings, fingerprint=fingerprint, hashes=hashes)


def _read_record(
    path: Path, seen: Any, planner: Planner
) -> tuple[tuple[Finding, ...], dict[str, str]] | None:
    if not path.is_file():
        return None
    record = files.read_json(path)
    if (record.get("files"), record.get("measured_by")) != (seen, _measured_by(planner)):
        return None
    findings = files.validate(tuple[Finding, ...], record["findings"], source=str(path))
    return findings, record["sha256"]
