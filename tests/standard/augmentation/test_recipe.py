from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from nnseg_core.contracts import Augmentation
from nnseg_core.errors import PlanError
from nnseg_standard.augmentation.recipe import NoAugmentation, StandardAugmentation

CUBE = (64, 64, 64)
FLAT = (20, 320, 256)
DRAWS = 2000


def draws(patch_size, channels=1, number=DRAWS, **options):
    random = np.random.default_rng(0)
    augmentation = StandardAugmentation(**options)
    return [augmentation.draw(random, patch_size, channels) for _ in range(number)]


def near(value, tolerance=0.04):
    """Four standard errors of a share of 2000 draws, at most."""
    return pytest.approx(value, abs=tolerance)


@pytest.fixture(scope="module")
def cube():
    return draws(CUBE, channels=2)


def share(flags):
    return sum(map(bool, flags)) / DRAWS


def values(mappings):
    return np.array([value for mapping in mappings for value in mapping.values()])


def test_both_are_augmentations():
    assert isinstance(StandardAugmentation(), Augmentation)
    assert isinstance(NoAugmentation(), Augmentation)


@pytest.mark.parametrize(
    ("patch_size", "expected"),
    [
        ((128, 128, 128), (205, 205, 205)),
        ((40, 56, 40), (73, 80, 64)),
        ((20, 320, 256), (20, 376, 376)),
        ((512, 512), (602, 602)),
    ],
)
def test_initial_patch_size_is_nnunets(patch_size, expected):
    assert StandardAugmentation().initial_patch_size(patch_size) == expected


def test_long_2d_patches_turn_less_and_need_less():
    turned = draws((300, 100), rotation_probability=1.0)

    assert max(abs(d.transformation.angles[0]) for d in turned) == near(math.radians(15), 0.01)
    assert StandardAugmentation().initial_patch_size((300, 100)) == (371, 117)
    assert StandardAugmentation().initial_patch_size((150, 100)) == (176, 176)


def test_a_fifth_is_turned_and_a_fifth_is_scaled_independently(cube):
    turned = [d for d in cube if d.transformation and any(d.transformation.angles)]
    scaled = [d for d in cube if d.transformation and d.transformation.scale != 1]
    both = [d for d in turned if d.transformation.scale != 1]

    assert share(turned) == near(0.2)
    assert share(scaled) == near(0.2)
    assert share(both) == near(0.04, 0.02)
    assert share(d.transformation for d in cube) == near(0.36)


def test_angles_are_uniform_about_all_three_axes():
    angles = np.degrees([d.transformation.angles for d in draws(CUBE, rotation_probability=1.0)])

    assert angles.shape == (DRAWS, 3)
    assert np.abs(angles).max() <= 30
    assert angles.mean(0) == pytest.approx(np.zeros(3), abs=1.6)
    assert angles.std(0) == pytest.approx(np.full(3, 60 / math.sqrt(12)), abs=0.9)
    assert np.abs(np.corrcoef(angles.T) - np.eye(3)).max() < 0.09


def test_scales_are_uniform():
    scales = np.array([d.transformation.scale for d in draws(CUBE, scaling_probability=1.0)])

    assert (scales.min(), scales.max()) == (near(0.7, 0.005), near(1.4, 0.005))
    assert (scales.mean(), scales.std()) == (near(1.05, 0.02), near(0.7 / math.sqrt(12), 0.01))


@pytest.mark.parametrize("patch_size", [FLAT, (512, 512)])
def test_flat_volumes_and_2d_patches_turn_all_around_in_their_plane(patch_size):
    turned = draws(patch_size, rotation_probability=1.0)

    angles = np.degrees([d.transformation.angles for d in turned])
    assert angles.shape == (DRAWS, 1)
    assert np.abs(angles).max() == near(180, 0.5)
    assert angles.std() == near(360 / math.sqrt(12), 5)
    assert {d.axes for d in turned} == {2}


def test_flat_volumes_keep_their_first_axis():
    assert {d.source_size[0] for d in draws(FLAT)} == {20}
    assert {d.axes for d in draws((22, 64, 66), number=1)} == {3}
    assert {d.axes for d in draws((20, 64, 66), number=1)} == {2}
    assert {d.axes for d in draws((20, 64, 66), number=1, in_plane=False)} == {3}
    assert {d.axes for d in draws(CUBE, number=1, in_plane=True)} == {2}


def test_only_transformed_patches_need_more_than_themselves(cube):
    largest = StandardAugmentation().initial_patch_size(CUBE)

    for drawn in cube:
        if drawn.transformation is None:
            assert drawn.source_size == CUBE
        else:
            sizes = np.array(drawn.source_size)
            assert (sizes <= largest).all()
            assert ((sizes - largest) % 2 == 0).all()
    assert np.mean([np.prod(d.source_size) for d in cube]) < 0.5 * np.prod(largest)


def test_noise_fires_in_a_tenth_with_a_seed_of_its_own(cube):
    noisy = [d for d in cube if d.noise_deviation is not None]
    deviations = np.array([d.noise_deviation for d in noisy])

    assert share(noisy) == near(0.1)
    assert 0 <= deviations.min() < deviations.max() <= 0.1
    assert deviations.mean() == near(0.05, 0.008)
    assert len({d.noise_seed for d in noisy}) == len(noisy)


def test_blur_fires_in_a_fifth_for_half_of_the_channels_with_a_sigma_per_axis(cube):
    assert share(0 in d.blur for d in cube) == near(0.1)
    assert share(1 in d.blur for d in cube) == near(0.1)
    assert share(d.blur for d in cube) == near(0.2 * 0.75)
    sigmas = values(d.blur for d in cube)
    assert sigmas.shape[1] == 3
    assert 0.5 <= sigmas.min() < sigmas.max() <= 1.0
    assert sigmas.mean(0) == pytest.approx(np.full(3, 0.75), abs=0.03)
    assert len(np.unique(sigmas)) == sigmas.size


@pytest.mark.parametrize(
    ("name", "probability", "low", "high"),
    [
        ("brightness", 0.15, 0.75, 1.25),
        ("contrast", 0.15, 0.75, 1.25),
        ("inverted_gamma", 0.1, 0.7, 1.5),
        ("gamma", 0.3, 0.7, 1.5),
    ],
)
def test_factors_fire_for_all_channels_and_are_as_often_below_as_above_one(
    cube, name, probability, low, high
):
    fired = [getattr(d, name) for d in cube if getattr(d, name)]
    factors = values(fired)

    assert share(fired) == near(probability)
    assert all(set(mapping) == {0, 1} for mapping in fired)
    assert len(np.unique(factors)) == factors.size
    assert low <= factors.min() < factors.max() <= high
    assert (factors < 1).mean() == near(0.5, 0.1)
    assert factors[factors < 1].mean() == near((low + 1) / 2, 0.03)
    assert factors[factors > 1].mean() == near((high + 1) / 2, 0.04)


def test_low_resolution_fires_in_a_quarter_for_half_of_the_channels(cube):
    assert share(0 in d.low_resolution for d in cube) == near(0.125)
    assert share(d.low_resolution for d in cube) == near(0.25 * 0.75)
    scales = values(d.low_resolution for d in cube)
    assert 0.5 <= scales.min() < scales.max() <= 1.0
    assert scales.mean() == near(0.75, 0.03)


def test_each_axis_is_mirrored_half_of_the_time(cube):
    for axis in range(3):
        assert share(axis in d.mirrored for d in cube) == near(0.5, 0.045)
    assert share(len(d.mirrored) == 3 for d in cube) == near(0.125)
    assert {axis for d in draws((64, 64), number=100) for axis in d.mirrored} == {0, 1}


def test_mirror_axes_can_be_chosen():
    assert {d.mirrored for d in draws(CUBE, number=50, mirror_axes=[])} == {()}
    assert {d.mirrored for d in draws(CUBE, number=50, mirror_axes=[1])} == {(), (1,)}


def test_probabilities_of_zero_leave_the_patch_alone():
    names = [
        option.name
        for option in fields(StandardAugmentation)
        if option.name.endswith("_probability")
    ]
    drawn = draws(CUBE, number=20, mirror_axes=[], **dict.fromkeys(names, 0))
    image, label = torch.randn(1, *CUBE), torch.zeros(CUBE, dtype=torch.int16)

    result, _ = StandardAugmentation().apply([image] * 20, [label] * 20, drawn)

    assert torch.equal(result, image.expand(20, 1, *CUBE))


def test_equal_seeds_draw_equal_parameters():
    assert draws(CUBE, number=50) == draws(CUBE, number=50)


def test_no_augmentation_takes_the_patch_and_masks_it():
    augmentation = NoAugmentation(mask_normalization=(True,))
    drawn = augmentation.draw(np.random.default_rng(0), (2, 2), 1)
    label = torch.tensor([[-1, 0], [1, 2]], dtype=torch.int16)

    image, same = augmentation.apply([torch.ones(1, 2, 2)], [label], [drawn])

    assert augmentation.initial_patch_size((2, 2)) == drawn.source_size == (2, 2)
    assert image.tolist() == [[[[0, 1], [1, 1]]]]
    assert torch.equal(same[0], label)


def test_a_probability_above_one_is_refused():
    with pytest.raises(PlanError) as caught:
        StandardAugmentation(gamma_probability=30)

    expected = "augmentation.gamma_probability is 30; give a number from 0 to 1."
    assert str(caught.value) == expected


@pytest.mark.parametrize("value", [[1.4, 0.7], [0.7], 0.7, ["a", "b"], [-1, 1]])
def test_a_range_that_is_none_is_refused(value):
    with pytest.raises(PlanError) as caught:
        replace(StandardAugmentation(), scaling_range=value)

    expected = (
        f"augmentation.scaling_range is {value!r}; give two numbers, the smaller first: [0.5, 1.0]."
    )
    assert str(caught.value) == expected


def test_mirror_axes_that_the_patch_does_not_have_are_refused():
    with pytest.raises(PlanError) as caught:
        draws((64, 64), mirror_axes=[0, 2])

    assert str(caught.value) == (
        "augmentation.mirror_axes is [0, 2], but the patch has the axes [0, 1]. "
        "Name some of them, or [] for none."
    )


def test_a_factor_per_axis_scales_axes_apart():
    augmentation = StandardAugmentation(
        rotation_probability=0, scaling_probability=1, scale_each_axis=True
    )

    drawn = augmentation.draw(np.random.default_rng(0), CUBE, channels=1)

    assert len(set(drawn.transformation.scale)) == 3
    assert np.allclose(drawn.transformation.matrix, np.diag(drawn.transformation.scale))


def test_turns_about_some_axes_only():
    augmentation = StandardAugmentation(rotation_probability=1, rotation_axis_probability=0.5)
    random = np.random.default_rng(0)

    angles = [augmentation.draw(random, CUBE, 1).transformation.angles for _ in range(200)]

    assert np.mean([angle != 0 for three in angles for angle in three]) == pytest.approx(
        0.5, abs=0.1
    )


def test_nearest_voxels_bring_no_new_values():
    augmentation = StandardAugmentation(
        **dict.fromkeys(
            [f.name for f in fields(StandardAugmentation) if "_probability" in f.name], 0.0
        )
        | {"rotation_probability": 1.0, "rotation_axis_probability": 1.0},
        nearest_image=True,
        nearest_label=True,
    )
    drawn = augmentation.draw(np.random.default_rng(0), (12, 12, 12), channels=1)
    image = torch.arange(1.0, 1 + np.prod(drawn.source_size)).reshape(1, *drawn.source_size)
    label = (image[0] % 100).short()

    turned, moved = augmentation.apply([image], [label], [drawn])

    assert set(turned.unique().tolist()) <= {0.0, *image.unique().tolist()}
    inside = turned[0, 0] > 0
    assert torch.equal(moved[0][inside], (turned[0, 0][inside] % 100).short())
    assert (moved[0][~inside] == -1).all()
