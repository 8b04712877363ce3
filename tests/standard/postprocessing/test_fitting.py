"""Structures are reduced to one object where that helps, and only there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnseg_core.case import Segmentation
from nnseg_core.contracts import FitsCases, Postprocessor, PredictedCases
from nnseg_core.dataset import Labels
from nnseg_core.geometry import Geometry
from nnseg_core.scoring.overlap import count_overlap
from nnseg_standard.postprocessing.components import LargeComponents, LargestComponent

LABELS = Labels(values={"a": (1,), "b": (2,)})
REGIONS = Labels(values={"whole": (1, 2), "core": (2,)}, paint_order=(1, 2))


@dataclass
class Pairs:
    """Masks and references in memory, as rows of voxels."""

    labels: Labels
    pairs: Sequence[tuple[str, str]]

    def dice(self, candidates: Sequence[Postprocessor]) -> list[dict[str, float | None]]:
        return [self._dice(candidate) for candidate in candidates]

    def each(self, function: Callable[[Segmentation], Any]) -> list[Any]:
        return [function(mask(row)) for row, _ in self.pairs]

    def _dice(self, candidate: Postprocessor) -> dict[str, float | None]:
        found = [
            count_overlap(candidate.apply(mask(row)).label, mask(truth).label, self.labels)
            for row, truth in self.pairs
        ]
        dices = {n: [o[n].dice for o in found if o[n].dice is not None] for n in self.labels.values}
        return {n: float(np.mean(known)) if known else None for n, known in dices.items()}


def mask(row: str) -> Segmentation:
    label = np.array([int(voxel) for voxel in row], dtype=np.uint8).reshape(1, 1, -1)
    geometry = Geometry(shape=label.shape, spacing=(1.0, 1.0, 2.0))  # type: ignore[arg-type]
    return Segmentation(identifier=row, label=label, geometry=geometry)


def fitted(labels: Labels, *pairs: tuple[str, str]) -> dict[str, Any] | None:
    return LargestComponent().fit(Pairs(labels, pairs))


def test_the_built_in_fits() -> None:
    cases: PredictedCases = Pairs(LABELS, [("1", "1")])

    assert isinstance(LargestComponent(), FitsCases)
    assert isinstance(LargeComponents(), FitsCases)
    assert LargestComponent().fit(cases) is None  # nothing to gain


def test_the_whole_foreground_is_one_object_where_no_label_suffers() -> None:
    assert fitted(LABELS, ("112201", "112200")) == {"objects": [["a", "b"]]}


def test_a_label_that_comes_in_pieces_keeps_them() -> None:
    rows = ("1110011022", "1110000022")  # b lies apart from a: as one object it would be lost

    assert fitted(LABELS, rows) == {"objects": ["a"]}


def test_what_helps_one_label_and_harms_the_other_is_done_for_one() -> None:
    assert fitted(LABELS, ("1110100220022", "1110000220022")) == {"objects": ["a"]}


def test_equal_dice_is_no_gain() -> None:
    assert fitted(LABELS, ("1100220000", "1100220000")) is None


def test_a_label_that_occurs_nowhere_is_no_hindrance() -> None:
    assert fitted(LABELS, ("1110100", "1110000")) == {"objects": [["a", "b"]]}


def test_regions_are_tried_one_by_one() -> None:
    assert fitted(REGIONS, ("1221002", "1221000")) == {"objects": [["whole", "core"]]}
    assert fitted(REGIONS, ("122100211", "122100111")) == {"objects": ["core"]}


def test_large_pieces_stay_with_a_minimum_volume() -> None:
    cases = Pairs(LABELS, [("111011101", "111011100"), ("11010", "11000")])

    options = LargeComponents().fit(cases)

    assert options == {"objects": [["a", "b"]], "volumes": [4.0]}  # of 2 voxels, 2 mm3 each
    cleaned = LargeComponents(**options, labels=LABELS).apply(mask("111011101"))
    assert "".join(map(str, cleaned.label.ravel())) == "111011100"
