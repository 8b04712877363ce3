"""Rules of the network's shape, on cases that can be followed by hand."""

from itertools import pairwise, product

import pytest

from nnseg_standard.planning.topology import fit_topology, pooling, pooling_factors


def pooled(spacing, size):
    """Strides and kernels, a row per stage."""
    stages = pooling(spacing, size)
    return [stage.stride for stage in stages], [stage.kernel for stage in stages]


def words(rows):
    return " ".join("".join(map(str, row)) for row in rows)


def test_equal_axes_are_pooled_together_until_they_have_four_voxels():
    strides, kernels = pooled((1.0, 1.0, 1.0), (32, 32, 32))

    assert words(strides) == "111 222 222 222"  # 32 16 8 4
    assert words(kernels) == "333 333 333 333"


def test_a_coarse_axis_waits_and_its_kernels_are_flat_meanwhile():
    strides, kernels = pooled((4.0, 1.0, 1.0), (16, 64, 64))

    # in-plane spacing 1, 2, 4, 8; the first axis is similar (ratio below 2) once that is 4
    assert words(strides) == "111 122 122 222 222"
    assert words(kernels) == "133 133 333 333 333"


def test_a_spacing_exactly_twice_as_coarse_is_not_similar():
    assert words(pooled((2.0, 1.0, 1.0), (16, 16, 16))[0]) == "111 122 222"
    assert words(pooled((1.99, 1.0, 1.0), (16, 16, 16))[0]) == "111 222 222"


def test_kernels_grow_when_spacings_meet_even_where_the_axis_is_too_short_to_pool():
    strides, kernels = pooled((4.0, 1.0, 1.0), (5, 64, 64))

    assert words(strides) == "111 122 122 122 122"
    assert words(kernels) == "133 133 333 333 333"


def test_an_axis_that_became_finest_by_being_too_short_keeps_others_flat():
    # the first axis cannot be pooled and stays at 1 mm: it is the finest of all, but not of those
    # that are long enough, so the others go on while their kernels, once 3, stay 3
    strides, kernels = pooled((1.0, 1.0, 1.0), (7, 32, 32))

    assert words(strides) == "111 122 122 122"
    assert words(kernels) == "333 333 333 333"


def test_a_bottleneck_kernel_is_3_whatever_the_spacing():
    assert words(pooled((100.0, 1.0, 1.0), (4, 16, 16))[1]) == "133 133 333"


@pytest.mark.parametrize(("size", "pools"), [(7, False), (8, False), (11, False), (12, True)])
def test_a_single_axis_needs_twelve_voxels(size, pools):
    strides, _ = pooled((1.0, 1.0), (size, 4))

    assert words(strides).startswith("11 21" if pools else "11") and len(strides) == 1 + pools


def test_two_axes_need_eight_voxels():
    assert words(pooled((1.0, 1.0), (8, 8))[0]) == "11 22"
    assert words(pooled((1.0, 1.0), (7, 7))[0]) == "11"


def test_the_single_axis_left_stops_everything_even_if_a_coarser_one_is_long():
    # 10 voxels of 1 mm are the only candidate within a factor of 2, but fewer than 12
    assert words(pooled((5.0, 1.0), (64, 10))[0]) == "11"


def test_odd_sizes_are_rounded_up_while_pooling():
    strides, _ = pooled((1.0, 1.0), (15, 15))  # 15 8 4

    assert len(strides) == 3


def test_a_patch_is_padded_up_to_what_can_be_pooled():
    topology = fit_topology((1.0, 1.0, 1.0), (36, 50, 35))

    assert topology.patch_size == (40, 56, 40)
    assert pooling_factors(topology) == (8, 8, 8)


def test_half_voxels_of_a_median_are_padded_up_too():
    assert fit_topology((1.0, 1.0), (527.5, 6.5)).patch_size[1] == 7


def test_features_double_up_to_the_most():
    topology = fit_topology((1.0, 1.0, 1.0), (128, 128, 128), base_features=32, most_features=320)

    assert topology.features == (32, 64, 128, 256, 320, 320)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.8), (3.0, 1.0, 2.2)])
@pytest.mark.parametrize("size", list(product((5, 33, 97), (12, 64), (20, 111))))
def test_every_topology_can_be_built(spacing, size):
    topology = fit_topology(spacing, size)
    factors = pooling_factors(topology)
    smallest = [
        voxels // factor for voxels, factor in zip(topology.patch_size, factors, strict=True)
    ]

    assert len(topology.features) == len(topology.strides) == len(topology.kernel_sizes)
    assert topology.strides[0] == (1, 1, 1)
    assert all(
        voxels % factor == 0 for voxels, factor in zip(topology.patch_size, factors, strict=True)
    )
    assert all(edge >= 4 or edge == whole for edge, whole in zip(smallest, size, strict=True))
    assert all(padded >= whole for padded, whole in zip(topology.patch_size, size, strict=True))


def test_kernels_never_shrink_from_one_stage_to_the_next():
    _, kernels = pooled((7.0, 1.0, 1.3), (40, 256, 200))

    assert all(
        below >= above for row in zip(*kernels, strict=True) for above, below in pairwise(row)
    )
