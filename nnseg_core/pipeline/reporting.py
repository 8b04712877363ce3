"""Step 10: one page about a selected model, to look at and to hand on: no links, nothing to fetch.

What was compared, what was chosen, how well each label is found, how the trainings went, and
pictures of cases that the network had not seen.
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from nnseg_core import files
from nnseg_core.model_folder import fold_folder
from nnseg_core.selection import Selection, described, rows
from nnseg_core.training import TrainedModel

REPORT_FILE = "report.html"

PICTURES = 6
"""Validation cases that are shown."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { border-bottom: 1px solid #ccc; padding: .3rem .8rem; text-align: right }
td:first-child, th:first-child { text-align: left }
img { max-width: 100% }
figure { margin: 1rem 0 }
code { background: #f2f2f2; padding: .15rem .3rem }
"""


def write_report(selection: Selection, members: Sequence[TrainedModel], folder: Path) -> Path:
    """Write ``report.html`` into the folder of the selected model, and return its path.

    ``members`` are the models it is made of, in their own folders, where curves and pictures lie.
    """
    heading, *body = rows(selection)
    report = folder / REPORT_FILE
    parts = [
        f"<h1>{escape(selection.dataset)}: {escape(selection.best.name)}</h1>",
        f"<p>Chosen out of {len(selection.candidates)} by the mean Dice of {selection.cases} cases,"
        " each segmented by a network that had not seen it. Postprocessing: "
        f"{escape(described(selection))}.</p>",
        _table(heading, body),
        f"<p><code>nnseg predict {escape(str(folder))} IMAGES MASKS</code></p>",
        "<h2>How well each label is found</h2>",
        _scores(folder / "validation" / "scores.csv"),
        "<h2>What was planned</h2>",
        _table(("", *(member.name for member in members)), _plans(members)),
        "<h2>How the trainings went</h2>",
        *_pictures(
            (f"{member.folder.name}, fold {fold}", fold_folder(member.folder, fold) / name)
            for member in members
            for fold in selection.folds
            for name in ("progress.png",)
        ),
        "<h2>Cases that the network had not seen</h2>",
        *_pictures(_overlays(members, selection.folds)),
    ]
    files.write_text(
        report,
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(selection.dataset)}'
        f"</title><style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n",
    )
    return report


def _table(heading: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join(
        ["<table>", line(heading, "th"), *(line(row, "td") for row in body), "</table>"]
    )


def _scores(path: Path) -> str:
    """Cases, mean, lowest and highest Dice of each label, and how often it was missed."""
    found: dict[str, list[float]] = {}
    missed: dict[str, int] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            dice = found.setdefault(row["label"], [])
            dice.extend([float(row["dice"])] if row["dice"] else [])
            missed[row["label"]] = missed.get(row["label"], 0) + (row["outcome"] == "missed")
    body = [
        (
            label,
            str(len(dice)),
            *(f"{number:.3f}" for number in (sum(dice) / len(dice), min(dice), max(dice))),
            str(missed[label]),
        )
        for label, dice in found.items()
        if dice
    ]
    return _table(("label", "cases", "mean Dice", "lowest", "highest", "missed"), body)


def _plans(members: Sequence[TrainedModel]) -> list[tuple[str, ...]]:
    chosen = [member.configuration for member in members]

    def sizes(numbers: Sequence[float]) -> str:
        return " x ".join(f"{number:.4g}" for number in numbers)

    return [
        ("spacing (mm)", *(sizes(one.spacing) for one in chosen)),
        ("patch (voxels)", *(sizes(one.patch_size) for one in chosen)),
        (
            "batch",
            *(str(one.trainer.options.get("batch_size") or one.batch_size) for one in chosen),
        ),
        ("network", *(one.architecture.name for one in chosen)),
        ("trainer", *(one.trainer.name for one in chosen)),
        ("loss", *(one.loss.name for one in chosen)),
    ]


def _overlays(members: Sequence[TrainedModel], folds: Sequence[str]) -> list[tuple[str, Path]]:
    """Pictures of the first member's validation, some of every fold."""
    folders = [fold_folder(members[0].folder, fold) / "validation" for fold in folds]
    each = max(1, PICTURES // len(folders))
    found = [path for folder in folders for path in sorted(folder.glob("*_overlay.png"))[:each]]
    return [(path.name.removesuffix("_overlay.png"), path) for path in found[:PICTURES]]


def _pictures(named: Iterable[tuple[str, Path]]) -> list[str]:
    """Figures with the pictures inside; those that are not there are left out."""
    return [
        f'<figure><img alt="{escape(name)}" src="data:image/png;base64,'
        f'{base64.b64encode(path.read_bytes()).decode("ascii")}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, path in named
        if path.is_file()
    ]
