"""``nnseg check``: what is wrong with a dataset, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import DatasetPath, Workers, WorkspacePath, open_project
from nnseg_core.cli.painting import show_annotated, show_painting
from nnseg_core.errors import DatasetError
from nnseg_core.plan import ComponentRef
from nnseg_core.writing import require_file

if TYPE_CHECKING:
    from nnseg_core.checking import Finding
    from nnseg_core.project import Project

NAMED = 3
"""Cases of a group of findings that are named; ``--json`` names all."""


def check(
    context: typer.Context,
    dataset: DatasetPath,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every finding as JSON instead of a table.")
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Write a picture of up to 12 cases with their labels outlined: a .png."),
    ] = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Look at every file of a dataset and report all that is wrong or odd, with the remedy.

    Exit code 2 if anything makes training impossible. 'nnseg fix' mends some of it in a copy.

    Example: nnseg check Dataset004_Hippocampus --sheet hippocampus.png
    """
    try:
        project = open_project(context.obj, dataset, workspace, workers)
        if sheet is not None:
            require_file(sheet)  # before the work
        findings = find_all(project, ComponentRef(name="standard"))
    except DatasetError as problem:
        if as_json:
            print_json(_as_findings(problem))
        raise
    if sheet is not None:
        write_sheet(project, sheet)
    if as_json:
        print_json(findings)
    else:
        show_findings(findings)
        show_painting(project.dataset.description.labels)
        show_annotated(project.dataset)
    require_no_errors(project.dataset.folder, findings)
    if not as_json:
        print(f"cases: {len(project.dataset.cases)}, errors: 0, warnings: {len(findings)}")


def find_all(project: Project, planner: ComponentRef) -> Sequence[Finding]:
    """Check and measure a dataset; the measurements are kept where there is no error."""
    from nnseg_core import kinds
    from nnseg_core.pipeline import examine

    return examine(project, project.build(kinds.PLANNER, planner)).findings


def require_usable(project: Project, planner: ComponentRef) -> int:
    """Check and measure a dataset, show all findings, and return how many warnings there are.

    Raises ``DatasetError`` when there are errors.
    """
    findings = find_all(project, planner)
    show_findings(findings)
    require_no_errors(project.dataset.folder, findings)
    return len(findings)


def require_no_errors(folder: Path, findings: Sequence[Finding]) -> None:
    """Raise ``DatasetError`` with the number of errors, and of those that ``nnseg fix`` mends."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    fixable = sum(finding.fixable for finding in errors)
    raise DatasetError(
        f"errors found in {folder}: {len(errors)}. Mend them first."
        + (f" 'nnseg fix' mends {fixable} of them in a copy." if fixable else "")
    )


def show_findings(findings: Sequence[Finding]) -> None:
    """Print findings as a table on stderr, one row per kind, errors first."""
    from nnseg_core.checking import grouped
    from nnseg_core.cli.display import table

    if findings:
        rows = [_row(group) for group in grouped(findings)]
        table(("", "case", "file", "finding", "remedy", "nnseg fix"), rows, stderr=True)


def print_json(findings: Sequence[Finding]) -> None:
    """Print findings as a JSON list on stdout."""
    import json

    from nnseg_core.checking import as_dictionary

    print(json.dumps([as_dictionary(finding) for finding in findings], indent=1))


def write_sheet(project: Project, path: Path) -> None:
    """Draw a sample of the cases that can be read into one picture."""
    from nnseg_core.cli.display import note
    from nnseg_core.pipeline.sheet import draw_sheet

    drawn = draw_sheet(project.reader(), project.dataset, path)
    note(
        f"sheet of {drawn} cases: {path}" if drawn else "no case can be read, so no sheet is drawn"
    )


def _row(group: tuple[Finding, ...]) -> tuple[str, ...]:
    """The first finding of a kind, and in which cases there are more of it."""
    first = group[0]
    alike = len({finding.message for finding in group}) == 1
    files = list(dict.fromkeys(finding.file.name for finding in group if finding.file))
    cases = list(dict.fromkeys(finding.case for finding in group if finding.case))
    return (
        first.severity,
        some(cases),
        some(files),
        first.message if alike else f"{first.case or files[0]}: {first.message}; others alike",
        first.remedy,
        "yes" if first.fixable else "",
    )


def some(names: Sequence[str]) -> str:
    """Names, or the first few of them and how many there are."""
    if len(names) <= NAMED:
        return ", ".join(names)
    return f"{len(names)}: {', '.join(names[:NAMED])}, …"


def _as_findings(problem: DatasetError) -> list[Finding]:
    from nnseg_core.checking import Finding

    return [Finding("error", line, "", code=problem.code) for line in str(problem).splitlines()]
