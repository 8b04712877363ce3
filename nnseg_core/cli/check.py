"""``nnseg check``: what is wrong with a dataset, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from nnseg_core.cli.options import DatasetPath, Workers, WorkspacePath, open_project
from nnseg_core.errors import DatasetError
from nnseg_core.plan import ComponentRef

if TYPE_CHECKING:
    from nnseg_core.checking import Finding
    from nnseg_core.project import Project


def check(
    context: typer.Context,
    dataset: DatasetPath,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Look at every file of a dataset and report all that is wrong or odd, with the remedy.

    Exit code 2 if anything makes training impossible.
    """
    project = open_project(context.obj, dataset, workspace, workers)
    warnings = require_usable(project, ComponentRef(name="standard"))
    print(f"cases: {len(project.dataset.cases)}, errors: 0, warnings: {warnings}")


def require_usable(project: Project, planner: ComponentRef) -> int:
    """Check and measure a dataset, show all findings, and return how many warnings there are.

    Raises ``DatasetError`` when there are errors.
    """
    from nnseg_core import kinds
    from nnseg_core.pipeline import examine

    examination = examine(project, project.build(kinds.PLANNER, planner))
    show_findings(examination.findings)
    if examination.errors:
        raise DatasetError(
            f"errors found in {project.dataset.folder}: {len(examination.errors)}. Mend them first."
        )
    return len(examination.findings)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print findings as a table on stderr, errors first."""
    from nnseg_core.cli.display import table

    if not findings:
        return
    ordered = sorted(findings, key=lambda finding: finding.severity != "error")
    table(
        ("", "case", "file", "finding", "remedy"),
        [
            (f.severity, f.case or "", f.file.name if f.file else "", f.message, f.remedy)
            for f in ordered
        ],
        stderr=True,
    )
