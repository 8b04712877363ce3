"""A plan that cannot work cannot exist."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.plan import ComponentRef, Configuration, Plan

CONFIGURATION = Configuration(
    spacing=(1.0, 1.0),
    patch_size=(16, 16),
    batch_size=2,
    median_shape=(20.0, 20.0),
    features=(8, 16),
    strides=((1, 1), (2, 2)),
    kernel_sizes=((3, 3), (3, 3)),
    normalization=("zscore",),
    mask_normalization=(False,),
    batch_dice=True,
)
DATASET = DatasetDescription(
    name="D", channels=("CT",), labels=Labels(values={"a": (1,)}), file_ending=".nii.gz"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": (1.0, 1.0, 1.0)}, "patch_size has 2 axes but spacing has 3"),
        ({"strides": ((1, 1),)}, "features has 2 stages but strides has 1"),
        ({"kernel_sizes": ((3, 3), (3, 3, 3))}, "kernel_sizes must be rows of 2 numbers"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"spacing": (0.0, 1.0)}, "spacing must be lengths in mm above 0"),
        ({"spacing": (1.0, float("nan"))}, "spacing must be lengths in mm above 0"),
        ({"features": (8, -1)}, "features must hold numbers above 0"),
        ({"strides": ((1, 1), (0, 2))}, "strides must hold numbers above 0"),
        ({"kernel_sizes": ((3, 3), (0, 3))}, "kernel_sizes must hold numbers above 0"),
        ({"patch_size": (16, 15)}, "cannot be pooled by 2 along axis 1; make it a multiple of 2"),
    ],
)
def test_a_contradiction_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIGURATION, **change)


def make_plan(**configurations: Configuration) -> Plan:
    return Plan(
        dataset=DATASET,
        planner=ComponentRef(name="standard"),
        axes=(0, 1, 2),
        intensities=(),
        configurations=configurations,
    )


def test_a_cascade_runs_after_what_it_follows() -> None:
    plan = make_plan(low=CONFIGURATION, high=replace(CONFIGURATION, previous="low"))

    assert plan.stages("high") == ("low", "high")
    assert plan.stages("low") == ("low",)


def test_a_cascade_needs_what_it_follows() -> None:
    with pytest.raises(ValueError, match="configuration 'high' follows 'low', which is missing"):
        make_plan(high=replace(CONFIGURATION, previous="low"))


def test_a_configuration_cannot_follow_itself() -> None:
    with pytest.raises(ValueError, match="'a' follows 'a', which must not follow another"):
        make_plan(a=replace(CONFIGURATION, previous="a"))
