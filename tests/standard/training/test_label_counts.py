import torch

from nnseg_core.dataset import Labels
from nnseg_standard.training.label_counts import LabelCounts

MAPS = torch.zeros(3, 4, 4, dtype=torch.int16)
MAPS[0, 0, :2] = 1
MAPS[0, 1] = 2
MAPS[1, 2] = 2
MAPS[1, 3] = -1


def test_patches_with_each_label_are_counted():
    counts = LabelCounts(labels=Labels(values={"cell": (2,), "nucleus": (1,)}))

    assert counts(MAPS).tolist() == [1, 2, 3]  # in the order of the values, then all
    assert counts.shares(counts(MAPS)) == {"nucleus": 1 / 3, "cell": 2 / 3}


def test_a_region_occurs_where_one_of_its_values_does():
    labels = Labels(values={"whole": (1, 2), "core": (1,)}, paint_order=(1, 2))

    assert LabelCounts(labels=labels)(MAPS).tolist() == [2, 1, 3]


def test_labels_that_the_map_lacks_and_the_ignore_label_do_no_harm():
    counts = LabelCounts(labels=Labels(values={"a": (1,), "b": (2,), "c": (3,)}, ignore=4))
    ignored = MAPS.masked_fill(MAPS == 0, 4)

    assert counts(ignored).tolist() == [1, 2, 0, 3]
