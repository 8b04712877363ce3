"""``nnseg fix``: a corrected copy of a dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import Workers
from nnseg_core.errors import DatasetError, PlanError

if TYPE_CHECKING:
    from nnseg_core.fixing import Change


def fix(
    context: typer.Context,
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Dataset folder, or one with plain images.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="New folder for the corrected copy.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images.  [default: imagesTr, images, ...]")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of the labels.  [default: labelsTr, masks, ...]")
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="Names of the label values: 0=background,1=nucleus.")
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Names of the channels: T1,FLAIR. CT has a meaning.")
    ] = None,
    leave_out_broken: Annotated[
        bool, typer.Option("--leave-out-broken", help="Leave out cases that cannot be mended.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be changed, and write nothing.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Write a corrected copy of a dataset; the original is only read.

    Mends grids, orientations, voxels that are no numbers, masks of 0 and 255, transparency, 4D
    files and names, and writes a missing dataset.json. Every change is printed and kept in
    changes.json.
    Then the copy is checked: exit code 2 if errors are left.

    Example: nnseg fix nuclei Dataset018_Nuclei --names 0=background,1=nucleus
    """
    from nnseg_core.cli.check import show_findings
    from nnseg_core.cli.display import note, reporter
    from nnseg_core.fixing import Wishes, fix_dataset
    from nnseg_core.parallel import default_workers
    from nnseg_core.project import choose_reader

    fixed = fix_dataset(
        dataset,
        output,
        Wishes(
            images=images,
            labels=labels,
            names=None if names is None else parse_names(names),
            channels=tuple(part.strip() for part in (channels or "").split(",") if part.strip()),
        ),
        partial(choose_reader, context.obj),
        leave_out_broken=leave_out_broken,
        dry_run=dry_run,
        workers=default_workers() if workers is None else workers,
        report=reporter(),
    )
    show_changes(fixed.changes)
    show_findings(fixed.findings)
    errors = sum(finding.severity == "error" for finding in fixed.findings)
    if dry_run:
        note("dry run: nothing was written")
    else:
        print(output)
    if errors:
        raise DatasetError(
            f"errors left in {dataset if dry_run else output}: {errors}. Mend these by hand, or "
            "leave out their cases with --leave-out-broken."
        )


def parse_names(text: str) -> dict[str, int]:
    """``0=background,1=nucleus`` as values by name. Raises ``PlanError``."""
    names: dict[str, int] = {}
    for part in text.split(","):
        value, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value.isdecimal() or name in names:
            raise PlanError(f"--names {text}: write VALUE=NAME, such as 0=background,1=nucleus.")
        names[name] = int(value)
    return names


def show_changes(changes: Sequence[Change]) -> None:
    """Print every change; those that are alike are one row."""
    from nnseg_core.cli.display import table

    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.code, _kind(change)), []).append(change)
    rows = [_row(group) for group in groups.values()]
    if rows:
        table(("case", "file", "change"), rows)
    else:
        print("nothing to mend")


def _kind(change: Change) -> str:
    """The message without what is of one case."""
    return re.sub(r"\d+", "#", change.message.replace(change.case or "\0", "#"))


def _row(group: Sequence[Change]) -> tuple[str, str, str]:
    from nnseg_core.cli.check import some

    first = group[0]
    if len(group) == 1:
        return first.case or "", first.file or "", first.message
    alike = len({change.message for change in group}) == 1
    cases = list(dict.fromkeys(change.case or "" for change in group))
    files = list(dict.fromkeys(change.file or "" for change in group))
    in_file = some(files) if len(cases) == 1 else ""
    return some(cases), in_file, first.message if alike else f"{first.message}; others alike"
