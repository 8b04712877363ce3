"""What was found in the cases of a dataset, and the record of it that spares a second look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nnseg_core import files
from nnseg_core.checking import CaseCheck, Finding, check_across
from nnseg_core.contracts import Planner
from nnseg_core.dataset import CaseRef, Dataset, DatasetDescription
from nnseg_core.fingerprint import Fingerprint
from nnseg_core.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What one pass over a dataset's files gave.

    ``hashes`` maps each case to the SHA-256 of its files' content. ``fingerprint`` is None where
    errors were found. ``checks`` are those of each case; ``added`` are cases that came while the
    plan was frozen: the fingerprint knows nothing of them.
    """

    findings: tuple[Finding, ...]
    fingerprint: Fingerprint | None
    hashes: dict[str, str]
    checks: tuple[CaseCheck, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make work impossible."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def all_findings(checks: Sequence[CaseCheck], dataset: Dataset) -> tuple[Finding, ...]:
    """The findings of every case, and of the cases side by side."""
    return (
        *(finding for check in checks for finding in check.findings),
        *check_across(checks, dataset),
    )


def read_examination(project: Project, planner: Planner, seen: Any) -> Examination | None:
    """What was found before, if nothing has changed since."""
    record = _read_record(project, planner)
    if record is None or record["files"] != seen:
        return None
    checks = _read_checks(project, record)
    return Examination(
        findings=all_findings(checks, project.dataset),
        fingerprint=files.read_fingerprint(project.workspace.fingerprint(project.name)),
        hashes=record["sha256"],
        checks=checks,
        added=tuple(record["added"]),
    )


def known_examination(project: Project, planner: Planner) -> Examination | None:
    """What was found before in those cases whose files have not changed since.

    None where nothing was measured, another planner measured, or channels or labels are others.
    Its ``findings`` are not those of the dataset as it is now.
    """
    record = _read_record(project, planner)
    if record is None or record["of"] != _checked_against(project.dataset.description):
        return None
    seen = stamps_of(project.dataset)
    same = {name for name, stamps in seen.items() if record["files"].get(name) == stamps}
    return Examination(
        findings=(),
        fingerprint=files.read_fingerprint(project.workspace.fingerprint(project.name)),
        hashes={name: digest for name, digest in record["sha256"].items() if name in same},
        checks=tuple(check for check in _read_checks(project, record) if check.identifier in same),
        added=tuple(record["added"]),
    )


def known_checks(project: Project) -> tuple[CaseCheck, ...]:
    """What has been found in the cases, whoever measured them; nothing where nobody did."""
    record = _raw_record(project)
    return _read_checks(project, record) if "checks" in record else ()


def came_to_frozen_plan(project: Project) -> tuple[str, ...]:
    """The cases that were added without a new fingerprint and plan."""
    return tuple(_raw_record(project).get("added", ()))


def record_of(
    examination: Examination, seen: Any, planner: Planner, description: DatasetDescription
) -> dict[str, Any]:
    """What is written of an examination of files that were as ``seen`` before it."""
    return {
        "measured_by": _measured_by(planner),
        "of": _checked_against(description),
        "files": seen,
        "sha256": examination.hashes,
        "added": examination.added,
        "checks": examination.checks,
    }


def stamps_of(dataset: Dataset) -> dict[str, dict[str, list[int]]]:
    """Size and date of each file by case: enough to see that nothing has changed."""
    of_cases = {c.identifier: {str(p): _stamp(p) for p in files_of(c)} for c in dataset.cases}
    description = dataset.folder / "dataset.json"
    return of_cases | {"dataset.json": {str(description): _stamp(description)}}


def decoded_key(case: CaseRef) -> str:
    """Under which a decoded case is kept for the next step: its files as they are now."""
    return str([(str(path), _stamp(path)) for path in files_of(case)])


def files_of(case: CaseRef) -> tuple[Path, ...]:
    """A case's images and label."""
    return (*case.images, *((case.label,) if case.label else ()))


def _stamp(path: Path) -> list[int]:
    if not path.is_file():
        return [0, 0]
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read_record(project: Project, planner: Planner) -> dict[str, Any] | None:
    """What is written of the cases, if this planner measured them, in today's form."""
    if not project.workspace.fingerprint(project.name).is_file():
        return None
    record = _raw_record(project)
    if record.get("measured_by") != _measured_by(planner) or "checks" not in record:
        return None
    return record


def _raw_record(project: Project) -> dict[str, Any]:
    path = project.workspace.cases(project.name)
    return files.read_json(path) if path.is_file() else {}


def _read_checks(project: Project, record: dict[str, Any]) -> tuple[CaseCheck, ...]:
    source = str(project.workspace.cases(project.name))
    return files.validate(tuple[CaseCheck, ...], record["checks"], source=source)


def _measured_by(planner: Planner) -> str:
    return f"{type(planner).__module__}:{type(planner).measure.__qualname__}"


def _checked_against(description: DatasetDescription) -> Any:
    """All that the check of a case depends on beside its files, as JSON has it."""
    return json.loads(json.dumps(asdict(replace(description, training_cases=None))))
