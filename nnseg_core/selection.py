"""What was compared when the best configuration was chosen, and what came of it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from nnseg_core.plan import ComponentRef

Dice = dict[str, float | None]
"""Mean Dice by label over the cases that have it; None for a label that occurs nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model, or several as an ensemble, with its Dice on cases it was not trained on.

    ``mean`` is the mean of the labels that occur.
    """

    members: tuple[str, ...]
    dice: Dice
    mean: float | None

    @property
    def name(self) -> str:
        """The models' names, joined."""
        return " + ".join(self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The candidates in the order of comparison, the best, and what postprocessing does to it.

    ``left_out`` says why, by model, some were not compared.
    """

    dataset: str
    folds: tuple[str, ...]
    cases: int
    candidates: tuple[Candidate, ...]
    best: Candidate
    postprocessor: ComponentRef
    postprocessed: Candidate
    left_out: dict[str, str]

    @property
    def changed(self) -> bool:
        """Whether postprocessing helps."""
        return self.postprocessor.name != "none"


def highest(candidates: tuple[Candidate, ...]) -> Candidate:
    """The candidate of the highest mean, the first of equal ones (nnU-Net's rule)."""
    return max(candidates, key=lambda candidate: -1.0 if candidate.mean is None else candidate.mean)


def mean_of(dice: Dice) -> float | None:
    """The mean of the labels that occur."""
    known = [value for value in dice.values() if value is not None]
    return sum(known) / len(known) if known else None


def rows(selection: Selection) -> list[tuple[str, ...]]:
    """A table as text: a heading, a row per candidate, and the best after postprocessing."""
    labels = list(selection.best.dice)
    table = [("model or ensemble", *labels, "mean Dice", "")]
    for candidate in selection.candidates:
        mark = "best" if candidate == selection.best else ""
        table.append((candidate.name, *_cells(candidate), mark))
        if mark and selection.changed:
            after = _cells(selection.postprocessed)
            table.append(("  postprocessed", *after, described(selection)))
    return table


def described(selection: Selection) -> str:
    """The postprocessing in a few words."""
    return part_in_words(selection.postprocessor) if selection.changed else "none: it does not help"


def part_in_words(part: ComponentRef) -> str:
    """A part with its options: ``largest (objects: liver + tumour, tumour)``."""
    options = "; ".join(f"{name}: {_words(value)}" for name, value in part.options.items())
    return f"{part.name} ({options})" if options else part.name


def _words(value: object, separator: str = ", ") -> str:
    """What a list holds; a list inside it stands for one thing made of several."""
    if isinstance(value, list | tuple):
        return separator.join(_words(each, " + ") for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_csv(selection: Selection) -> str:
    """The candidates for a spreadsheet."""
    labels = list(selection.best.dice)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["candidate", *labels, "mean", "best", "postprocessed"])
    for candidate in selection.candidates:
        numbers = [candidate.dice[label] for label in labels]
        best = candidate == selection.best
        writer.writerow([candidate.name, *numbers, candidate.mean, int(best), 0])
    after = selection.postprocessed
    numbers = [after.dice[label] for label in labels]
    writer.writerow([after.name, *numbers, after.mean, 1, int(selection.changed)])
    return text.getvalue()


def as_markdown(selection: Selection) -> str:
    """The same table with what it says, for people."""
    heading, *body = rows(selection)
    folds = ", ".join(selection.folds)
    lines = [
        f"# The best of {len(selection.candidates)} for {selection.dataset}",
        "",
        f"Mean Dice of {selection.cases} cases, each predicted by the fold that had not seen it "
        f"(folds {folds}).",
        "",
        _line(heading),
        _line(("---",) * len(heading)),
        *(_line(row) for row in body),
        "",
        f"Best: {selection.best.name}. Postprocessing: {described(selection)}.",
        *(["", "Not compared:"] if selection.left_out else []),
        *(f"- {name}: {reason}" for name, reason in selection.left_out.items()),
    ]
    return "\n".join(lines) + "\n"


def _cells(candidate: Candidate) -> list[str]:
    return ["-" if d is None else f"{d:.4f}" for d in (*candidate.dice.values(), candidate.mean)]


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"
