import numpy as np
import pytest
from scipy.special import expit, softmax

from nnseg_core.case import Prediction, Restoration
from nnseg_core.dataset import Labels
from nnseg_core.geometry import Box, Geometry, whole
from nnseg_standard.preprocessing.resample import resample_linear
from nnseg_standard.preprocessing.restore import (
    highest_logit,
    paint_regions,
    restore_label,
    restore_probability,
)

CLASSES = Labels(values={"a": (1,), "b": (2,)})
REGIONS = Labels(values={"whole": (1, 2), "core": (2,)}, paint_order=(1, 2))
AXES = (2, 0, 1)
GEOMETRY = Geometry(shape=(12, 14, 40), spacing=(1.0, 0.9, 2.0))


def prediction(logits, crop=None, axes=AXES, geometry=GEOMETRY, spacing=(1.5, 1.0, 1.0)):
    crop = crop or whole([geometry.shape[axis] for axis in axes])
    restoration = Restoration(original=geometry, axes=axes, crop=crop, spacing=spacing)
    return Prediction(identifier="case", logits=logits, restoration=restoration)


def noise(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(dtype)


def in_one_piece(given):
    where = given.restoration
    spacing = [where.original.spacing[axis] for axis in where.axes]
    return resample_linear(given.logits, where.crop.shape, where.spacing, spacing)


def back(volume, axes=AXES):
    return volume.transpose(*np.argsort(axes))


def test_slab_by_slab_equals_all_classes_at_once():
    given = prediction(noise(3, 50, 11, 13))

    assert np.array_equal(restore_label(given, CLASSES), back(in_one_piece(given).argmax(axis=0)))


@pytest.mark.parametrize("shape", [(50, 11, 13), (40, 12, 14)])
def test_restoring_leaves_the_logits_as_they_were(shape):
    given = prediction(noise(3, *shape))
    before = given.logits.copy()

    restore_label(given, CLASSES)
    restore_probability(given, CLASSES)

    assert np.array_equal(given.logits, before)


def test_outside_the_crop_is_background():
    crop = Box(start=(10, 2, 3), stop=(30, 10, 12))
    logits = np.zeros((3, 15, 8, 9), dtype=np.float32)
    logits[2] = 1
    given = prediction(logits, crop)

    label = restore_label(given, CLASSES)
    probability = restore_probability(given, CLASSES)

    expected = np.zeros(GEOMETRY.shape, dtype=np.uint8)
    expected[2:10, 3:12, 10:30] = 2
    assert np.array_equal(label, expected)
    assert np.array_equal(probability[0] == 1, expected == 0)
    assert np.abs(probability.sum(axis=0) - 1).max() < 1e-6
    regions = restore_probability(prediction(logits[1:], crop), REGIONS)
    assert (regions[:, expected == 0] == 0).all()


def test_probabilities_are_softmax_or_sigmoid_of_resampled_logits():
    given = prediction(noise(2, 50, 11, 13))
    logits = in_one_piece(given)
    two = Labels(values={"a": (1,)})

    probability = restore_probability(given, two)
    expected = np.stack([back(volume) for volume in softmax(logits, axis=0)])
    assert probability.dtype == np.float32
    assert np.abs(probability - expected).max() < 1e-6

    expected = np.stack([back(volume) for volume in expit(logits)])
    assert np.abs(restore_probability(given, REGIONS) - expected).max() < 1e-6


def test_extreme_logits_give_finite_probabilities():
    logits = np.array([60000, -60000, 1000], dtype=np.float32).reshape(3, 1, 1, 1)
    given = prediction(np.broadcast_to(logits, (3, 40, 12, 14)))

    assert restore_probability(given, CLASSES)[:, 0, 0, 0].tolist() == [1, 0, 0]


def test_lowest_class_wins_ties():
    label = restore_label(prediction(np.zeros((3, 21, 7, 9), dtype=np.float32)), CLASSES)

    assert not label.any()
    logits = np.array([[0, 1, 2], [0, 1, 0], [0, 1, 2]], dtype=np.float32)
    assert highest_logit(iter(logits), (0, 4, 6)).tolist() == [0, 0, 0]


def test_classes_become_label_values_when_labels_have_gaps():
    logits = np.eye(3, dtype=np.float32)

    assert highest_logit(iter(logits), (0, 3, 9)).tolist() == [0, 3, 9]


def test_regions_are_painted_in_order():
    logits = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1], [-1, -1, -1, 0]], dtype=np.float32)

    assert paint_regions(iter(logits), (5, 2, 9)).tolist() == [0, 5, 2, 2]


@pytest.mark.parametrize(
    ("highest", "dtype"), [(255, np.uint8), (256, np.uint16), (32767, np.uint16)]
)
def test_smallest_type_that_holds_the_labels(highest, dtype):
    logits = np.zeros((2, 40, 12, 14), dtype=np.float32)
    logits[1] = 1

    label = restore_label(prediction(logits), Labels(values={"a": (highest,)}))

    assert label.dtype == dtype
    assert (label == highest).all()


def test_half_precision_logits_are_taken():
    logits = noise(3, 50, 11, 13, dtype=np.float16)

    assert np.array_equal(
        restore_label(prediction(logits), CLASSES),
        restore_label(prediction(logits.astype(np.float32)), CLASSES),
    )


def test_slices_of_anisotropic_images_are_not_mixed():
    geometry = Geometry(shape=(9, 8, 8), spacing=(4.0, 1.0, 1.0))
    logits = np.zeros((2, 3, 8, 8), dtype=np.float32)
    logits[1, 1] = 5  # linear interpolation would carry it beyond its slice
    logits[0, 0] = logits[0, 2] = 1

    given = prediction(logits, axes=(0, 1, 2), geometry=geometry, spacing=(12.0, 1.0, 1.0))

    label = restore_label(given, Labels(values={"a": (1,)}))
    assert label[:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
