import numpy as np
import pytest

from nnseg_core.dataset import Labels
from nnseg_core.scoring.overlap import Overlap, count_overlap

ORGANS = Labels(values={"liver": (1,), "kidney": (7,), "spleen": (300,)}, ignore=9)
TUMOUR = Labels(
    values={"whole": (1, 2, 4), "core": (2, 4), "enhancing": (4,)}, paint_order=(1, 2, 4)
)


def masks(values, dtype=np.int16):
    random = np.random.default_rng(0)
    return random.choice(values, size=(2, 5, 6, 7)).astype(dtype)


def counted_one_by_one(prediction, reference, covered, ignore):
    counts = reference != ignore
    p, r = np.isin(prediction, covered), np.isin(reference, covered)
    cells = {"tp": p & r, "fp": p & ~r, "fn": ~p & r, "tn": ~p & ~r}
    return Overlap(**{name: int((cell & counts).sum()) for name, cell in cells.items()})


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64])
def test_one_pass_counts_like_a_pass_per_label(dtype):
    prediction, reference = masks([0, 1, 7, 9, 300], dtype)

    overlaps = count_overlap(prediction, reference, ORGANS)

    assert overlaps == {
        name: counted_one_by_one(prediction, reference, covered, 9)
        for name, covered in ORGANS.values.items()
    }


@pytest.mark.parametrize("foreground", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("highest", [3, 15, 16, 117, 300])
def test_many_voxels_are_counted_like_few(highest, foreground):
    random = np.random.default_rng(0)
    labels = Labels(values={"low": (1,), "high": (highest,)}, ignore=2)
    values = random.choice([0, 1, 2, 3, highest], size=(2, 61, 61, 61)).astype(np.int16)
    prediction, reference = values * (random.random((61, 1, 61)) < foreground)

    overlaps = count_overlap(prediction, reference, labels)

    assert overlaps == {
        name: counted_one_by_one(prediction, reference, covered, 2)
        for name, covered in labels.values.items()
    }


def test_regions_may_overlap():
    prediction, reference = masks([0, 1, 2, 4], np.uint8)

    overlaps = count_overlap(prediction, reference, TUMOUR)

    assert overlaps == {
        name: counted_one_by_one(prediction, reference, covered, None)
        for name, covered in TUMOUR.values.items()
    }


def test_undeclared_values_are_background():
    prediction, reference = masks([-1, 0, 1, 3, 400])
    cleaned = [np.where(mask == 1, 1, 0).astype(np.int16) for mask in (prediction, reference)]

    assert count_overlap(prediction, reference, ORGANS) == count_overlap(*cleaned, ORGANS)


def test_dice_and_iou_by_hand():
    overlap = Overlap(tp=6, fp=2, fn=4, tn=88)

    assert (overlap.dice, overlap.iou) == (12 / 18, 6 / 12)
    assert (overlap.n_reference, overlap.n_prediction) == (10, 8)


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ((1, 0, 0), "found"),
        ((0, 1, 1), "found"),
        ((0, 0, 1), "missed"),
        ((0, 1, 0), "spurious"),
        ((0, 0, 0), "absent"),
    ],
)
def test_outcome_says_what_became_of_a_structure(counts, outcome):
    tp, fp, fn = counts
    overlap = Overlap(tp=tp, fp=fp, fn=fn, tn=5)

    assert overlap.outcome == outcome
    assert (overlap.dice is None) == (overlap.iou is None) == (outcome == "absent")
