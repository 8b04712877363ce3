"""Left and right are noticed by name, and found in the image by its direction."""

import numpy as np
import pytest

from nnseg_core.dataset.laterality import lateral_pairs, left_right_axis, usual_axis
from nnseg_core.geometry import Geometry


@pytest.mark.parametrize(
    "pair",
    [
        ("left_kidney", "right_kidney"),
        ("kidney_l", "kidney_r"),
        ("kidney_left", "kidney_right"),
        ("Left Lung", "lung right"),
        ("KidneyLeft", "KidneyRight"),
        ("EyeL", "EyeR"),
        ("L-eye", "R-eye"),
        ("LEFT EYE", "RIGHT EYE"),
        ("rib_left_1", "rib_right_1"),
    ],
)
def test_names_that_differ_in_their_side_only_are_a_pair(pair):
    assert lateral_pairs([pair[1], "liver", pair[0]]) == (pair,)


@pytest.mark.parametrize(
    "names",
    [
        ("left_kidney", "right_lung"),
        ("rib_left_1", "rib_right_2"),
        ("left_kidney", "kidney"),
        ("vessel_l_upper", "vessel_r_upper"),  # letters within a name are many things
        ("colour", "color"),
        ("leftover", "rightful"),
    ],
)
def test_other_names_are_not(names):
    assert lateral_pairs(names) == ()


def scan(*columns):
    """A scan whose axes x, y, z of the file run along these directions of the patient."""
    return Geometry(
        shape=(4, 5, 6),
        spacing=(1.0, 1.0, 1.0),
        direction=tuple(map(float, np.array(columns).T.ravel())),
    )


def test_the_axis_follows_from_the_direction():
    right, back, up = np.eye(3)
    turned = np.array([np.cos(0.3), np.sin(0.3), 0]), np.array([-np.sin(0.3), np.cos(0.3), 0])

    assert left_right_axis(scan(right, back, up)) == 2  # axial
    assert left_right_axis(scan(-right, back, up)) == 2
    assert left_right_axis(scan(*turned, up)) == 2
    assert left_right_axis(scan(back, right, up)) == 1
    assert left_right_axis(scan(back, up, right)) == 0  # sagittal slices


def test_a_picture_has_its_width():
    flat = Geometry(
        shape=(1, 5, 6),
        spacing=(999.0, 1.0, 1.0),
        origin=(0.0, 0.0),
        direction=(0.0, 1.0, 1.0, 0.0),
    )

    assert left_right_axis(flat) == 2


def test_the_usual_axis_is_that_of_most_cases():
    assert usual_axis((2, 0, 0)) == 0
    assert usual_axis((0, 2)) == 2
    assert usual_axis(()) == 2
