"""Scores for reading: a summary for programs, rows for a spreadsheet, a table for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nnseg_core.dataset import Labels
from nnseg_core.scoring.bootstrap import Estimate
from nnseg_core.scoring.scores import METRICS, CaseScores, LabelScores, Scores, Summary

COUNTS = {
    "TP": "tp",
    "FP": "fp",
    "FN": "fn",
    "TN": "tn",
    "n_pred": "n_prediction",
    "n_ref": "n_reference",
}
"""Names of the voxel counts in nnU-Net's summary."""

NAMES = {"dice": "Dice", "iou": "IoU"}
"""nnU-Net's names of metrics that it has too."""

OF_A_LABEL = ("outcome", *METRICS, *COUNTS.values())
"""What a row says of a label in a case."""

COLUMNS = ("case", "label", *OF_A_LABEL)
"""The columns of ``rows``."""

HEADINGS = (
    "label",
    "Dice",
    "IoU",
    "surface Dice",
    "HD95 (mm)",
    "volume error",
    "missed",
    "spurious",
)


def summary(scores: Scores, labels: Labels) -> dict[str, Any]:
    """The content of ``summary.json``: nnU-Net's keys, and beside them intervals and definitions.

    ``mean`` and the metrics of a case are keyed as nnU-Net does it, by the label's value (``"1"``)
    or the region's (``"(1, 2)"``). What is undefined is None.
    """
    keys = {name: _key(covered) for name, covered in labels.values.items()}
    counts = {name: _mean_counts(scores.cases, [name]) for name in keys}
    return {
        "foreground_mean": _means(scores.foreground) | _mean_counts(scores.cases, keys),
        "mean": {
            key: {"name": name} | _means(scores.labels[name]) | counts[name]
            for name, key in keys.items()
        },
        "metric_per_case": [
            {
                "case": case.identifier,
                "metrics": {keys[name]: _metrics(label) for name, label in case.labels.items()},
            }
            for case in scores.cases
        ],
        "surface_dice_tolerance_mm": scores.tolerance,
        "definitions": scores.definitions,
    }


def rows(scores: Scores) -> list[dict[str, Any]]:
    """One row per case and label: all metrics and counts, and whether the structure was found."""
    return [
        {"case": case.identifier, "label": name} | {c: getattr(label, c) for c in OF_A_LABEL}
        for case in scores.cases
        for name, label in case.labels.items()
    ]


def table(scores: Scores) -> list[tuple[str, ...]]:
    """The means as text: ``HEADINGS``, one row per label, and the foreground mean last."""
    body = [_row(name, summary) for name, summary in scores.labels.items()]
    return [HEADINGS, *body, _row("mean", scores.foreground)]


def _key(covered: tuple[int, ...]) -> str:
    return str(covered[0]) if len(covered) == 1 else str(tuple(covered))


def _metrics(label: LabelScores) -> dict[str, Any]:
    metrics = {NAMES.get(metric, metric): getattr(label, metric) for metric in METRICS}
    counts = {key: getattr(label, field) for key, field in COUNTS.items()}
    return metrics | counts | {"outcome": label.outcome}


def _means(summary: Summary) -> dict[str, Any]:
    estimates = {NAMES.get(metric, metric): getattr(summary, metric) for metric in METRICS}
    outcomes = ("found", "missed", "spurious", "absent")
    return {
        **{name: estimate.mean for name, estimate in estimates.items()},
        "interval": {name: [e.low, e.high] for name, e in estimates.items()},
        "structures": {outcome: getattr(summary, outcome) for outcome in outcomes},
    }


def _mean_counts(cases: Iterable[CaseScores], names: Iterable[str]) -> dict[str, float | None]:
    scored = [case.labels[name] for name in names for case in cases if name in case.labels]
    return {
        key: float(np.mean([getattr(s, field) for s in scored])) if scored else None
        for key, field in COUNTS.items()
    }


def _row(name: str, summary: Summary) -> tuple[str, ...]:
    return (
        name,
        _text(summary.dice),
        _text(summary.iou),
        _text(summary.surface_dice),
        _text(summary.hd95_pooled, ".1f"),
        _text(summary.volume_error_relative, "+.0%"),
        str(summary.missed),
        str(summary.spurious),
    )


def _text(estimate: Estimate, form: str = ".3f") -> str:
    if estimate.mean is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return format(estimate.mean, form)
    return f"{estimate.mean:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"
