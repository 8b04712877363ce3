"""A plan made for one dataset, put to use on another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.errors import PlanError
from nnseg_core.fingerprint import IntensityStatistics
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_core.transfer.adopting import adopt_plan


def statistics(mean: float) -> IntensityStatistics:
    values = dict.fromkeys(IntensityStatistics.__slots__, 0.0) | {"mean": mean}
    return IntensityStatistics(**values)


def configuration(axes: int, **changes: object) -> Configuration:
    fields: dict[str, object] = {
        "spacing": (1.0,) * axes,
        "patch_size": (16,) * axes,
        "batch_size": 2,
        "median_shape": (32.0,) * axes,
        "features": (4, 8),
        "strides": ((1,) * axes, (2,) * axes),
        "kernel_sizes": ((3,) * axes,) * 2,
        "normalization": ("zscore",),
        "mask_normalization": (False,),
        "batch_dice": False,
    }
    return Configuration(**{**fields, **changes})  # type: ignore[arg-type]


def plan(name: str, channels: tuple[str, ...], means: tuple[float, ...], **configurations) -> Plan:
    return Plan(
        dataset=DatasetDescription(
            name=name,
            channels=channels,
            labels=Labels(values={"organ": (1,)}),
            file_ending=".nii.gz",
        ),
        planner=ComponentRef(name=f"planner of {name}"),
        axes=(0, 1, 2),
        intensities=tuple(map(statistics, means)),
        configurations=configurations,
    )


SOURCE = replace(
    plan(
        "source",
        ("CT",),
        (7.0,),
        full=configuration(
            3,
            spacing=(2.0, 1.0, 1.0),
            normalization=("ct",),
            trainer=ComponentRef(name="quick"),
            predictor=ComponentRef(name="tiles", options={"mirror_axes": []}),
        ),
    ),
    axes=(2, 1, 0),
)
OWN = plan(
    "target",
    ("T1", "ct"),
    (1.0, 2.0),
    full=configuration(3, normalization=("zscore", "ct"), mask_normalization=(True, False)),
)


def test_resolution_and_network_are_the_sources_and_the_dataset_is_our_own():
    adopted = adopt_plan(SOURCE, OWN)

    assert adopted.dataset == OWN.dataset
    assert adopted.planner == OWN.planner
    assert adopted.axes == (2, 1, 0)
    assert adopted.configurations["full"].spacing == (2.0, 1.0, 1.0)


def test_channels_of_one_name_are_normalised_as_in_the_source():
    adopted = adopt_plan(SOURCE, OWN)

    assert [one.mean for one in adopted.intensities] == [1.0, 7.0]
    assert adopted.configurations["full"].normalization == ("zscore", "ct")
    assert adopted.configurations["full"].mask_normalization == (True, False)


def test_what_trains_and_predicts_is_our_own():
    chosen = adopt_plan(SOURCE, OWN).configurations["full"]

    assert chosen.trainer == ComponentRef(name="standard")
    assert chosen.predictor == ComponentRef(name="tiles")


def test_adopting_again_changes_nothing():
    adopted = adopt_plan(SOURCE, OWN)

    assert adopt_plan(SOURCE, adopted) == adopted


def test_a_configuration_of_another_name_lends_its_parts():
    own = replace(OWN, configurations={"other": OWN.configurations["full"]})

    assert set(adopt_plan(SOURCE, own).configurations) == {"full"}


def test_volumes_are_not_trained_on_pictures():
    pictures = plan("pictures", ("ct",), (0.0,), **{"2d": configuration(2)})

    with pytest.raises(PlanError, match="pictures has no configuration with 3 axes, as full has"):
        adopt_plan(SOURCE, pictures)
