"""A row per epoch in ``metrics.csv`` for spreadsheets, and in ``metrics.jsonl`` for programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from nnseg_core.training import EpochReport, TrainingTask
from nnseg_core.writing import whole

JSONL = "metrics.jsonl"
CSV = "metrics.csv"


@dataclass
class CsvLog:
    """Writes metrics.csv and metrics.jsonl, a row per epoch, into the folder of the training."""

    _folder: Path = field(default=Path(), init=False)
    _begun: bool = field(default=False, init=False)

    def on_fit_start(self, task: TrainingTask) -> None:
        """Remember where to write; until there is a row, older files stay as they are."""
        self._folder, self._begun = task.folder, False

    def on_epoch_end(self, report: EpochReport) -> None:
        """Add a row. The first one takes the place of rows that a resumed training repeats."""
        rows = [report] if self._begun else [*reports_before(report.epoch, self._folder), report]
        write_rows(self._folder, rows, append=self._begun)
        self._begun = True

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        """Write all rows anew, so that the files are complete whatever has happened to them."""
        write_rows(self._folder, reports)


def write_rows(folder: Path, reports: Sequence[EpochReport], append: bool = False) -> None:
    """Write reports to both files, which are replaced as a whole, or add them at the end."""
    rows = [columns(report) for report in reports]
    with _opened(folder / JSONL, append) as file:
        file.writelines(json.dumps(asdict(report)) + "\n" for report in reports)
    with _opened(folder / CSV, append) as file:
        table = csv.writer(file)
        table.writerows(row.keys() for row in rows[:1] if not append)
        table.writerows(row.values() for row in rows)


@contextmanager
def _opened(path: Path, append: bool) -> Generator[TextIO]:
    """For text; a run that is killed while all is written anew leaves what was there."""
    if append:
        with path.open("a", encoding="utf-8", newline="") as file:
            yield file
        return
    with whole(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        yield file


def columns(report: EpochReport) -> dict[str, Any]:
    """A report as a flat row; what there is of each label in columns such as ``dice LABEL``."""
    row = asdict(report)
    by_label = {name: row.pop(name) for name in list(row) if isinstance(row[name], dict)}
    return row | {
        f"{name} {label}": value
        for name, values in by_label.items()
        for label, value in values.items()
    }


def reports_before(epoch: int, folder: Path) -> list[EpochReport]:
    """What the log in ``folder`` tells of the epochs before ``epoch``; a torn line ends it."""
    path = folder / JSONL
    if epoch == 0 or not path.is_file():
        return []
    return [report for report in _whole_rows(path) if report.epoch < epoch]


def _whole_rows(path: Path) -> Iterable[EpochReport]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):  # the process was killed while it wrote this one
                return
            yield EpochReport(**json.loads(line))
