"""Score predictions against references: per case and label, and over all cases.

What is measured, and what happens when a structure is missing, is said by ``definitions``; the
text goes into every output.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.dataset import Labels
from nnseg_core.errors import DatasetError
from nnseg_core.scoring import bootstrap
from nnseg_core.scoring.bootstrap import Estimate
from nnseg_core.scoring.overlap import Overlap, count_overlap

if TYPE_CHECKING:
    from nnseg_core.scoring.surfaces import SurfaceDistances

METRICS = (
    "dice",
    "iou",
    "surface_dice",
    "hd95_pooled",
    "hd95_max",
    "volume_error_ml",
    "volume_error_relative",
)
TOLERANCE = 1.0
"""Default tolerance of the surface Dice in mm: a voxel of a usual high-resolution scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores(Overlap):
    """One label or region of one case: its overlap, and what the overlap does not show.

    A metric is None where it is undefined: all of them where neither mask has the label. What
    each means is said by ``definitions``.
    """

    surface_dice: float | None
    hd95_pooled: float | None
    hd95_max: float | None
    volume_error_ml: float | None
    volume_error_relative: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScores:
    """The labels that are annotated in one case, by name.

    ``tolerance`` (mm) is that of the surface Dice.
    """

    identifier: str
    tolerance: float
    labels: dict[str, LabelScores]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One label over all cases, or all labels together, and what became of its structures.

    ``found``, ``missed``, ``spurious`` and ``absent`` count structures: one label of one case.
    """

    dice: Estimate
    iou: Estimate
    surface_dice: Estimate
    hd95_pooled: Estimate
    hd95_max: Estimate
    volume_error_ml: Estimate
    volume_error_relative: Estimate
    found: int = 0
    missed: int = 0
    spurious: int = 0
    absent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A set of cases, scored: each label by name, and the mean of the labels' means.

    ``definitions`` says per metric, and for missing structures, what was computed.
    """

    cases: tuple[CaseScores, ...]
    labels: dict[str, Summary]
    foreground: Summary
    tolerance: float
    definitions: dict[str, str]


def definitions(tolerance: float) -> dict[str, str]:
    """What each metric means, in words; ``tolerance`` (mm) is that of the surface Dice."""
    return {
        "dice": "2 TP / (2 TP + FP + FN), in voxels",
        "iou": "TP / (TP + FP + FN), in voxels",
        "surface_dice": f"share of the surface voxels of both masks within {tolerance:g} mm of "
        "the other mask's surface (normalised surface Dice)",
        "hd95_pooled": "95th percentile of the surface distances of both directions pooled, in mm",
        "hd95_max": "the larger of the two directions' 95th percentiles of surface distance, in mm",
        "volume_error_ml": "volume of the prediction minus that of the reference, in ml; "
        "undefined for planar images",
        "volume_error_relative": "the same, divided by the volume of the reference; "
        "undefined where the reference is empty",
        "surface": "voxels of a mask with a face neighbour outside of it; distances are between "
        "voxel centres",
        "missed or spurious": "a label in only one of the two masks has Dice, IoU and surface "
        "Dice 0, and the length of the image's diagonal as HD95",
        "absent": "a label in neither mask is not scored in that case and left out of the means",
        "ignored": "voxels with the ignore label in the reference do not count",
        "not annotated": "a label that nobody has annotated in a case is not scored there",
        "foreground": "the mean of the means of all labels that occur",
        "interval": f"95 % bootstrap percentile interval over cases, {bootstrap.RESAMPLES} samples",
    }


def score_case(
    identifier: str,
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    spacing: Sequence[float],
    labels: Labels,
    tolerance: float = TOLERANCE,
    annotated: Collection[str] | None = None,
) -> CaseScores:
    """Score one case. Masks are (z, y, x), ``spacing`` and ``tolerance`` in mm.

    Only labels that are ``annotated`` are scored; by default all are.

    Raises ``DatasetError`` when the masks differ in shape.
    """
    if prediction.shape != reference.shape:
        raise DatasetError(
            f"case {identifier}: the prediction has {_size(prediction)} voxels (z, y, x) but the "
            f"reference {_size(reference)}. Both must be on the grid of the same image."
        )
    from nnseg_core.scoring.surfaces import label_distances

    overlaps = count_overlap(prediction, reference, labels)
    distances = label_distances(prediction, reference, spacing, labels)
    farthest = diagonal(reference.shape, spacing)
    voxel = math.prod(spacing) / 1000 if reference.shape[0] > 1 else None  # ml
    return CaseScores(
        identifier=identifier,
        tolerance=tolerance,
        labels={
            name: LabelScores(
                **asdict(overlap),
                **_surface_metrics(overlap, distances.get(name), tolerance, farthest),
                **_volume_errors(overlap, voxel),
            )
            for name, overlap in overlaps.items()
            if annotated is None or name in annotated
        },
    )


def summarise(cases: Sequence[CaseScores], labels: Labels, seed: int = 0) -> Scores:
    """Means over cases, with bootstrap intervals drawn from ``seed``.

    Raises ``ValueError`` when there is no case, or when surface Dice tolerances differ.
    """
    tolerances = {case.tolerance for case in cases}
    if len(tolerances) != 1:
        raise ValueError(f"cases need one surface Dice tolerance, got {sorted(tolerances)} mm")
    names = tuple(labels.values)
    values = _values(cases, names)
    means = bootstrap.mean(values, axis=0)
    drawn = bootstrap.resampled_means(values, np.random.default_rng(seed))
    outcomes = [
        [case.labels[name].outcome for case in cases if name in case.labels] for name in names
    ]
    return Scores(
        cases=tuple(cases),
        labels={
            name: _summary(values[:, [i]], means[i], drawn[:, i], outcomes[i])
            for i, name in enumerate(names)
        },
        foreground=_summary(
            values,
            bootstrap.mean(means, axis=0),
            bootstrap.mean(drawn, axis=1),
            [o for row in outcomes for o in row],
        ),
        tolerance=tolerances.pop(),
        definitions=definitions(cases[0].tolerance),
    )


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Length of an image's diagonal in mm; the missing axis of a planar image has no length."""
    sides = [size * step for size, step in zip(shape, spacing, strict=True) if size > 1]
    return math.hypot(*sides)


def _surface_metrics(
    overlap: Overlap, distances: SurfaceDistances | None, tolerance: float, farthest: float
) -> dict[str, Any]:
    if distances is not None:
        return {
            "surface_dice": distances.surface_dice(tolerance),
            "hd95_pooled": distances.hd95_pooled,
            "hd95_max": distances.hd95_max,
        }
    if overlap.outcome == "absent":
        return dict.fromkeys(("surface_dice", "hd95_pooled", "hd95_max"))
    return {"surface_dice": 0.0, "hd95_pooled": farthest, "hd95_max": farthest}


def _volume_errors(overlap: Overlap, voxel: float | None) -> dict[str, Any]:
    """``voxel`` is the volume of one in ml, or None where there is no such thing."""
    surplus = overlap.n_prediction - overlap.n_reference
    absent = overlap.outcome == "absent"
    return {
        "volume_error_ml": None if voxel is None or absent else surplus * voxel,
        "volume_error_relative": surplus / overlap.n_reference if overlap.n_reference else None,
    }


def _values(cases: Sequence[CaseScores], names: Sequence[str]) -> NDArray[np.float64]:
    """Metrics by (case, label, metric); NaN where undefined or not annotated."""
    rows = [[[getattr(c.labels.get(n), m, None) for m in METRICS] for n in names] for c in cases]
    return np.array(rows, dtype=np.float64)


def _summary(
    values: NDArray[np.float64],
    means: NDArray[np.float64],
    drawn: NDArray[np.float64],
    outcomes: Sequence[str],
) -> Summary:
    """``values`` by (case, label, metric), ``means`` by metric, ``drawn`` by (sample, metric)."""
    cases = np.isfinite(values).any(axis=1).sum(axis=0)
    estimates: dict[str, Any] = {
        metric: bootstrap.estimate(means[i], drawn[:, i], int(cases[i]))
        for i, metric in enumerate(METRICS)
    }
    counts: dict[str, Any] = Counter(outcomes)
    return Summary(**estimates, **counts)


def _size(mask: NDArray[np.integer]) -> str:
    return " x ".join(map(str, mask.shape))
