"""Measurements of a case equal what nnU-Net measures."""

import numpy as np
import pytest

from nnseg_core.case import RawCase
from nnseg_core.geometry import Geometry
from nnseg_standard.planning import measure as module
from nnseg_standard.planning.measure import draw_sample, measure


def make_case(image, label, spacing=(3.0, 2.0, 1.0)):
    return RawCase(
        identifier="a",
        image=np.asarray(image, dtype=np.float32),
        label=label,
        geometry=Geometry(shape=image.shape[1:], spacing=spacing),
    )


@pytest.fixture
def case():
    random = np.random.default_rng(0)
    image = np.zeros((2, 12, 14, 16), dtype=np.float32)
    image[0, 2:9, 3:10, 4:12] = random.normal(size=(7, 7, 8)).round(1)
    image[1, 1:5, 4:13, 5:9] = random.normal(size=(4, 9, 4))
    label = np.zeros((12, 14, 16), dtype=np.int16)
    label[0:6, 5:8, 6:9] = 1
    label[7:10, 9:12, 6:9] = 7  # say, the label to ignore
    return make_case(image, label)


def repeated(sample):
    return np.repeat(sample.values, sample.counts)


def test_size_is_that_of_the_box_around_what_is_not_zero_in_any_channel(case):
    measured = measure(case, 10)

    assert measured.shape == (8, 10, 8)
    assert measured.shape_before_crop == (12, 14, 16)
    assert measured.spacing == (3.0, 2.0, 1.0)


def test_an_image_of_zeros_keeps_its_size():
    label = np.zeros((3, 4, 5), dtype=np.int16)

    assert measure(make_case(np.zeros((1, 3, 4, 5)), label), 10).shape == (3, 4, 5)


def test_samples_are_nnunets_draws_channel_after_channel(case):
    foreground = case.label[1:9, 3:13, 4:12] > 0
    random = np.random.RandomState(1234)
    expected = [
        random.choice(channel[1:9, 3:13, 4:12][foreground], 5000, replace=True)
        for channel in case.image
    ]

    measured = measure(case, 5000)

    for sample, drawn in zip(measured.intensities, expected, strict=True):
        assert np.array_equal(repeated(sample), np.sort(drawn))
        assert sample.values.dtype == np.float32 and sample.counts.dtype == np.int64
        assert len(np.unique(sample.values)) == len(sample.values)


@pytest.mark.parametrize("label", [None, np.zeros((12, 14, 16), dtype=np.int16)])
def test_a_case_without_foreground_adds_no_intensities(case, label):
    measured = measure(make_case(case.image, label), 100)

    assert [len(sample.values) for sample in measured.intensities] == [0, 0]
    assert [len(sample.counts) for sample in measured.intensities] == [0, 0]


@pytest.mark.parametrize("population", [1, 2, 3, 7, 64, 1000, 4097])
def test_drawing_in_parts_equals_drawing_at_once(population, monkeypatch):
    monkeypatch.setattr(module, "WORDS_AT_ONCE", 100)
    values = np.arange(population, dtype=np.float32)
    random = np.random.RandomState(3)
    expected = random.choice(values, 4321), random.random_sample()

    mine = np.random.RandomState(3)
    sample = draw_sample(values, 4321, mine)

    assert np.array_equal(repeated(sample), np.sort(expected[0]))
    assert mine.random_sample() == expected[1]  # as many draws were used up
