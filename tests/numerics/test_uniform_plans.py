"""Plans equal those of nnU-Net 2.8.1, where all cases of a dataset have one size and spacing.

``uniform_plans.csv`` has a row per configuration: spacings with four digits, strides and kernels
as one word per stage, batch_dice as T or F.
"""

import csv
from itertools import groupby
from pathlib import Path

import pytest

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.networks.residual_unet import ResidualUnet
from nnseg_standard.planning.planner import StandardPlanner
from nnseg_standard.presets import residual_l, residual_m, residual_xl

NOTHING = IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 0.0))

PLANNERS = {
    "standard": StandardPlanner(),
    "residual_m": residual_m(),
    "residual_l": residual_l(),
    "residual_xl": residual_xl(),
}

# shape, spacing, training cases, entries in labels
DATASETS = {
    "Hippo": ((36, 50, 35), (1, 1, 1), 260, 3),
    "Heart": ((115, 320, 320), (1.37, 1.25, 1.25), 20, 2),
    "LiverCT": ((432, 512, 512), (1, 0.7676, 0.7676), 131, 3),
    "BraTS": ((138, 169, 138), (1, 1, 1), 484, 4),
    "Prostate": ((20, 320, 319), (3.6, 0.625, 0.625), 32, 3),
    "LungCT": ((252, 512, 512), (1.245, 0.7851, 0.7851), 63, 2),
    "PancreasCT": ((93, 512, 512), (2.5, 0.8027, 0.8027), 281, 3),
    "ACDC": ((9, 256, 216), (10, 1.5625, 1.5625), 200, 4),
    "SpleenCT": ((90, 512, 512), (5, 0.7929, 0.7929), 41, 2),
    "Natural2D": ((1, 1500, 1500), (999, 1, 1), 1108, 2),
    "TotalSegLike": ((250, 250, 300), (1.5, 1.5, 1.5), 1200, 118),
    "ZLast": ((512, 512, 60), (0.7, 0.7, 5), 60, 4),
}


def recorded_plans():
    """Rows by dataset and planner."""
    text = Path(__file__).with_name("uniform_plans.csv").read_text().splitlines()
    rows = groupby(csv.DictReader(text, delimiter=";"), lambda r: (r["dataset"], r["planner"]))
    return [pytest.param(*key, list(group), id="-".join(key)) for key, group in rows]


@pytest.mark.parametrize(("dataset", "planner", "rows"), recorded_plans())
def test_plan_equals_nnunets(dataset, planner, rows):
    shape, spacing, cases, labels = DATASETS[dataset]
    description = DatasetDescription(
        name=dataset,
        channels=("MRI",),
        labels=Labels(values={str(value): (value,) for value in range(1, labels)}),
        file_ending=".nii.gz",
        training_cases=cases,
    )
    fingerprint = Fingerprint(
        spacings=(spacing,), shapes=(shape,), relative_size=1.0, intensities=(NOTHING,)
    )

    architecture = PlainUnet() if planner == "standard" else ResidualUnet()

    plan = PLANNERS[planner].plan(description, fingerprint, architecture)

    assert [as_row(dataset, planner, *item) for item in alone(plan)] == rows


def test_every_recorded_row_is_compared():
    assert sum(len(parameters.values[2]) for parameters in recorded_plans()) == 107


def alone(plan):
    """The configurations but the cascade's second stage, which repeats 3d_fullres."""
    cascade = plan.configurations.get("3d_cascade_fullres")
    assert (cascade is not None) == ("3d_lowres" in plan.configurations)
    return [item for item in plan.configurations.items() if item[1] is not cascade]


def as_row(dataset, planner, name, configuration):
    c = configuration
    return {
        "dataset": dataset,
        "planner": planner,
        "configuration": name,
        "patch_size": " ".join(map(str, c.patch_size)),
        "batch_size": str(c.batch_size),
        "spacing": " ".join(str(round(length, 4)) for length in c.spacing),
        "median_shape": " ".join(f"{size:g}" for size in c.median_shape),
        "strides": " ".join("".join(map(str, row)) for row in c.strides),
        "kernel_sizes": " ".join("".join(map(str, row)) for row in c.kernel_sizes),
        "batch_dice": "T" if c.batch_dice else "F",
    }
