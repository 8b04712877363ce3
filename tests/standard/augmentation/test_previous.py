"""What happens to the labels that a cascade sees of its previous stage."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from nnseg_core.errors import PlanError
from nnseg_standard.augmentation.previous import (
    OPERATIONS,
    Disturbance,
    Removal,
    Reshaping,
    disturbed,
    without_component,
)
from nnseg_standard.augmentation.recipe import StandardAugmentation

RADII = (1.0, 2.5, 5.9)


def blobs(seed, shape=(18, 20, 22)):
    random = np.random.default_rng(seed)
    return torch.from_numpy(ndimage.gaussian_filter(random.standard_normal(shape), 2) > 0.03)


def ball(radius):
    reach = int(radius)
    at = np.mgrid[(slice(-reach, reach + 1),) * 3]
    return (at**2).sum(0) <= radius**2


SCIPYS = {
    "dilate": [ndimage.binary_dilation],
    "erode": [ndimage.binary_erosion],
    "close": [ndimage.binary_dilation, ndimage.binary_erosion],
    "open": [ndimage.binary_erosion, ndimage.binary_dilation],
}


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_scipys_by_a_ball(operation, radius):
    mask = blobs(seed=1)

    changed = OPERATIONS[operation](mask, radius)

    expected = mask.numpy()
    for step in SCIPYS[operation]:
        border = step is ndimage.binary_erosion  # beyond the patch nothing is known
        expected = step(expected, ball(radius), border_value=border)
    np.testing.assert_array_equal(changed.numpy(), expected)
    assert not torch.equal(changed, mask)


def test_slices_are_reshaped_by_a_disk():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[4, 4] = True

    assert OPERATIONS["dilate"](mask, 2.0).sum() == 13


def test_what_a_label_gains_the_others_lose():
    left, right = torch.zeros(2, 4, 12, dtype=torch.bool)
    left[:, :5], right[:, 6:] = True, True
    drawn = Disturbance(reshaped=(Reshaping(0, "dilate", 3.0),))

    grown, other = disturbed(torch.stack([left, right]), drawn)

    assert grown[:, :8].all() and not grown[:, 8:].any()
    assert other[:, 8:].all() and not other[:, :8].any()
    assert left[:, :5].all() and right[:, 6:].all(), "the input is kept"


def test_the_component_that_was_picked_goes():
    mask = torch.zeros(6, 20, dtype=torch.bool)
    mask[1:3, 1:3] = mask[1:3, 8:10] = mask[1:3, 15:17] = True
    mask[3, 3] = True  # belongs to the first by a corner

    kept = [without_component(mask, pick, removable=0.1) for pick in (0.0, 0.5, 0.99)]

    assert [int(mask.sum() - one.sum()) for one in kept] == [5, 4, 4]
    assert not kept[0][:, :5].any()
    assert not kept[2][:, 12:].any()


def test_a_large_component_stays():
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[:2] = True

    assert torch.equal(without_component(mask, 0.0, removable=0.2), mask)
    assert not without_component(mask, 0.0, removable=0.21).any()


def test_shares_are_nnunets():
    options, random = StandardAugmentation(), np.random.default_rng(0)

    drawn = [options.draw_disturbance(random, labels=2) for _ in range(4000)]

    reshaped = [change for one in drawn for change in one.reshaped]
    assert len(reshaped) / 4000 == pytest.approx(2 * 0.4 * 0.5, abs=0.03)
    assert sum(len(one.removed) for one in drawn) / 4000 == pytest.approx(2 * 0.2 * 0.5, abs=0.02)
    assert {change.operation for change in reshaped} == set(OPERATIONS)
    assert min(change.radius for change in reshaped) < 1.1
    assert max(change.radius for change in reshaped) > 7.9
    assert {change.channel for change in reshaped} == {0, 1}
    assert {one.removable for one in drawn} == {0.15}


def test_nothing_drawn_changes_nothing():
    channels = torch.stack([blobs(1), blobs(2)])

    assert disturbed(channels, Disturbance()) is channels


def test_a_share_above_one_is_refused():
    with pytest.raises(PlanError, match="previous_removal_share is 15; give a number from 0 to 1"):
        StandardAugmentation(previous_removal_share=15)


def test_a_removal_of_nothing_changes_nothing():
    channels = torch.zeros(1, 5, 5, dtype=torch.bool)

    assert torch.equal(
        disturbed(channels, Disturbance(removed=(Removal(0, 0.5),), removable=0.15)), channels
    )
