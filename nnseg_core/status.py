"""What a workspace holds and what is running in it, told by its files alone.

Everything is read as it lies there, without a lock and in well under a second: what is half made,
damaged or of somebody else is shown as far as it can be read, or left out.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nnseg_core.claims import ENDING, Claim, claim_file, read_claim
from nnseg_core.workspace import Workspace

TAIL = 2**18
"""Bytes from the end of a log: some epochs, however many labels there are."""

RECENT = 10
"""Epochs whose duration tells that of the next ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run at work on a folder, or one that ended in the middle of it (``gone``).

    ``silent`` is in seconds, since its last sign of life.
    """

    folder: Path
    work: str
    host: str
    pid: int
    started: str
    silent: float
    gone: bool
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationStatus:
    """The preprocessed cases of a plan's configuration: ``cases`` of ``of_cases``, in ``size``
    bytes.
    """

    plan: str
    name: str
    cases: int
    of_cases: int | None
    size: int
    work: Work | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldStatus:
    """One fold of a model: trained or not, after ``epochs`` of ``of_epochs``.

    ``dice`` is the mean of the validation in full, with its 95 % interval. ``seconds_left`` is
    what the epochs that remain will take, by the last ones.
    """

    name: str
    trained: bool
    epochs: int
    of_epochs: int | None
    seconds_left: float | None
    dice: float | None
    interval: tuple[float, float] | None
    size: int
    work: Work | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model folder and its folds.

    ``next_stage`` counts the cases that it has segmented for each cascade that follows it, and
    ``beside`` the bytes of those and of the model that a cascade follows.
    """

    name: str
    configuration: str | None
    folds: tuple[FoldStatus, ...]
    next_stage: dict[str, int] = field(default_factory=dict)
    beside: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStatus:
    """All that a workspace has of a dataset; ``measured`` is how many cases went into its plans."""

    name: str
    measured: int | None
    configurations: tuple[ConfigurationStatus, ...]
    models: tuple[ModelStatus, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(part.size for part in self._parts) + sum(m.beside for m in self.models)

    @property
    def works(self) -> tuple[Work, ...]:
        """What is running, and what ended in the middle."""
        return tuple(part.work for part in self._parts if part.work)

    @property
    def _parts(self) -> tuple[ConfigurationStatus | FoldStatus, ...]:
        return *self.configurations, *(fold for model in self.models for fold in model.folds)


def dataset_names(workspace: Workspace) -> tuple[str, ...]:
    """The datasets of which there is something, sorted."""
    parents = (workspace.root / "datasets", workspace.root / "models")
    return tuple(sorted({entry.name for parent in parents for entry in _folders(parent)}))


def dataset_status(workspace: Workspace, name: str) -> DatasetStatus:
    """Look at everything there is of a dataset."""
    measured = _read(workspace.cases(name)).get("sha256")
    return DatasetStatus(
        name=name,
        measured=len(measured) if isinstance(measured, dict) else None,
        configurations=tuple(
            status
            for plan in _folders(workspace.dataset(name))
            for status in _configurations(workspace, name, plan.name)
        ),
        models=tuple(_model(folder) for folder in _folders(workspace.models(name))),
    )


def _configurations(workspace: Workspace, dataset: str, plan: str) -> Iterator[ConfigurationStatus]:
    path = workspace.plan(dataset, plan)
    planned = _read(path)
    of_cases = _part(planned, "dataset").get("training_cases")
    decided = _part(planned, "configurations")
    stored = [folder.name for folder in _folders(path.parent)]
    for name in dict.fromkeys([*decided, *stored]):
        folder = workspace.store(dataset, plan, name)
        if name not in stored and _part(decided, name).get("previous"):
            continue  # a cascade has no cases of its own
        cases, size = _measure(folder)
        yield ConfigurationStatus(
            plan=plan,
            name=name,
            cases=cases,
            of_cases=of_cases if isinstance(of_cases, int) else None,
            size=size,
            work=_work(folder),
        )


def _model(folder: Path) -> ModelStatus:
    about = _read(folder / "model.json").get("configuration")
    begun = {entry.name for entry in _folders(folder) if entry.name.startswith("fold_")}
    begun |= {path.name.removesuffix(ENDING) for path in folder.glob(f"fold_*{ENDING}")}
    return ModelStatus(
        name=folder.name,
        configuration=about if isinstance(about, str) else None,
        folds=tuple(_fold(folder / name) for name in sorted(begun)) or _selected(folder),
        next_stage={
            stage.name: len(list(stage.glob("[!.]*.b2nd")))
            for stage in _folders(folder / "next_stage")
        },
        beside=sum(_measure(folder / name)[1] for name in ("next_stage", "previous")),
    )


def _selected(folder: Path) -> tuple[FoldStatus, ...]:
    """The one line of a model that was selected; its scores are those of its validation."""
    if not (folder / "members").is_dir():
        return ()
    return (replace(_fold(folder), name="-", trained=True),)


def _fold(folder: Path) -> FoldStatus:
    rows = _last_rows(folder / "metrics.jsonl")
    last = rows[-1] if rows else {}
    done, planned = _whole(last.get("epoch")), _whole(last.get("epochs"))
    dice, interval = _dice(folder / "validation" / "summary.json")
    trained = (folder / "weights.safetensors").is_file()
    return FoldStatus(
        name=folder.name.removeprefix("fold_"),
        trained=trained,
        epochs=0 if done is None else done + 1,
        of_epochs=planned,
        seconds_left=None if trained else _seconds_left(rows),
        dice=dice,
        interval=interval,
        size=_measure(folder)[1],
        work=_work(folder),
    )


def _work(folder: Path) -> Work | None:
    there: Claim | None = read_claim(claim_file(folder))
    if there is None:
        return None
    now = time.time()
    return Work(
        folder=folder,
        work=there.work,
        host=there.host,
        pid=there.pid,
        started=there.started,
        silent=max(there.silent_for(now), 0.0),
        gone=there.is_gone(now),
        command=there.command,
    )


def _seconds_left(rows: list[dict[str, Any]]) -> float | None:
    """By the mean of the last epochs; the first of all is longer and counts only if alone."""
    recent = [row for row in rows if row.get("epoch")][-RECENT:] or rows
    try:
        seconds = sum(row["seconds"] for row in recent) / len(recent)
        return float(seconds * (rows[-1]["epochs"] - rows[-1]["epoch"] - 1))
    except (KeyError, TypeError, ZeroDivisionError, IndexError):
        return None


def _last_rows(path: Path) -> list[dict[str, Any]]:
    """The last whole lines of a log of JSON lines."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL, 0))
            lines = file.read().split(b"\n")[:-1]  # what follows the last break is being written
    except OSError:
        return []
    whole = lines[1:] if size > TAIL else lines
    rows = [_parsed(line) for line in whole[-RECENT - 1 :]]
    return [row for row in rows if isinstance(row, dict)]


def _dice(path: Path) -> tuple[float | None, tuple[float, float] | None]:
    """The mean over all labels and its interval, which stand at the beginning of a summary."""
    try:
        with path.open(encoding="utf-8") as file:
            beginning = file.read(TAIL).partition('"foreground_mean":')[2].lstrip()
        scores = json.JSONDecoder().raw_decode(beginning)[0]
        low, high = scores["interval"]["Dice"]
        dice = float(scores["Dice"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
    if not math.isfinite(dice):
        return None, None
    return dice, None if None in (low, high) else (float(low), float(high))  # none of one case


def _measure(folder: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Complete cases in a folder, and bytes of all files under it."""
    cases = size = 0
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            more_cases, more_size = _measure(entry)
            cases, size = cases + more_cases, size + more_size
        else:
            cases += entry.name == "case.json" and not folder.name.startswith(".")
            size += _size(entry)
    return cases, size


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # gone in this moment
        return 0


def _folders(parent: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones belong to somebody else."""
    entries = (entry for entry in _entries(parent) if not entry.name.startswith("."))
    return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # not there, no folder, or not for us
        return []


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        found = _parsed(path.read_bytes())
    except OSError:
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _part(raw: dict[str, Any], name: str) -> dict[str, Any]:
    part = raw.get(name)
    return part if isinstance(part, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
