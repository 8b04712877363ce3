import numpy as np
import pytest

from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.fingerprint import IntensityStatistics
from nnseg_standard.preprocessing.normalize import STANDARD, standard

STATISTICS = IntensityStatistics(
    mean=10.0,
    median=9.0,
    std=4.0,
    minimum=-100.0,
    maximum=100.0,
    percentile_0_5=-2.0,
    percentile_99_5=30.0,
)


def normalize(channel, scheme, statistics, inside=None):
    return STANDARD[scheme].apply(channel, statistics, inside)


def channel(*values):
    return np.array(values, dtype=np.float32).reshape(1, 1, -1)


def test_zscore_has_mean_0_and_deviation_1():
    image = np.random.default_rng(0).normal(1000, 20, (8, 9, 10)).astype(np.float32)

    normalized = normalize(image, "zscore", STATISTICS)

    expected = (image.astype(np.float64) - image.mean(dtype=float)) / image.std(dtype=float)
    assert np.abs(normalized - expected).max() < 1e-5


def test_masked_zscore_counts_and_changes_only_voxels_inside():
    inside = np.array([[[False, True, True, False]]])

    normalized = normalize(channel(0, 2, 4, 7), "zscore", STATISTICS, inside)

    assert normalized.tolist() == [[[0, -1, 1, 7]]]


def test_masked_zscore_with_nothing_inside_changes_nothing():
    image = channel(0, 0)

    assert np.array_equal(normalize(image, "zscore", STATISTICS, image != 0), image)


def test_zscore_of_one_value_is_zero():
    assert not normalize(np.full((3, 4, 5), 70.1, np.float32), "zscore", STATISTICS).any()


def test_ct_clips_to_percentiles_and_uses_the_datasets_statistics():
    normalized = normalize(channel(-500, 10, 14, 500), "ct", STATISTICS)

    assert normalized.tolist() == [[[-3, 0, 1, 5]]]


def test_rescale_to_0_1():
    assert normalize(channel(-2, 0, 6), "rescale_to_0_1", STATISTICS).tolist() == [[[0, 0.25, 1]]]
    assert normalize(channel(7, 7), "rescale_to_0_1", STATISTICS).tolist() == [[[0, 0]]]


def test_rgb_to_0_1():
    assert normalize(channel(0, 51, 255), "rgb_to_0_1", STATISTICS).tolist() == [
        [[0, np.float32(0.2), 1]]
    ]


@pytest.mark.parametrize("value", [-1, 256])
def test_rgb_to_0_1_refuses_other_values(value):
    with pytest.raises(DatasetError, match="needs intensities from 0 to 255, found"):
        normalize(channel(0, value), "rgb_to_0_1", STATISTICS)


def test_nonorm_changes_nothing():
    assert normalize(channel(-7, 3000), "nonorm", STATISTICS).tolist() == [[[-7, 3000]]]


def test_ct_per_image_uses_what_lies_within_the_limits_of_the_dataset():
    normalized = normalize(channel(-500, 10, 14, 500), "ct_per_image", STATISTICS)

    assert normalized.tolist() == [[[-7, -1, 1, 9]]]
    assert normalize(channel(-500, 500), "ct_per_image", STATISTICS).tolist() == [[[-2, 30]]]


@pytest.mark.parametrize("scheme", STANDARD)
def test_the_input_stays_as_it_was(scheme):
    image = channel(0, 3, 100)

    assert normalize(image, scheme, STATISTICS, image > 0).dtype == np.float32
    assert image.tolist() == [[[0, 3, 100]]]


def test_unknown_scheme_names_those_there_are():
    with pytest.raises(
        PlanError, match="named 'zcore' among the standard ones, which are zscore, ct, ct_per_image"
    ):
        standard(["zcore"])
