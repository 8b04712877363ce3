"""``--fold``: one fold, several, or each there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nnseg_core.splits import Split

Folds = Annotated[
    list[str] | None,
    typer.Option(
        "--fold",
        help="Fold to train: 0 to 4, 0,1,2, each, or all for one model of every case. "
        "Repeatable.  [default: 0]",
    ),
]


def is_done(fold: Path, split: Split) -> bool:
    """Whether a fold is trained and all its validation cases are scored."""
    from nnseg_core import files
    from nnseg_core.model_folder import WEIGHTS_FILE

    summary = fold / "validation" / "summary.json"
    if not (fold / WEIGHTS_FILE).is_file() or not summary.is_file():
        return False
    return len(files.read_json(summary)["metric_per_case"]) == len(split.validation)
