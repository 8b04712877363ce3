"""Scores of whole cases, and pictures of them, for the runs that have followed a training."""

from __future__ import annotations

import json
import logging
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from nnseg_track.memory import remembered
from nnseg_track.numbers import of_scores

if TYPE_CHECKING:
    from nnseg_core.scoring.scores import Scores
    from nnseg_track.following import Run

TRACKERS = ("tensorboard", "mlflow", "wandb")

log = logging.getLogger(__name__)


def add_scores(scores: Scores, folder: Path) -> None:
    """Tell all runs of a training about the validation in ``folder``.

    A tracker that cannot be reached is no reason to lose a validation: it is said, and left out.
    """
    fold = folder.parent
    runs = remembered(fold)
    if not runs:
        return
    pictures = sorted(folder.glob("*_overlay.png"))
    numbers, epoch = of_scores(scores), last_epoch(fold)
    for tracker, known in runs.items():
        if tracker not in TRACKERS:
            continue
        try:
            run: Run = import_module(f"nnseg_track.{tracker}").again(known)
            run.log(numbers, epoch)
            run.show(pictures, epoch)
            run.close(finished=True)
        except Exception as error:
            log.warning("%s was not told of the scores: %s", tracker, error)


def last_epoch(fold: Path) -> int:
    """Epochs trained, by the log of the training; 0 where there is none."""
    path = fold / "metrics.jsonl"
    if not path.is_file():
        return 0
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]  # the last may have been cut short
    return int(json.loads(whole[-1])["epoch"]) + 1 if whole else 0
