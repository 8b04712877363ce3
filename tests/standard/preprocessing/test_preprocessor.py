import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nnseg_core.case import Prediction, RawCase
from nnseg_core.contracts import Preprocessor
from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.fingerprint import IntensityStatistics
from nnseg_core.geometry import Box, Geometry
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_standard.preprocessing.preprocessor import StandardPreprocessor

STATISTICS = IntensityStatistics(
    mean=1.0,
    median=1.0,
    std=2.0,
    minimum=-9.0,
    maximum=9.0,
    percentile_0_5=-9.0,
    percentile_99_5=9.0,
)


def configuration(spacing=(1.0, 1.0, 1.0), scheme="nonorm", masked=False, channels=1):
    axes = len(spacing)
    return Configuration(
        spacing=spacing,
        patch_size=(8,) * axes,
        batch_size=2,
        median_shape=(8.0,) * axes,
        features=(4,),
        strides=((1,) * axes,),
        kernel_sizes=((3,) * axes,),
        normalization=(scheme,) * channels,
        mask_normalization=(masked,) * channels,
        batch_dice=False,
    )


def plan(chosen, channels=("MR",), axes=(0, 1, 2)):
    labels = Labels(values={"organ": (1,)})
    return Plan(
        dataset=DatasetDescription(name="d", channels=channels, labels=labels, file_ending=".nii"),
        planner=ComponentRef(name="standard"),
        axes=axes,
        intensities=(STATISTICS,) * len(channels),
        configurations={"chosen": chosen},
    )


def case(image, label=None, spacing=(1.0, 1.0, 1.0)):
    geometry = Geometry(shape=image.shape[1:], spacing=spacing)
    return RawCase(identifier="case_7", image=image, label=label, geometry=geometry)


def preprocess(given, chosen, **about_plan):
    return StandardPreprocessor().run(given, plan(chosen, **about_plan), chosen)


def phantom():
    """A bright block with a labelled block inside, in a field of zeros."""
    image = np.zeros((1, 10, 12, 14), dtype=np.float32)
    image[:, 2:8, 3:9, 4:12] = 5
    label = np.zeros((10, 12, 14), dtype=np.int16)
    label[4:6, 5:7, 6:10] = 1
    return image, label


def test_it_is_a_preprocessor():
    assert isinstance(StandardPreprocessor(), Preprocessor)


def test_crop_and_transpose_and_resample_meet_in_one_grid():
    image, label = phantom()
    chosen = configuration(spacing=(1.0, 0.5, 2.0))

    done = preprocess(case(image, label, spacing=(2.0, 1.0, 1.0)), chosen, axes=(2, 0, 1))

    assert done.restoration.crop == Box(start=(4, 2, 3), stop=(12, 8, 9))
    assert done.restoration.axes == (2, 0, 1)
    assert done.restoration.spacing == (1.0, 0.5, 2.0)
    assert done.image.shape == (1, 8, 24, 3)
    assert done.label.shape == (8, 24, 3)
    assert (done.image.dtype, done.label.dtype) == (np.float32, np.int16)
    assert (done.image == 5).all()
    assert set(map(tuple, done.foreground["organ"])) == set(
        map(tuple, np.argwhere(done.label == 1))
    )


def test_labels_come_back_where_they_were():
    image, label = phantom()
    chosen = configuration(spacing=(0.5, 0.5, 0.5))
    given = case(image, label)

    done = preprocess(given, chosen, axes=(1, 2, 0))
    logits = np.stack([done.label != 1, done.label == 1]).astype(np.float32)
    prediction = Prediction(
        identifier=given.identifier, logits=logits, restoration=done.restoration
    )
    mask = StandardPreprocessor().restore(prediction, Labels(values={"organ": (1,)}), True)

    assert np.array_equal(mask.label, label)
    assert mask.geometry is given.geometry
    assert mask.identifier == "case_7"
    assert mask.probability.shape == (2, 10, 12, 14)


def test_without_a_label_there_is_none_after():
    done = preprocess(case(phantom()[0]), configuration(masked=True, scheme="zscore"))

    assert done.label is None
    assert done.foreground == {}


def test_slices_keep_their_distance_in_2d():
    image = np.ones((1, 3, 10, 10), dtype=np.float32)

    done = preprocess(case(image, spacing=(5.0, 1.0, 1.0)), configuration(spacing=(0.5, 2.0)))

    assert done.restoration.spacing == (5.0, 0.5, 2.0)
    assert done.image.shape == (1, 3, 20, 5)


def test_masked_normalization_is_the_same_with_and_without_a_label():
    image, label = phantom()
    image[0, 2:8, 3, 4] = 0  # a notch: zeros outside the region but inside the box
    image[0, 4, 6, 8] = 2
    chosen = configuration(scheme="zscore", masked=True)

    with_label, without = preprocess(case(image, label), chosen), preprocess(case(image), chosen)

    assert np.array_equal(with_label.image, without.image)
    assert with_label.label[0, 0, 0] == -1
    assert with_label.image[0, 0, 0, 0] == 0
    inside = with_label.image[0][with_label.label >= 0]
    assert abs(inside.mean()) < 1e-5


def test_the_raw_case_stays_as_it_was():
    image, label = phantom()

    preprocess(case(image, label), configuration(scheme="zscore", spacing=(0.7, 1.0, 1.0)))

    assert np.array_equal(image, phantom()[0])
    assert np.array_equal(label, phantom()[1])


def test_an_image_much_thinner_than_a_voxel_keeps_one():
    image = np.ones((1, 1, 10, 10), dtype=np.float32)

    done = preprocess(case(image, spacing=(1.0, 1.0, 1.0)), configuration(spacing=(3.0, 1.0, 1.0)))

    assert done.image.shape == (1, 1, 10, 10)


def test_a_spacing_in_another_unit_is_refused_before_memory_runs_out():
    image, _ = phantom()

    with pytest.raises(DatasetError, match=r"case_7 would grow from \(10, 12, 14\) to \(6000,"):
        preprocess(case(image, spacing=(1000.0, 1000.0, 1000.0)), configuration())


def test_another_number_of_channels_is_refused():
    with pytest.raises(
        DatasetError, match=r"case case_7 has 1 channels, but the dataset has 2 \(T1, T2\)"
    ):
        preprocess(case(phantom()[0]), configuration(channels=2), channels=("T1", "T2"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    image = phantom()[0]
    image[0, 5, 5, 5] = value

    with pytest.raises(DatasetError, match="the image of case case_7 holds NaN or infinite values"):
        preprocess(case(image), configuration())


def test_a_label_on_another_grid_is_refused():
    image, label = phantom()

    with pytest.raises(DatasetError, match=r"case case_7 has shape \(9, 12, 14\), but its image"):
        preprocess(case(image, label[1:]), configuration())


def test_intensities_that_do_not_suit_are_refused_with_case_and_channel():
    with pytest.raises(DatasetError, match=r"case case_7, channel 0 \(MR\): .* from 0 to 255"):
        preprocess(case(-phantom()[0]), configuration(scheme="rgb_to_0_1"))


def test_a_plan_without_a_rule_for_each_channel_is_refused():
    chosen = replace(configuration(), mask_normalization=())

    with pytest.raises(PlanError, match=r"have 1, 0 and 1 entries .* each of 1 channels \(MR\)"):
        preprocess(case(phantom()[0]), chosen)


def test_worker_processes_need_not_import_torch():
    code = "import sys, nnseg_standard.preprocessing.preprocessor; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_resampling_every_case_keeps_its_spacing():
    image, label = phantom()
    given, chosen = case(image, label, spacing=(2.0, 1.0, 1.0)), configuration()

    done = StandardPreprocessor(resampling="none").run(given, plan(chosen), chosen)

    assert done.restoration.spacing == (2.0, 1.0, 1.0)
    assert done.image.shape == (1, 6, 6, 8)


def test_linear_resampling_does_not_overshoot_where_cubic_does():
    image = np.repeat(np.array([1, 1, 5, 5, 5, 9], np.float32), 4)
    image = np.broadcast_to(image, (1, 6, 6, 24)).copy()
    chosen = configuration(spacing=(1.0, 1.0, 0.5))

    cubic, linear = (
        StandardPreprocessor(resampling=name).run(case(image), plan(chosen), chosen).image
        for name in ("cubic", "linear")
    )

    assert (np.diff(linear[0, 0, 0]) >= 0).all()
    assert (np.diff(cubic[0, 0, 0]) < 0).any()


def test_unknown_resampling_is_refused():
    with pytest.raises(PlanError, match="one of cubic, linear, none, not 'lanczos'"):
        StandardPreprocessor(resampling="lanczos")


def test_normalizations_that_are_given_are_used():
    class Halved:
        def apply(self, channel, statistics, inside=None):
            return channel / 2

    image, _ = phantom()
    chosen = configuration(scheme="a scheme of its own")

    done = StandardPreprocessor(normalizations=(Halved(),)).run(case(image), plan(chosen), chosen)

    assert (done.image == 2.5).all()
