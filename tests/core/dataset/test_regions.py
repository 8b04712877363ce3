"""Painting follows from the sets of values, in whatever order regions are listed."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from nnseg_core.dataset import describe
from nnseg_core.dataset.regions import erased, overlapping, painted
from nnseg_core.errors import DatasetError

BRATS = {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}


def described(labels, **more):
    raw = {"channel_names": {"0": "T1"}, "file_ending": ".nii.gz", "labels": labels, **more}
    return describe(raw, "D", Path("dataset.json")).labels


def paint(labels, found):
    """The mask of one voxel per column of ``found``, which says by name where regions are."""
    mask = np.zeros(3, dtype=int)
    for name, value in zip(labels.values, labels.paint_order, strict=True):
        mask[found[name]] = value
    return mask.tolist()


def test_larger_regions_are_painted_first_with_what_nothing_nested_has():
    assert painted(BRATS) == {"whole": 1, "core": 2, "enhancing": 3}
    assert list(painted(BRATS)) == ["whole", "core", "enhancing"]


def test_nnunets_order_of_nested_regions_is_the_derived_one():
    entries = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}

    assert described(entries) == described(entries, regions_class_order=[1, 2, 3])


def test_every_order_of_entries_is_the_same_labels_and_masks():
    entries = {"background": 0, "whole": [1, "core"], "core": [2, "enhancing"], "enhancing": 3}
    found = {"whole": [0, 1, 2], "core": [1, 2], "enhancing": [2]}

    made = [described(dict(order)) for order in permutations(entries.items())]

    assert {(tuple(labels.values.items()), labels.paint_order) for labels in made} == {
        (tuple(BRATS.items()), (1, 2, 3))
    }
    assert [paint(labels, found) for labels in made] == [[1, 2, 3]] * 24


def test_a_region_that_its_parts_fill_is_painted_with_its_lowest_value():
    regions = {"both": (1, 2), "one": (1,), "two": (2,)}

    assert painted(regions) == {"both": 1, "one": 1, "two": 2}


def test_regions_side_by_side_need_no_order():
    assert overlapping({"a": (1, 2), "b": (3,), "c": (3, 4)}) is None


@pytest.mark.parametrize("other", [(2, 3), (2, 1)])
def test_regions_that_overlap_without_nesting_need_one(other):
    assert overlapping({"a": (1, 2), "b": other}) == ("a", "b")
    with pytest.raises(DatasetError, match="regions 'a' .* and 'b' .* overlap, and neither is a"):
        described({"background": 0, "a": [1, 2], "b": list(other)})


def test_an_order_by_names_settles_an_overlap():
    labels = described({"background": 0, "a": [1, 2], "b": [2, 3]}, regions_class_order=["b", "a"])

    assert list(labels.values) == ["b", "a"]
    assert labels.paint_order == (2, 1)


def test_nnunets_integers_keep_the_order_of_the_entries():
    labels = described(
        {"background": 0, "core": [2, 3], "whole": [1, 2, 3]}, regions_class_order=[2, 1]
    )

    assert (list(labels.values), labels.paint_order) == (["core", "whole"], (2, 1))
    assert erased(labels.values) == (("core", "whole"),)
    assert erased(BRATS) == ()
