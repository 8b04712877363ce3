"""Step 1: check every case and measure it, in one pass over the files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nnseg_core import desk, files
from nnseg_core.case import RawCase
from nnseg_core.checking import CaseCheck, Finding, check_case, check_folder
from nnseg_core.contracts import Planner, Reader
from nnseg_core.dataset import CaseRef, DatasetDescription
from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.fingerprint import CaseFingerprint, Fingerprint, merge
from nnseg_core.parallel import values
from nnseg_core.pipeline.budget import DRAW_SECONDS, EXAMINE_SECONDS, PREPROCESS_SECONDS, budget
from nnseg_core.pipeline.examined import (
    Examination,
    all_findings,
    decoded_key,
    files_of,
    known_examination,
    read_examination,
    record_of,
    stamps_of,
)
from nnseg_core.project import Project
from nnseg_core.writing import require_place

SAMPLES = 100_000_000
"""Foreground intensities drawn per channel over the whole dataset (nnU-Net's number)."""


def examine(project: Project, planner: Planner, whole: bool = False) -> Examination:
    """Check and measure a dataset, unless its files have been measured before and not changed.

    Where the project freezes its plan, only new and changed files are looked at, and the
    fingerprint stays as it is; ``whole`` measures all cases where some came so.

    Raises ``DatasetError`` when every image is of a kind that cannot be opened at all,
    ``PlanError`` where there is nothing yet to be frozen, ``NnsegError`` where the workspace
    cannot be written: before any image is read.
    """
    seen = stamps_of(project.dataset)
    of_folder = check_folder(project.dataset)
    of_files = read_examination(project, planner, seen)
    if of_files is None or (whole and of_files.added):
        require_place(project.workspace.root)  # where nothing can be kept, nothing is looked at
        frozen = project.freeze_plan and not whole
        of_files = (_examine_new if frozen else _examine_files)(project, planner)
        if _with_folder(of_files, of_folder).fingerprint is not None:
            assert of_files.fingerprint is not None
            if not frozen:
                files.write_json(project.workspace.fingerprint(project.name), of_files.fingerprint)
            record = record_of(of_files, seen, planner, project.dataset.description)
            files.write_json(project.workspace.cases(project.name), record)
    return _with_folder(of_files, of_folder)


def examined_before(project: Project, planner: Planner) -> Examination | None:
    """What ``examine`` found before, if no file has changed since. Opens no image."""
    seen = stamps_of(project.dataset)
    of_files = read_examination(project, planner, seen)
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
    ordered = _examine_cases(project, planner, dataset.cases)
    checks = tuple(result.check for result in ordered)
    findings = all_findings(checks, dataset)
    measured = [result.fingerprint for result in ordered if result.fingerprint is not None]
    clean = not any(finding.severity == "error" for finding in findings)
    return Examination(
        findings=findings,
        fingerprint=merge(measured) if clean else None,
        hashes={result.check.identifier: result.sha256 for result in ordered},
        checks=checks,
    )


def _examine_cases(
    project: Project, planner: Planner, cases: Sequence[CaseRef]
) -> list[_CaseResult]:
    """Look into some cases, and return what was found in their order."""
    dataset = project.dataset
    reader = project.reader()
    work = partial(
        _examine_case,
        description=dataset.description,
        reader=reader,
        planner=planner,
        samples=SAMPLES // len(dataset.cases),
    )
    needed = budget(cases, reader, project.workers)
    draws = SAMPLES * len(dataset.description.channels)
    # Workers stay for the preprocessing, which nearly always comes next.
    seconds = needed.voxels * (EXAMINE_SECONDS + PREPROCESS_SECONDS) + draws * DRAW_SECONDS
    project.crew.room = needed.room
    if project.crew.starts(needed.workers, seconds):
        project.note(str(needed))
    results: dict[str, _CaseResult] = {}
    outcomes = project.crew.map(work, cases, needed.workers, seconds)
    for case, result in values(outcomes):
        results[case.identifier] = result
        project.report("examine", len(results), len(cases), case.identifier)
    return [results[case.identifier] for case in cases]


def _examine_new(project: Project, planner: Planner) -> Examination:
    """What is known of a dataset, with the cases that are new or have changed looked into."""
    dataset = project.dataset
    known = known_examination(project, planner)
    if known is None:
        raise PlanError(
            f"--freeze-plan keeps what has been measured and planned, but in "
            f"{project.workspace.root}, {project.name} has not been measured yet with these "
            "channels and labels, or not by this planner. Leave --freeze-plan out."
        )
    fresh = [case for case in dataset.cases if case.identifier not in known.hashes]
    results = _examine_cases(project, planner, fresh) if fresh else []
    looked_at = {result.check.identifier: result for result in results}
    checks = {check.identifier: check for check in known.checks}
    checks |= {name: result.check for name, result in looked_at.items()}
    hashes = known.hashes | {name: result.sha256 for name, result in looked_at.items()}
    ordered = tuple(checks[case.identifier] for case in dataset.cases)
    findings = all_findings(ordered, dataset)
    clean = not any(finding.severity == "error" for finding in findings)
    names = {case.identifier for case in dataset.cases}
    added = tuple(sorted({*known.added, *looked_at} & names))
    project.note(
        f"the plan is frozen: {len(fresh)} of {len(dataset.cases)} cases are new or have changed. "
        "Only they are read; the fingerprint and the plan stay as they are."
    )
    return Examination(
        findings=findings,
        fingerprint=known.fingerprint if clean else None,
        hashes={case.identifier: hashes[case.identifier] for case in dataset.cases},
        checks=ordered,
        added=added,
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


def hash_files(paths: Sequence[Path]) -> str:
    """SHA-256 over the content of files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
