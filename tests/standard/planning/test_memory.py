"""Patches shrink until they fit, batches grow while there is room."""

import pytest

from nnseg_core.errors import PlanError
from nnseg_core.plan import Topology
from nnseg_standard.planning.memory import (
    Reference,
    largest_batch,
    shrink_to_fit,
    start_patch_size,
)

REFERENCE = Reference(elements=1000, memory=8.0, batch_size=2, fitting_batch=2, most_features=320)


def voxels(topology):
    count = 1
    for size in topology.patch_size:
        count *= size
    return count


def test_the_first_patch_is_a_cube_in_mm():
    assert start_patch_size((2.0, 1.0, 1.0), (999, 999, 999)) == (161, 323, 323)
    assert start_patch_size((1.0, 4.0), (9999, 9999)) == (4096, 1024)


def test_the_first_patch_is_within_the_median_image_halves_included():
    assert start_patch_size((1.0, 1.0, 1.0), (100.5, 300, 40)) == (100.5, 256, 40)


def shrunk(median, elements, fitting_batch=2):
    reference = Reference(
        elements=elements, memory=8.0, batch_size=2, fitting_batch=fitting_batch, most_features=320
    )
    return shrink_to_fit((1.0,) * len(median), median, reference, 8.0, voxels)[
        -1
    ].topology.patch_size


def test_a_patch_that_fits_stays():
    assert shrunk((64, 64, 64), 64**3) == (64, 64, 64)


def test_one_element_too_many_shrinks_the_last_of_equal_axes():
    assert shrunk((64, 64, 64), 64**3 - 1) == (64, 64, 56)


def test_the_axis_that_covers_most_of_the_image_shrinks():
    # padded to (64, 64, 64): 64/50 is the largest share
    assert shrunk((60, 50, 61), 64**3 - 1) == (64, 56, 64)


def test_no_size_is_skipped_where_less_pooling_allows_a_smaller_step():
    # 256 is pooled by 64, so 192 would be next; but 224 can be pooled by 32
    assert shrunk((256, 256, 256), 256**3 - 1) == (256, 256, 224)


def test_fitting_batch_decides_how_many_samples_must_fit():
    assert shrunk((64, 64), 64 * 64, fitting_batch=1) == (64, 64)
    assert shrunk((64, 64), 64 * 64 / 2, fitting_batch=1) == (64, 64)
    assert shrunk((64, 64), 64 * 64 / 2, fitting_batch=2) == (48, 40)


def test_memory_scales_the_budget():
    for memory, patch in ((4.0, (32, 32, 28)), (8.0, (40, 40, 40)), (16.0, (48, 48, 48))):
        reference = Reference(
            elements=40**3, memory=8.0, batch_size=2, fitting_batch=2, most_features=320
        )
        topology = shrink_to_fit((1.0,) * 3, (256,) * 3, reference, memory, voxels)[-1].topology
        assert topology.patch_size == patch


def test_too_little_memory_says_so():
    with pytest.raises(PlanError) as raised:
        shrink_to_fit((1.0, 1.0), (64, 64), REFERENCE, 1e-6, voxels)

    assert str(raised.value) == (
        "no network fits into 1e-06 GB: the patch is down to (1, 1). Allow more memory."
    )


def topology(*patch_size):
    axes = len(patch_size)
    ones = ((1,) * axes,)
    return Topology(patch_size=patch_size, features=(32,), strides=ones, kernel_sizes=ones)


@pytest.mark.parametrize(
    ("elements", "most_voxels", "batch"),
    [
        (1000, 1e9, 2),
        (100, 1e9, 20),
        (130, 1e9, 15),  # 15.4
        (100, 649, 6),  # 6.49 patches of 100 voxels
        (100, 650, 6),  # halves round to even
        (100, 750, 8),
        (100, 10, 2),
        (5000, 1e9, 2),
    ],
)
def test_a_batch_fills_memory_but_is_capped_and_at_least_two(elements, most_voxels, batch):
    assert largest_batch(topology(10, 10), elements, REFERENCE, 8.0, most_voxels).size == batch
