"""Names what has gone wrong in a training while there is time to do something about it.

Each finding is told once: as a warning in the log, and as a line of ``warnings.jsonl`` in the
folder of the training. A loss that is not a number ends the training, so the loop tells that one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnseg_core.training import EpochReport, TrainingTask
from nnseg_core.wording import some
from nnseg_standard.callbacks.csv_log import reports_before

WARNINGS = "warnings.jsonl"

FLAT = 0.01
"""A loss is flat when it has changed by less than this over the rounds looked at. Losses of Dice
and cross entropy begin near 1, and fall by far more than that in the first rounds of nnU-Net's."""

LEARNED = 0.2
"""Online Dice above which a flat loss means that there is nothing more to learn."""

OVERFLOWS = 0.05
"""Share of steps that a scaler may skip. Where all is well it is one in 2000: that often the scale
is tried at twice its size."""

NAMED = 8
"""Labels that are named in one finding."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, by a ``code`` that is told once per training, and what to do."""

    code: str
    text: str


@dataclass
class Watchdog:
    """Warns, once each, of what a training will not recover from by itself: a flat loss,
    predictions of nothing but background, labels that are never drawn, overflows in float16.

    Attributes:
        rounds: Epochs in a row after which something counts as wrong.
    """

    rounds: int = 10
    _folder: Path = field(default=Path(), init=False)
    _steps: int = field(default=1, init=False)
    _reports: list[EpochReport] = field(default_factory=list, init=False)
    _told: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        if self.rounds < 2:
            raise ValueError(f"rounds must be at least 2, not {self.rounds}")

    def on_fit_start(self, task: TrainingTask) -> None:
        """Remember what has been told before, if this training resumes."""
        self._folder, self._reports = task.folder, []
        self._steps = int(task.configuration.trainer.options.get("iterations", 250))  # the standard
        self._told = told_before(task.folder)

    def on_epoch_end(self, report: EpochReport) -> None:
        """Look at the last rounds."""
        if not self._reports:
            self._reports = reports_before(report.epoch, self._folder)
        self._reports.append(report)
        if report.epoch == 0:
            self._told = set()  # those of a training that this one replaces
            (self._folder / WARNINGS).unlink(missing_ok=True)
        if len(self._reports) >= self.rounds:
            for finding in findings(self._reports[-self.rounds :], self._steps):
                self._tell(finding, report)

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        """Nothing more to say."""

    def _tell(self, finding: Finding, report: EpochReport) -> None:
        if finding.code in self._told:
            return
        self._told.add(finding.code)
        log.warning("epoch %d: %s", report.epoch + 1, finding.text)
        self._folder.mkdir(parents=True, exist_ok=True)
        line = {"epoch": report.epoch + 1, "code": finding.code, "text": finding.text}
        with (self._folder / WARNINGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def told_before(folder: Path) -> set[str]:
    """The codes in the file of warnings; a torn line is left out."""
    path = folder / WARNINGS
    if not path.is_file():
        return set()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return {json.loads(line)["code"] for line in lines if line.endswith("\n")}


def findings(reports: Sequence[EpochReport], steps: int) -> Iterator[Finding]:
    """What is wrong in all of these rounds; ``steps`` is how many each has."""
    for look in LOOKS:
        yield from look(reports)
    yield from overflows(reports, steps)


def all_background(reports: Sequence[EpochReport]) -> Iterator[Finding]:
    """Nothing is found although there is something."""
    if all(
        _sum(report.reference_voxels) and not _sum(report.predicted_voxels) for report in reports
    ):
        yield Finding(
            "all_background",
            f"nothing but background has been predicted in {len(reports)} rounds of validation. "
            "Small objects may need longer; otherwise try a lower learning rate "
            "(--set trainer.learning_rate=0.001), more patches around foreground "
            "(--set trainer.foreground_share=0.66), or a loss for rare labels (--loss dice_topk).",
        )


def flat_loss(reports: Sequence[EpochReport]) -> Iterator[Finding]:
    """Nothing is learned although there is something to learn."""
    losses = [report.train_loss for report in reports]
    known = [report.mean_dice for report in reports if report.mean_dice is not None]
    if max(losses) - min(losses) < FLAT and max(known, default=0.0) < LEARNED:
        yield Finding(
            "flat_loss",
            f"the training loss has stayed at {losses[-1]:.3f} for {len(reports)} epochs, and the "
            "online Dice is low. Look for a learning rate (nnseg find-lr), and whether the labels "
            "lie on the images (nnseg check --sheet).",
        )


def never_sampled(reports: Sequence[EpochReport]) -> Iterator[Finding]:
    """Labels that no training patch had."""
    if names := _absent([report.sampled for report in reports]):
        yield Finding(
            "never_sampled",
            f"no training patch of {len(reports)} epochs had {names}, so it is not learned. See "
            "that cases of this fold have it (nnseg check), or let more patches lie around "
            "foreground (--set trainer.foreground_share=0.66).",
        )


def never_validated(reports: Sequence[EpochReport]) -> Iterator[Finding]:
    """Labels that no validation patch had."""
    if names := _absent([report.reference_voxels for report in reports]):
        yield Finding(
            "never_validated",
            f"no validation patch of {len(reports)} epochs had {names}: the online Dice says "
            "nothing of it. The scores after the training are of whole cases; validate on more "
            "patches (--set trainer.validation_iterations=200), or see that the validation cases "
            "of this fold have it.",
        )


LOOKS: tuple[Callable[[Sequence[EpochReport]], Iterable[Finding]], ...] = (
    all_background,
    flat_loss,
    never_sampled,
    never_validated,
)


def overflows(reports: Sequence[EpochReport], steps: int) -> Iterator[Finding]:
    """Many steps are lost to float16."""
    skipped = sum(report.skipped_steps for report in reports)
    share = skipped / (steps * len(reports))
    if share > OVERFLOWS:
        yield Finding(
            "overflows",
            f"in float16 at least {share:.0%} of the steps overflowed and were skipped. Go on with "
            "--set trainer.precision=bf16, or fp32 where the device has no bfloat16.",
        )


def _absent(counts: Sequence[dict[str, int]] | Sequence[dict[str, float]]) -> str:
    """The labels that all of these count as 0; nothing where nobody counted."""
    absent = [name for name in counts[-1] if not any(count.get(name, 0) for count in counts)]
    return some(absent, NAMED)


def _sum(voxels: dict[str, int]) -> int:
    return sum(voxels.values())
