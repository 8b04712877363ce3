"""The course of a training as a picture, ``progress.png``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnseg_core.training import EpochReport, TrainingTask
from nnseg_core.writing import whole
from nnseg_standard.beside import Beside
from nnseg_standard.callbacks.csv_log import reports_before
from nnseg_standard.callbacks.epoch_line import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = "progress.png"

BLUE, ORANGE, GREEN, RED, GREY = "#4a86c5", "#e58a2e", "#57b184", "#cf5049", "#8b939c"

NAMED_LABELS = 8
"""More labels than this get no entry in the legend, which would cover their lines."""

SINGLE_POINTS = 40
"""Up to this many epochs, each is marked by a dot."""


@dataclass
class Plot:
    """Draws progress.png: losses, online Dice, learning rate, and where the time goes.

    It is drawn beside the training, which waits for the last drawing only.

    Attributes:
        every_minutes: Time between two drawings during the training; one more follows its end.
    """

    every_minutes: float = 5.0
    _task: TrainingTask | None = field(default=None, init=False)
    _reports: list[EpochReport] = field(default_factory=list, init=False)
    _drawn: float = field(default=0.0, init=False)
    _beside: Beside = field(default_factory=Beside, init=False, repr=False, compare=False)

    def on_fit_start(self, task: TrainingTask) -> None:
        """Remember where to draw."""
        self._task, self._reports, self._drawn = task, [], time.monotonic()

    def on_epoch_end(self, report: EpochReport) -> None:
        """Draw when it is time to. A resumed training begins with what its log tells."""
        assert self._task is not None
        if not self._reports:
            self._reports = reports_before(report.epoch, self._task.folder)
        self._reports.append(report)
        if time.monotonic() - self._drawn >= self.every_minutes * 60:
            self._draw(tuple(self._reports))

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        """Draw the whole training, and wait for it."""
        if reports:
            self._draw(tuple(reports))
        self._beside.finish()

    def _draw(self, reports: Sequence[EpochReport]) -> None:
        assert self._task is not None
        path = self._task.folder / PICTURE
        self._beside.start(partial(draw, reports, self._task.name, path))
        self._drawn = time.monotonic()


def draw(reports: Sequence[EpochReport], name: str, path: Path) -> None:
    """Draw reports, with ``name`` in the title, into a picture of 1600 by 1200 pixels."""
    from matplotlib.figure import Figure  # not pyplot, which may want a screen
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    spaced = ConstrainedLayoutEngine(w_pad=0.25, h_pad=0.2)  # inches
    figure = Figure(figsize=(16, 12), dpi=100, layout=spaced)
    figure.suptitle(title(reports, name), fontsize=20, fontweight="bold")
    for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        panel(axes, reports)
        finish(axes, reports)
    with whole(path) as beside:
        figure.savefig(beside, format="png")


def title(reports: Sequence[EpochReport], name: str) -> str:
    """What was trained, how far it is, and how long that took."""
    last = reports[-1]
    spent = duration(sum(report.seconds for report in reports))
    return f"{name}: epoch {last.epoch + 1} of {last.epochs or '?'}, {spent}"


def losses(axes: Axes, reports: Sequence[EpochReport]) -> None:
    """Training and validation loss."""
    axes.set_title("Loss")
    line(axes, reports, [r.train_loss for r in reports], color=BLUE, label="training")
    line(axes, reports, [r.validation_loss for r in reports], color=ORANGE, label="validation")


def online_dice(axes: Axes, reports: Sequence[EpochReport]) -> None:
    """Mean and moving average over thin lines, one per label."""
    axes.set_title("Dice of validation patches")
    names = list(reports[-1].dice)
    for index, name in enumerate(names):
        label = name if len(names) <= NAMED_LABELS else None
        values = [report.dice.get(name) for report in reports]
        line(axes, reports, values, color=f"C{index % 10}", linewidth=1, alpha=0.5, label=label)
    line(axes, reports, [r.mean_dice for r in reports], color=GREY, linewidth=2, label="mean")
    smoothed = [report.smoothed_dice for report in reports]
    line(axes, reports, smoothed, color="black", linewidth=3, label="moving average")
    axes.set_ylim(0, 1)


def learning_rates(axes: Axes, reports: Sequence[EpochReport]) -> None:
    """The learning rate of each epoch."""
    axes.set_title("Learning rate")
    rates = [report.learning_rate for report in reports]
    line(axes, reports, rates, color=RED, linewidth=2, label="learning rate")
    axes.set_ylim(bottom=0)


def times(axes: Axes, reports: Sequence[EpochReport]) -> None:
    """Seconds per epoch, stacked by what they were spent on."""
    axes.set_title("Seconds per epoch")
    spent = np.array([[r.stepping, r.validating, r.waiting, r.seconds] for r in reports]).T
    spent[-1] -= spent[:-1].sum(axis=0)
    edges = np.arange(reports[0].epoch, reports[-1].epoch + 2) + 0.5
    base = np.zeros(len(reports))
    parts = {"steps": BLUE, "validation": GREEN, "waiting for data": RED, "other": GREY}
    for (name, colour), seconds in zip(parts.items(), spent, strict=True):
        axes.stairs(base + seconds, edges, baseline=base, fill=True, color=colour, label=name)
        base = base + seconds
    axes.set_ylim(0, 1.1 * np.percentile(base, 98))  # one long epoch does not flatten the rest


PANELS = (losses, online_dice, learning_rates, times)


def line(axes: Axes, reports: Sequence[EpochReport], values: Sequence[Any], **style: Any) -> None:
    """A line over the epochs, counted from 1; None leaves a gap, and few epochs get dots."""
    known = np.array([np.nan if value is None else value for value in values], dtype=float)
    marker = "o" if len(reports) <= SINGLE_POINTS else None
    axes.plot([report.epoch + 1 for report in reports], known, marker=marker, **style)


def finish(axes: Axes, reports: Sequence[EpochReport]) -> None:
    """What the panels share: a range of epochs, a quiet grid, a legend that covers nothing."""
    axes.set_xlim(reports[0].epoch + 0.5, reports[-1].epoch + 1.5)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch", fontsize=14)
    axes.title.set_fontsize(17)
    axes.tick_params(labelsize=13)
    axes.grid(color="#e4e7ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=5, fontsize=13, frameon=False
    )
