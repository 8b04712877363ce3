"""What trackers are told: numbers of an epoch and of the scores, facts of a training, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnseg_core.training import EpochReport, TrainingTask

if TYPE_CHECKING:
    from nnseg_core.scoring.scores import Scores, Summary

METRICS = ("dice", "iou", "surface_dice", "hd95_pooled")

PARTS = ("architecture", "trainer", "loss", "augmentation", "preprocessor", "predictor")


def of_epoch(report: EpochReport) -> dict[str, float]:
    """The numbers of an epoch; what is not known is left out. Times are in seconds."""
    known = {
        "loss/training": report.train_loss,
        "loss/validation": report.validation_loss,
        "online_dice/mean": report.mean_dice,
        "online_dice/moving_average": report.smoothed_dice,
        **{f"online_dice/label/{name}": value for name, value in report.dice.items()},
        **{f"sampled/{name}": share for name, share in report.sampled.items()},
        "learning_rate": report.learning_rate,
        "progress": report.progress,
        "seconds/epoch": report.seconds,
        "seconds/waiting": report.waiting,
        "seconds/steps": report.stepping,
        "seconds/validation": report.validating,
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def of_scores(scores: Scores) -> dict[str, float]:
    """The means over whole cases: of all labels, and of each."""
    summaries: Mapping[str, Summary] = {"mean": scores.foreground, **scores.labels}
    means = {
        f"scores/{metric}/{name}": getattr(summary, metric).mean
        for metric in METRICS
        for name, summary in summaries.items()
    }
    return {name: float(mean) for name, mean in means.items() if mean is not None}


def facts_of(task: TrainingTask) -> dict[str, str]:
    """What was trained and with which parts, as text."""
    configuration = task.configuration
    chosen = {part: getattr(configuration, part, None) for part in PARTS}
    options = {
        f"{part}.{name}": str(value)
        for part, reference in chosen.items()
        if reference is not None
        for name, value in reference.options.items()
    }
    return {
        "model": task.folder.parent.name,
        "fold": task.folder.name,
        "configuration": task.name,
        "patch_size": " x ".join(map(str, configuration.patch_size)),
        "batch_size": str(configuration.batch_size),
        "spacing_mm": " x ".join(f"{step:g}" for step in configuration.spacing),
        "training_cases": str(len(task.split.train)),
        "validation_cases": str(len(task.split.validation)),
        "seed": str(task.seed),
        **{part: reference.name for part, reference in chosen.items() if reference is not None},
        **options,
    }
