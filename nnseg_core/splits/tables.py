"""Read what users have: tables of groups, lists of cases, nnU-Net's lists of folds."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from nnseg_core import files
from nnseg_core.errors import DatasetError
from nnseg_core.splits.patients import patient_of
from nnseg_core.splits.record import Grouping, Split, Splits, grouping
from nnseg_core.wording import some

BY_NAME = "names"
"""Instead of a table: groups as the names of the cases suggest them."""

CASE_COLUMNS = ("case", "case_id", "identifier", "id", "name")
GROUP_COLUMNS = ("group", "patient", "patient_id", "subject", "subject_id")
SITE_COLUMNS = ("site", "center", "centre", "hospital", "scanner", "dataset", "group")
TABLES = (".csv", ".tsv", ".txt", ".json")


def read_grouping(
    given: str, identifiers: Collection[str], columns: Sequence[str] = GROUP_COLUMNS
) -> Grouping:
    """Groups of all cases from a table, a regular expression on their names, or ``names``.

    A table is a .csv, .tsv or .txt file with the columns ``case`` and one of ``columns``, or a
    .json file with ``{"case": "group"}`` or rows of both. Of a regular expression the first
    bracket is the group, or all that it finds.

    Raises ``DatasetError`` naming the cases that are left without a group.
    """
    if given == BY_NAME:
        found = {name: patient_of(name) for name in identifiers}
    elif given.lower().endswith(TABLES) or Path(given).is_file():
        given = str(Path(given).resolve())
        table = read_table(Path(given), columns)
        found = {name: table[name] for name in identifiers if name in table}
    else:
        found = _matched(given, identifiers)
    if missing := sorted(set(identifiers) - set(found)):
        raise DatasetError(
            f"{given} gives no {columns[0]} for {len(missing)} of {len(identifiers)} cases: "
            f"{some(missing)}. Every case needs one; one by itself is a {columns[0]} too."
        )
    return grouping(given, found)


def read_table(path: Path, columns: Sequence[str] = GROUP_COLUMNS) -> dict[str, str]:
    """One column of a table by case.

    Raises ``DatasetError`` where a column is missing or a case has two different entries.
    """
    found: dict[str, str] = {}
    for case, value in _rows(path, columns):
        if found.setdefault(case, value) != value:
            raise DatasetError(f"{path} has two entries for {case}: {found[case]} and {value}.")
    return found


def read_names(given: str) -> tuple[str, ...]:
    """Case identifiers: separated by commas, or from a file: one per line, or a JSON list."""
    path = Path(given)
    if path.suffix.lower() == ".json":
        raw = files.read_json(path, "list of cases")
        if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
            raise DatasetError(f'{path} must hold a list of case names: ["case_1", "case_2"].')
        return tuple(raw)
    if path.suffix.lower() in (".txt", ".csv", ".tsv") or path.is_file():
        parts = [re.split(r"[,;\t]", line)[0].strip() for line in _text(path).splitlines()]
    else:
        parts = [part.strip() for part in given.split(",")]
    return tuple(part for part in dict.fromkeys(parts) if part and part not in CASE_COLUMNS)


def read_folds(path: Path) -> tuple[Split, ...]:
    """Folds as nnU-Net lists them, ``[{"train": [...], "val": [...]}]``, or as nnseg does.

    Raises ``DatasetError`` naming the fold that is not of that form.
    """
    if path.suffix == ".pkl":
        raise DatasetError(
            f"{path} is a pickle, which can run any code when it is read. Write it as JSON: "
            '[{"train": [...], "val": [...]}, ...].'
        )
    raw = files.read_json(path, "list of folds")
    if isinstance(raw, dict) and "folds" in raw:
        raw = raw["folds"]
    if not isinstance(raw, list) or not raw:
        raise DatasetError(
            f'{path} has no folds. It must hold a list: [{{"train": [...], "val": [...]}}, ...].'
        )
    return tuple(_fold(path, number, entry) for number, entry in enumerate(raw))


def read_splits(path: Path) -> Splits:
    """The ``splits.json`` of a workspace, which its user may have edited, or a bare list of folds.

    Raises ``DatasetError`` with what is wrong.
    """
    raw = files.read_json(path, "splits")
    try:
        if isinstance(raw, dict) and "folds" in raw:
            return files.validate(Splits, raw, source=str(path))
        folds = read_folds(path)
        known = {name for fold in folds for name in (*fold.train, *fold.validation)}
        return Splits(scheme="file", cases=tuple(sorted(known)), source=str(path), folds=folds)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}.") from None


def _fold(path: Path, number: int, entry: Any) -> Split:
    """nnU-Net writes ``val``, and numpy strings that JSON has turned to plain ones."""
    halves = entry if isinstance(entry, dict) else {}
    train, validation = halves.get("train"), halves.get("val", halves.get("validation"))
    for half in (train, validation):
        if not isinstance(half, list) or not all(isinstance(name, str) for name in half):
            raise DatasetError(
                f'fold {number} in {path} must be {{"train": [names], "val": [names]}}.'
            )
    assert train is not None and validation is not None
    return Split(train=tuple(sorted(set(train))), validation=tuple(sorted(set(validation))))


def _matched(pattern: str, identifiers: Collection[str]) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(
            f"{pattern!r} is neither a table ({', '.join(TABLES)}), nor {BY_NAME!r}, nor a regular "
            f"expression: {error}."
        ) from None
    found = {name: expression.search(name) for name in identifiers}
    return {
        name: match[1] if expression.groups else match[0]
        for name, match in found.items()
        if match and (match[1] if expression.groups else match[0])
    }


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[str, str]]:
    if path.suffix.lower() == ".json":
        raw = files.read_json(path, "table")
        if isinstance(raw, dict) and all(isinstance(value, str | int) for value in raw.values()):
            return [(case, str(value)) for case, value in raw.items()]
        rows: list[dict[str, Any]] = raw if isinstance(raw, list) else []
        if not isinstance(raw, list) or not all(isinstance(row, dict) for row in rows):
            raise DatasetError(
                f'{path} must hold {{"case": "{columns[0]}"}} or a list of '
                f'{{"case": "...", "{columns[0]}": "..."}}.'
            )
    else:
        rows = _delimited(path)
    names = list(rows[0]) if rows else []
    case = _column(path, names, CASE_COLUMNS)
    value = _column(path, names, columns, other_than=case)
    filled = ((str(row.get(case) or "").strip(), row.get(value)) for row in rows)
    return [(c, str(v).strip()) for c, v in filled if c and v is not None and str(v).strip()]


def _delimited(path: Path) -> list[dict[str, Any]]:
    """The rows of a table by column, whatever parts them: tab, semicolon or comma."""
    lines = _text(path).splitlines()
    head = lines[0] if lines else ""
    delimiter = max("\t;,", key=head.count)
    return list(csv.DictReader(lines, delimiter=delimiter))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"there is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text: {error}.") from None


def _column(
    path: Path, names: Sequence[str], wanted: Sequence[str], other_than: str | None = None
) -> str:
    """The first of the wanted columns that is there; of two columns, the other one."""
    by_name = {str(name).strip().lower(): name for name in names if name is not None}
    for name in wanted:
        if name in by_name:
            return by_name[name]
    if other_than is not None and len(names) == 2:
        return next(name for name in names if name != other_than)
    there = ", ".join(map(str, names)) or "none"
    example = "group" if wanted is CASE_COLUMNS else wanted[0]
    raise DatasetError(
        f"{path} has no column {wanted[0]!r}; it has {there}. A table of groups begins with a "
        f"line such as case,{example}."
    )
