"""Where labels name sides, the axis between them is not mirrored; axes are the patch's."""

import pytest

from nnseg_core.dataset import DatasetDescription
from nnseg_core.dataset.labels import Labels
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.planning.planner import StandardPlanner

SIDES = Labels(values={"left_kidney": (1,), "right_kidney": (2,)})


def explained(labels, left_right, spacing=(1.0, 1.0, 1.0)):
    cases = 4
    fingerprint = Fingerprint(
        spacings=(spacing,) * cases,
        shapes=((64, 64, 64),) * cases,
        relative_size=1.0,
        intensities=(IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 1.0)),),
        left_right=left_right,
    )
    dataset = DatasetDescription(name="D", channels=("MR",), labels=labels, file_ending=".nii.gz")
    return StandardPlanner().explain(dataset, fingerprint, PlainUnet())


def axes_of(explanation):
    return {name: c.mirror_axes for name, c in explanation.plan.configurations.items()}


@pytest.mark.parametrize(
    ("left_right", "expected"),
    [
        ((), {"2d": (0,), "3d_fullres": (0, 1)}),
        ((2, 2, 2, 2), {"2d": (0,), "3d_fullres": (0, 1)}),
        ((2, 1, 1, 1), {"2d": (1,), "3d_fullres": (0, 2)}),
        ((0, 0, 0, 0), {"2d": None, "3d_fullres": (1, 2)}),
    ],
)
def test_the_axis_between_sides_is_not_mirrored(left_right, expected):
    assert axes_of(explained(SIDES, left_right)) == expected


def test_axes_are_those_of_the_patch_where_the_plan_reorders_them():
    explanation = explained(SIDES, (2,) * 4, spacing=(1.0, 1.0, 5.0))

    assert explanation.plan.axes == (2, 0, 1)
    assert axes_of(explanation) == {"2d": None, "3d_fullres": (1, 2)}


def test_without_sides_all_axes_are_mirrored_and_nothing_is_said():
    explanation = explained(Labels(values={"kidney": (1,)}), (2,) * 4)

    assert set(axes_of(explanation).values()) == {None}
    assert "mirroring" not in {reason.choice for reason in explanation.reasons}


def test_the_reason_names_the_pair_and_how_many_cases_agree():
    (reason,) = (r for r in explained(SIDES, (2, 0, 2, 2)).reasons if r.choice == "mirroring")

    assert reason.value == "not along x"
    assert "left_kidney and right_kidney" in reason.text
    assert "x runs from left to right in 3 of 4 cases." in reason.text
