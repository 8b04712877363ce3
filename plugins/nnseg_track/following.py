"""What the callbacks have in common: a run is opened at the first epoch and told of each.

A training that resumes goes on with the run that it had. One that is stopped leaves it open.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from nnseg_core.errors import PluginError
from nnseg_core.training import EpochReport, TrainingTask
from nnseg_track.memory import Known, remember, remembered
from nnseg_track.numbers import facts_of, of_epoch

log = logging.getLogger(__name__)


class Run(Protocol):
    """A run of a tracker, open. ``known`` is what it takes to open it again."""

    known: Known

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Numbers at the end of ``epoch``, counted from 1."""
        ...

    def show(self, pictures: Sequence[Path], epoch: int) -> None:
        """PNG files, named by their stems."""
        ...

    def close(self, *, finished: bool) -> None:
        """Have everything written; ``finished`` says that the training is complete."""
        ...


@dataclass
class Following:
    """A callback that opens a run of a tracker and tells it of every epoch.

    A tracker that cannot be reached when the run is opened ends the training, which has lost
    little by then. Later it does not: it is said, and the epoch is left out.
    """

    tracker = ""
    _task: TrainingTask | None = field(default=None, init=False, repr=False)
    _run: Run | None = field(default=None, init=False, repr=False)

    def open(self, folder: Path, name: str, known: Known, epoch: int) -> Run:
        """The run ``known``, or a new one of that name. ``epoch`` is the next to be told."""
        raise NotImplementedError

    def describe(self, run: Run, facts: Mapping[str, str]) -> None:
        """Tell a new run what is trained."""
        raise NotImplementedError

    def on_fit_start(self, task: TrainingTask) -> None:
        """Remember what is trained; see that the package is there."""
        self._task, self._run = task, None
        self.require()

    def on_epoch_end(self, report: EpochReport) -> None:
        """Tell the numbers."""
        epoch = report.epoch + 1
        if self._run is None:
            self._run = self._begin(epoch)
        try:
            self._run.log(of_epoch(report), epoch)
        except Exception as error:
            log.warning("%s was not told of epoch %d: %s", self.tracker, epoch, error)

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        """Close the run; scores and overlays are added when there are some."""
        if self._run is None:
            return
        try:
            self._run.close(finished=True)
        except Exception as error:
            log.warning("%s was not told that the training has ended: %s", self.tracker, error)
        self._run = None

    def require(self) -> None:
        """Raise ``PluginError`` where the tracker's package is not installed."""
        need(self.tracker)

    def _begin(self, epoch: int) -> Run:
        assert self._task is not None
        folder = self._task.folder
        known = remembered(folder).get(self.tracker, {})
        run = self.open(folder, f"{folder.parent.name} {folder.name}", known, epoch)
        if not known:
            self.describe(run, facts_of(self._task))
        remember(folder, self.tracker, run.known)
        return run


def need(package: str) -> Any:
    """The package. Raises ``PluginError`` saying what to install."""
    try:
        return import_module(package)
    except ImportError as error:
        raise PluginError(
            f"{package} is not installed ({error}). Install what the trackers need: "
            'pip install "nnseg[track]"'
        ) from None
