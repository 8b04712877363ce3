"""Which runs follow a training, kept in its folder: a resumed training goes on with them."""

from __future__ import annotations

import json
from pathlib import Path

from nnseg_core.writing import whole

FILE = "track.json"

Known = dict[str, str]
"""What it takes to open the run of a tracker again."""


def remembered(folder: Path) -> dict[str, Known]:
    """The runs of the training in ``folder``, by tracker."""
    path = folder / FILE
    if not path.is_file():
        return {}
    known: dict[str, Known] = json.loads(path.read_text(encoding="utf-8"))
    return known


def remember(folder: Path, tracker: str, known: Known) -> None:
    """Keep what ``tracker`` needs to go on."""
    text = json.dumps({**remembered(folder), tracker: known}, indent=1)
    with whole(folder / FILE) as beside:
        beside.write_text(text, encoding="utf-8")
