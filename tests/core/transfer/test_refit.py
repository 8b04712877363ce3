"""Kernels, input channels and outputs made to fit another network."""

from __future__ import annotations

import numpy as np
import pytest

from nnseg_core.transfer.refit import channel_mix, refit_inputs, refit_kernel, refit_outputs

RANDOM = np.random.default_rng(0)


def kernel(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def test_a_planar_kernel_is_repeated_and_divided():
    planar = kernel(4, 2, 3, 3)

    volume = refit_kernel(planar, (3, 3, 3), transposed=False)

    assert volume.shape == (4, 2, 3, 3, 3)
    np.testing.assert_array_equal(volume[:, :, 1], planar / np.float32(3))
    np.testing.assert_allclose(volume.sum(axis=2), planar, atol=1e-6)


def test_a_planar_kernel_may_stay_planar_in_a_volume():
    planar = kernel(4, 2, 3, 3)

    np.testing.assert_array_equal(
        refit_kernel(planar, (1, 3, 3), transposed=False)[:, :, 0], planar
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_what_is_inflated_shrinks_to_what_it_was(transposed: bool):
    flat = kernel(4, 2, 1, 3, 3)

    inflated = refit_kernel(flat, (3, 3, 3), transposed)

    np.testing.assert_allclose(refit_kernel(inflated, (1, 3, 3), transposed), flat, atol=1e-6)


def test_a_volume_loses_its_first_axis():
    volume = kernel(4, 2, 3, 3, 3)

    planar = refit_kernel(volume, (3, 3), transposed=False)

    np.testing.assert_array_equal(planar, volume.sum(axis=2))


def test_an_upsampling_kernel_is_repeated_undivided():
    flat = kernel(4, 2, 1, 2, 2)

    np.testing.assert_array_equal(
        refit_kernel(flat, (2, 2, 2), transposed=True)[:, :, 1], flat[:, :, 0]
    )


def test_larger_kernels_have_zeros_around_and_give_back_their_middle():
    small = kernel(4, 2, 3, 3)

    large = refit_kernel(small, (5, 5), transposed=False)

    assert not large[:, :, 0].any()
    np.testing.assert_array_equal(large[:, :, 1:4, 1:4], small)
    np.testing.assert_array_equal(refit_kernel(large, (3, 3), transposed=False), small)


def test_an_upsampling_by_another_factor_is_not_guessed():
    assert refit_kernel(kernel(4, 2, 2, 2), (3, 3), transposed=True) is None


@pytest.mark.parametrize(
    ("channels", "others", "mix"),
    [
        (("T2", "T1"), ("t1", "T2 "), [[0, 1], [1, 0]]),  # by name
        (("MR",), ("CT",), [[1]]),  # as many: in order
        (("a", "b"), ("c",), [[0.5], [0.5]]),  # nnssl's rule
        (("T1", "FLAIR"), ("T1",), [[1], [0.5]]),  # the new one gets the mean, divided
        (("T1",), ("T2", "T1"), [[0, 1]]),
        (("x",), ("T2", "T1"), [[0.5, 0.5]]),
    ],
)
def test_channels_by_name_order_or_mean(channels, others, mix):
    np.testing.assert_array_equal(channel_mix(channels, others), np.float32(mix))


def test_channels_of_one_image_are_answered_as_that_image_was():
    one = kernel(4, 1, 3, 3)

    two = refit_inputs(one, 1, channel_mix(("a", "b"), ("c",)))

    assert two.shape == (4, 2, 3, 3)
    np.testing.assert_allclose(two.sum(axis=1, keepdims=True), one, atol=1e-6)


def test_equal_channels_stay_bit_equal():
    weights = kernel(4, 2, 3, 3)

    assert refit_inputs(weights, 1, channel_mix(("a", "b"), ("a", "b"))) is weights


def test_inputs_of_another_number_do_not_fit():
    assert refit_inputs(kernel(4, 3, 3, 3), 1, channel_mix(("a",), ("a",))) is None


def test_rows_follow_their_labels_and_new_ones_begin_anew():
    source, start = kernel(3, 8, 1, 1), kernel(4, 8, 1, 1)

    rows = refit_outputs(source, 0, (0, None, 2, 1), start)

    np.testing.assert_array_equal(rows, np.stack([source[0], start[1], source[2], source[1]]))


def test_rows_of_another_width_do_not_fit():
    assert refit_outputs(kernel(3, 8), 0, (0, 1), kernel(2, 4)) is None
    assert refit_outputs(kernel(3, 8), 0, (None, None), kernel(2, 8)) is None
