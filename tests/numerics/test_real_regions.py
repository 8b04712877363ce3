"""Two-level regions of real label maps come back unchanged, in whatever order they are listed."""

from itertools import permutations
from pathlib import Path

import numpy as np
import torch

from nnseg_core.dataset import describe, open_dataset
from nnseg_io.itk import ItkReader
from nnseg_standard.preprocessing.restore import paint_regions
from nnseg_standard.targets import encode


def test_every_order_paints_the_label_map_that_the_regions_were_made_of(data_folder):
    dataset = open_dataset(data_folder / "Dataset004_Hippocampus")
    entries = {"background": 0, "hippocampus": [1, "Posterior"], "Posterior": 2}
    raw = {"channel_names": {"0": "MRI"}, "file_ending": ".nii.gz"}
    orders = [dict(order) for order in permutations(entries.items())]
    for case in dataset.cases[:3]:
        label, _ = ItkReader().read_label(case.label)

        masks = []
        for order in orders:
            labels = describe(raw | {"labels": order}, "D", Path("dataset.json")).labels
            (regions,) = encode(torch.from_numpy(label)[None], labels)
            masks.append(paint_regions(regions.numpy() - 0.5, labels.paint_order))

        assert set(np.unique(label)) == {0, 1, 2}
        assert all(np.array_equal(mask, label) for mask in masks)
