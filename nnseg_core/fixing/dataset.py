"""Mend a dataset into a new folder, which appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nnseg_core import __version__, files
from nnseg_core.checking import (
    CaseCheck,
    Finding,
    check_across,
    check_case,
    check_folder,
)
from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef, DatasetDescription, find_images, open_dataset
from nnseg_core.dataset.annotated import of_cases
from nnseg_core.errors import DatasetError
from nnseg_core.fixing.case import Mended, mend_case
from nnseg_core.fixing.change import Change
from nnseg_core.fixing.settle import Settled, settle_channels, settle_values
from nnseg_core.fixing.source import ChooseReader, Source, Wishes, find_source
from nnseg_core.parallel import map_cases, values
from nnseg_core.progress import Report, silent
from nnseg_core.writing import writing

LISTS = ("dataset", "training", "test", "modality")
"""Keys of dataset.json that would say of the original where its files are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What was changed, and what a check of the copy still finds.

    ``cases`` are those in the copy. After a dry run ``findings`` are those of single cases only.
    """

    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    cases: int


def fix_dataset(
    folder: Path,
    output: Path,
    wishes: Wishes,
    choose_reader: ChooseReader,
    *,
    leave_out_broken: bool = False,
    dry_run: bool = False,
    workers: int = 0,
    report: Report = silent,
) -> Fixed:
    """Write a corrected copy of a dataset's training cases, with ``changes.json`` in it.

    ``folder`` is only read. ``leave_out_broken`` leaves out the cases that stay unusable;
    ``dry_run`` writes nothing.

    Raises ``DatasetError`` when ``output`` is in use or no case is left, ``NnsegError`` when it
    cannot be written.
    """
    _require_free(output, folder)
    source = find_source(folder, wishes, choose_reader)
    if dry_run:
        mended = _mend_cases(source, None, workers, report)
        settled, kept, changes = _settle(source, mended, leave_out_broken)
        return Fixed(changes=changes, findings=_still(kept, settled), cases=len(kept))
    with _published(output) as root:
        mended = _mend_cases(source, root, workers, report)
        settled, kept, changes = _settle(source, mended, leave_out_broken)
        left_out = {m.identifier for m in mended} - {m.identifier for m in kept}
        _remove(left_out, root, source.description.file_ending)
        _rewrite_masks(settled, root, source)
        raw = _description(source, settled, [m.identifier for m in kept])
        files.write_json(root / "dataset.json", raw)
        renumbered = _count_change(source.raw, len(kept))
        changes = (*changes, *renumbered)
        files.write_json(root / "changes.json", _log(folder, changes))
    return Fixed(
        changes=changes, findings=_check(output, choose_reader, workers, report), cases=len(kept)
    )


def _require_free(output: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Name the folder of the dataset to mend.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(
            f"{output} is there already. Name a new folder: nothing is ever overwritten."
        )
    if output.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(
            f"{output} lies inside {folder}, which is only read. Name a folder elsewhere."
        )


@contextmanager
def _published(output: Path) -> Iterator[Path]:
    """A folder beside ``output`` that takes its name once all is written."""
    beside = output.with_name(f".{output.name}.{os.getpid()}.part")
    with writing(output):
        beside.mkdir(parents=True)
    try:
        yield beside
        with writing(output):
            if output.exists():  # and is empty
                output.rmdir()
            beside.rename(output)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _mend_cases(source: Source, root: Path | None, workers: int, report: Report) -> list[Mended]:
    work = partial(mend_case, root=root, description=source.description, reader=source.reader)
    mended: dict[str, Mended] = {}
    for case, result in values(map_cases(work, source.cases, workers)):
        mended[case.identifier] = result
        report("mend", len(mended), len(source.cases), case.identifier)
    return [mended[case.identifier] for case in source.cases]


def _settle(
    source: Source, mended: Sequence[Mended], leave_out_broken: bool
) -> tuple[Settled, list[Mended], tuple[Change, ...]]:
    """What is decided for all, the cases that stay, and every change so far."""
    of_values = settle_values(source.description, mended)
    of_channels = settle_channels(source.description, mended)
    settled = Settled(
        raw={**of_values.raw, **of_channels.raw},
        changes=(*of_values.changes, *of_channels.changes),
        masks=of_values.masks,
        codes=of_values.codes | of_channels.codes,
    )
    broken = {m.identifier: _errors(m, settled) for m in mended if _errors(m, settled)}
    out = broken if leave_out_broken else {}
    kept = [m for m in mended if m.identifier not in out]
    if not kept:
        raise DatasetError(f"not one case of {source.description.name} can be mended.")
    left = [Change("left-out", f"left out: {out[name][0].message}", name) for name in out]
    of_cases = [change for m in kept for change in m.changes]
    return settled, kept, (*source.changes, *of_cases, *settled.changes, *left)


def _errors(mended: Mended, settled: Settled) -> list[Finding]:
    found = (f for f in mended.check.findings if f.severity == "error")
    return [finding for finding in found if finding.code not in settled.codes]


def _still(kept: Iterable[Mended], settled: Settled) -> tuple[Finding, ...]:
    return tuple(f for m in kept for f in m.check.findings if f.code not in settled.codes)


def _remove(cases: Iterable[str], root: Path, ending: str) -> None:
    """Take cases out of the copy again."""
    images = find_images(root / "imagesTr", ending)
    for name in cases:
        for path in (*images.get(name, ()), root / "labelsTr" / f"{name}{ending}"):
            path.unlink(missing_ok=True)


def _rewrite_masks(settled: Settled, root: Path, source: Source) -> None:
    """Put the declared value in place of 255 in some masks."""
    for name in settled.masks:
        path = root / "labelsTr" / f"{name}{source.description.file_ending}"
        label, geometry = source.reader.read_label(path)
        label[label != 0] = source.description.labels.foreground[0]
        source.reader.write_label(path, label, geometry)


def _description(source: Source, settled: Settled, cases: Sequence[str]) -> dict[str, Any]:
    """The ``dataset.json`` of the copy, in today's format."""
    kept = {key: value for key, value in source.raw.items() if key not in LISTS}
    description = source.description
    names: Mapping[str, Any] = source.raw["labels"]
    if all(key.isdecimal() for key in names):  # nnU-Net's first version: value -> name
        names = {name: int(value) for value, name in names.items()}
    annotated = of_cases(cases, kept.pop("annotated", {}))
    channels = {str(number): name for number, name in enumerate(description.channels)}
    return {
        **kept,
        "channel_names": channels,
        "labels": names,
        "file_ending": description.file_ending,
        **settled.raw,
        **({"annotated": annotated} if annotated else {}),
        "numTraining": len(cases),
    }


def _count_change(raw: Mapping[str, Any], cases: int) -> list[Change]:
    announced = raw.get("numTraining", cases)
    if announced == cases:
        return []
    return [Change("num-training", f"numTraining is {cases}, not {announced}", file="dataset.json")]


def _log(folder: Path, changes: Sequence[Change]) -> dict[str, Any]:
    return {"nnseg": __version__, "original": str(folder.resolve()), "changes": changes}


def _check(
    folder: Path, choose_reader: ChooseReader, workers: int, report: Report
) -> tuple[Finding, ...]:
    """All findings in the copy, which is read once more from what lies there."""
    dataset = open_dataset(folder)
    reader = choose_reader(dataset.description, dataset.cases[0].images[0])
    work = partial(_check_case, description=dataset.description, reader=reader)
    checks: dict[str, CaseCheck] = {}
    for case, result in values(map_cases(work, dataset.cases, workers)):
        checks[case.identifier] = result
        report("check", len(checks), len(dataset.cases), case.identifier)
    ordered = [checks[case.identifier] for case in dataset.cases]
    of_cases = [finding for check in ordered for finding in check.findings]
    return (*check_folder(dataset), *of_cases, *check_across(ordered, dataset))


def _check_case(case: CaseRef, *, description: DatasetDescription, reader: Reader) -> CaseCheck:
    return check_case(case, description, reader)[1]
