import numpy as np
import pytest

from nnseg_core.case import Segmentation
from nnseg_core.contracts import Postprocessor
from nnseg_core.dataset import Labels
from nnseg_core.errors import PlanError
from nnseg_core.geometry import Geometry
from nnseg_standard.postprocessing import components
from nnseg_standard.postprocessing.components import (
    LargestComponent,
    NoPostprocessing,
    keep_largest,
)

LABELS = Labels(values={"whole": (1, 2), "core": (2,)}, paint_order=(1, 2))


@pytest.fixture(params=["cc3d", "scipy"])
def both_ways(request, monkeypatch):
    if request.param == "scipy":
        monkeypatch.setattr(components, "FAST", False)
    else:
        pytest.importorskip("cc3d")


def row(*values):
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


def clean(label, *objects, labels=None):
    segmentation = Segmentation(
        identifier="case",
        label=label,
        geometry=Geometry(shape=label.shape, spacing=(1.0, 1.0, 1.0)),
        probability=np.ones((2, *label.shape), dtype=np.float32),
    )
    return LargestComponent(objects=objects, labels=labels).apply(segmentation)


def test_the_whole_foreground_is_one_object_by_default(both_ways):
    label = row(1, 2, 2, 0, 1, 1, 0, 0)

    assert np.array_equal(clean(label).label, row(1, 2, 2, 0, 0, 0, 0, 0))


def test_each_structure_by_itself_in_turn(both_ways):
    label = row(2, 0, 1, 1, 2, 2, 0, 1)

    assert np.array_equal(clean(label, 1).label, row(2, 0, 1, 1, 2, 2, 0, 0))
    assert np.array_equal(clean(label, 1, 2).label, row(0, 0, 1, 1, 2, 2, 0, 0))
    assert np.array_equal(clean(label, (1, 2)).label, row(0, 0, 1, 1, 2, 2, 0, 0))


def test_later_structures_see_what_earlier_ones_left(both_ways):
    label = row(2, 2, 0, 1, 1, 2)

    assert np.array_equal(clean(label, 2, (1, 2)).label, row(2, 2, 0, 1, 1, 0))
    assert np.array_equal(clean(label, (1, 2), 2).label, row(0, 0, 0, 1, 1, 2))


def test_names_stand_for_the_values_they_cover(both_ways):
    label = row(2, 0, 1, 1, 2, 0, 1)

    assert np.array_equal(clean(label, "whole", labels=LABELS).label, row(0, 0, 1, 1, 2, 0, 0))
    assert np.array_equal(clean(label, "core", labels=LABELS).label, label)


def test_equally_large_objects_all_stay(both_ways):
    assert np.array_equal(clean(row(1, 1, 0, 1, 0, 1, 1)).label, row(1, 1, 0, 0, 0, 1, 1))


def test_touching_at_a_corner_is_connected(both_ways):
    label = np.zeros((3, 4, 4), dtype=np.uint8)
    label[0, 0, 0] = label[1, 1, 1] = label[2, 2, 2] = label[0, 3, 3] = 1

    cleaned = clean(label).label

    assert cleaned.sum() == 3 and cleaned[0, 3, 3] == 0


def test_both_ways_agree_on_noise(monkeypatch):
    pytest.importorskip("cc3d")
    label = np.random.default_rng(0).integers(0, 30, size=(20, 30, 31), dtype=np.uint16)
    label[label > 3] = 0

    fast = [keep_largest(label, values) for values in ({1}, {2}, {1, 3}, set())]
    monkeypatch.setattr(components, "FAST", False)
    slow = [keep_largest(label, values) for values in ({1}, {2}, {1, 3}, set())]

    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(fast, slow, strict=True))
    assert len({mask.sum() for mask in (label, *fast)}) == 5


def test_single_voxels_that_fill_an_odd_size(both_ways):
    for shape in ((1, 1, 5), (1, 5, 5), (5, 5, 5)):
        label = np.zeros(shape, dtype=np.uint8)
        label[::2, ::2, ::2] = 1

        assert keep_largest(label, {1}) is label


def test_empty_masks_and_single_objects_are_returned_as_they_are(both_ways):
    for label in (row(0, 0, 0), row(0, 1, 1)):
        assert keep_largest(label, {1}) is label


def test_nothing_but_the_mask_changes_and_the_given_one_stays(both_ways):
    label = row(1, 1, 0, 1)

    cleaned = clean(label)

    assert np.array_equal(label, row(1, 1, 0, 1))
    assert (cleaned.identifier, cleaned.label.dtype) == ("case", np.uint8)
    assert cleaned.probability.min() == 1


def test_an_unknown_name_is_an_error_before_anything_is_predicted():
    with pytest.raises(PlanError) as caught:
        LargestComponent(objects=["cor"], labels=LABELS)

    assert str(caught.value) == (
        "a postprocessor is to clean 'cor', which is no label of this dataset. "
        "Its labels are: whole, core."
    )


def test_none_changes_nothing():
    segmentation = clean(row(1, 0, 1))

    assert NoPostprocessing().apply(segmentation) is segmentation


def test_both_keep_the_contract():
    assert isinstance(NoPostprocessing(), Postprocessor)
    assert isinstance(LargestComponent(), Postprocessor)
