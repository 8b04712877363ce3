"""What batchgenerators draws and does, transform by transform, against nnU-Net's recipe.

Its transforms draw while they run, so what they draw is read off their results, or off the
functions that they hand it to.
"""

from __future__ import annotations

import math
import random as python_random
import subprocess
import sys

import numpy as np
import pytest
import torch

from nnseg_core.contracts import Augmentation
from nnseg_core.errors import PlanError
from nnseg_standard.augmentation.batchgenerators import (
    BatchgeneratorsAugmentation,
    InPlanes,
    seeded,
    transforms_of,
)
from nnseg_standard.augmentation.recipe import StandardAugmentation

DRAWS = 2000
SPATIAL, NOISE, BLUR, BRIGHTNESS, CONTRAST, RESOLUTION, INVERTED_GAMMA, GAMMA, MIRROR = range(9)


def results(number, image, patch_size=(4, 4, 4), draws=DRAWS, **options):
    """What one transform of the list makes of ``image`` (channel, *source), from many seeds."""
    chosen = BatchgeneratorsAugmentation(**options)
    transform = transforms_of(chosen, patch_size).transforms[number]
    seeds = np.random.default_rng(0).integers(2**32, size=draws)
    made = []
    for seed in seeds:
        data = np.array(image, dtype=np.float32)[None]
        label = np.zeros((1, 1, *data.shape[2:]), np.float32)
        with seeded(int(seed)):
            made.append(transform(data=data, seg=label)["data"][0])
    return np.array(made)


def record(monkeypatch, place, result=lambda first, *_: first):
    """Replace a function of batchgenerators by one that notes its arguments."""
    calls = []

    def note(*arguments, **_):
        calls.append(arguments)
        return result(*arguments)

    monkeypatch.setattr(f"batchgenerators.augmentations.{place}", note)
    return calls


def near(value, tolerance=0.04):
    """Four standard errors of a share of 2000 draws, at most."""
    return pytest.approx(value, abs=tolerance)


def assert_around_one(factors, low, high):
    """As often below 1 as above, uniform in either half."""
    assert low <= factors.min() < low + 0.02
    assert high - 0.03 < factors.max() <= high
    assert (factors < 1).mean() == near(0.5, 0.1)
    assert factors[factors < 1].mean() == near((low + 1) / 2, 0.03)
    assert factors[factors > 1].mean() == near((high + 1) / 2, 0.04)


def turns(monkeypatch, patch_size, **options):
    """Angles per turned patch, and the scales, of so many patches; nothing is interpolated."""
    flat = len(patch_size) == 2 or options.get("in_plane") or patch_size[0] < 2
    rotate = "rotate_coords_2d" if flat else "rotate_coords_3d"
    angles = record(monkeypatch, f"spatial_transformations.{rotate}")
    scales = record(monkeypatch, "spatial_transformations.scale_coords")
    record(
        monkeypatch,
        "spatial_transformations.interpolate_img",
        lambda image, coordinates, *_: np.zeros(coordinates.shape[1:]),
    )
    results(SPATIAL, np.zeros((1, *patch_size)), patch_size, **options)
    return np.array([np.degrees(each[1:]) for each in angles]), np.array([s[1] for s in scales])


def test_a_fifth_is_turned_about_all_three_axes_and_a_fifth_is_scaled(monkeypatch):
    angles, scales = turns(monkeypatch, (4, 4, 4))

    assert len(angles) / DRAWS == near(0.2)
    assert angles.shape[1] == 3
    assert 28 < np.abs(angles).max() <= 30
    assert angles.mean(0) == pytest.approx(np.zeros(3), abs=3.5)
    assert angles.std(0) == pytest.approx(np.full(3, 60 / math.sqrt(12)), abs=2)
    assert np.abs(np.corrcoef(angles.T) - np.eye(3)).max() < 0.2
    assert len(scales) / DRAWS == near(0.2)
    assert_around_one(scales, 0.7, 1.4)


@pytest.mark.parametrize(
    ("patch_size", "limit"), [((8, 8), 180), ((9, 3), 15), ((1, 8, 8), 180), ((2, 8, 8), 180)]
)
def test_slices_turn_in_their_plane(monkeypatch, patch_size, limit):
    angles, _ = turns(monkeypatch, patch_size, in_plane=len(patch_size) == 3)

    assert len(angles) / DRAWS == near(0.2)
    assert angles.shape[1] == 1
    assert np.abs(angles).max() == near(limit, 2)
    assert angles.std() == near(2 * limit / math.sqrt(12), 7)


def test_noise_fires_in_a_tenth_with_deviations_up_to_a_tenth():
    made = results(NOISE, np.zeros((2, 8, 8, 8)))
    noisy = made[made.reshape(DRAWS, -1).any(1)]
    deviations = noisy.reshape(len(noisy), 2, -1).std(2)

    assert len(noisy) / DRAWS == near(0.1, 0.027)
    assert deviations.max() < 0.11
    assert deviations.mean() == near(0.05, 0.008)
    assert np.allclose(deviations[:, 0], deviations[:, 1], rtol=0.3)  # one for all channels
    assert not np.array_equal(noisy[0, 0], noisy[0, 1])


def test_blur_fires_in_a_fifth_for_half_of_the_channels_with_a_sigma_per_axis(monkeypatch):
    calls = record(monkeypatch, "noise_augmentations.gaussian_filter", lambda image, *_: image + 1)
    made = results(BLUR, np.zeros((2, 4, 4, 4)))[:, :, 0, 0, 0]
    sigmas = np.array([call[1] for call in calls])

    assert made.mean(0) == pytest.approx([0.1, 0.1], abs=0.027)
    assert made.any(1).mean() == near(0.2 * 0.75)
    assert sigmas.shape[1] == 3
    assert 0.5 <= sigmas.min() < sigmas.max() <= 1
    assert sigmas.mean(0) == pytest.approx(np.full(3, 0.75), abs=0.03)


def test_brightness_fires_for_all_channels():
    factors = results(BRIGHTNESS, np.ones((2, 4, 4, 4)))[:, :, 0, 0, 0]
    fired = factors[(factors != 1).any(1)]

    assert len(fired) / DRAWS == near(0.15)
    assert_around_one(fired.ravel(), 0.75, 1.25)
    assert (fired[:, 0] != fired[:, 1]).all()


def test_contrast_fires_for_all_channels():
    """The inner values show the factor, the outer ones the range that is kept."""
    ramp = np.tile(np.float32([-1, -0.5, 0.5, 1]), (2, 4, 4, 1))
    made = results(CONTRAST, ramp)
    factors = made[:, :, 0, 0, 2] / 0.5
    fired = factors[(np.abs(factors - 1) > 1e-6).any(1)]

    assert len(fired) / DRAWS == near(0.15)
    assert_around_one(fired.ravel(), 0.75, 1.25)
    assert np.abs(made).max() <= 1


@pytest.mark.parametrize(("in_plane", "first"), [(False, None), (True, 100)])
def test_low_resolution_fires_in_a_quarter_for_half_of_the_channels(monkeypatch, in_plane, first):
    calls = record(
        monkeypatch,
        "resample_augmentations.resize",
        lambda image, size, *_: np.ones(tuple(size), np.float32),
    )
    made = results(RESOLUTION, np.zeros((2, 100, 1, 100)), in_plane=in_plane)[:, :, 0, 0, 0]
    sizes = np.array([call[1] for call in calls])[::2]
    scales = sizes[:, 2] / 100

    assert made.mean(0) == pytest.approx([0.125, 0.125], abs=0.03)
    assert made.any(1).mean() == near(0.25 * 0.75)
    assert 0.5 <= scales.min() < scales.max() <= 1
    assert scales.mean() == near(0.75, 0.03)
    assert np.array_equal(sizes[:, 0], sizes[:, 2] if first is None else np.full(len(sizes), first))


@pytest.mark.parametrize(("number", "probability"), [(INVERTED_GAMMA, 0.1), (GAMMA, 0.3)])
def test_gamma_keeps_mean_and_deviation(number, probability):
    ramp = np.tile(np.linspace(0, 1, 5, dtype=np.float32), (2, 4, 4, 1))
    made = results(number, ramp)
    values = made[:, :, 0, 0]
    fired = values[(np.abs(values - ramp[0, 0, 0]) > 1e-6).any((1, 2))]
    if number == INVERTED_GAMMA:
        fired = -fired[..., ::-1]
    middle = (fired[..., 2] - fired[..., 0]) / (fired[..., 4] - fired[..., 0])

    assert len(fired) / DRAWS == near(probability)
    assert_around_one(-np.log2(middle).ravel(), 0.7, 1.5)
    assert made.mean((2, 3, 4)) == pytest.approx(np.full((DRAWS, 2), 0.5), abs=1e-4)
    assert made.std((2, 3, 4)) == pytest.approx(np.full((DRAWS, 2), ramp.std()), abs=1e-4)


def test_each_axis_is_mirrored_half_of_the_time():
    voxels = np.arange(8).reshape(1, 2, 2, 2)
    made = results(MIRROR, voxels)[:, 0]
    flipped = np.array([made[:, 1, 0, 0] < 4, made[:, 0, 1, 0] % 4 < 2, made[:, 0, 0, 1] % 2 < 1])

    assert flipped.mean(1) == pytest.approx(np.full(3, 0.5), abs=0.045)
    assert flipped.all(0).mean() == near(0.125)


def test_mirror_axes_can_be_chosen():
    voxels = np.arange(4).reshape(1, 2, 2)

    made = results(MIRROR, voxels, (2, 2), draws=50, mirror_axes=[1])

    assert {tuple(one.ravel()) for one in made} == {(0, 1, 2, 3), (1, 0, 3, 2)}
    assert len(transforms_of(BatchgeneratorsAugmentation(mirror_axes=()), (2, 2)).transforms) == 8
    with pytest.raises(
        PlanError, match=r"mirror_axes is \[2\], but the patch has the axes \[0, 1]"
    ):
        transforms_of(BatchgeneratorsAugmentation(mirror_axes=(2,)), (2, 2))


NEVER = dict.fromkeys(
    [name for name in BatchgeneratorsAugmentation.__dataclass_fields__ if "_probability" in name], 0
)
ALWAYS = dict.fromkeys(NEVER, 1)


def sample(size, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn((channels, *size), generator=generator)
    return image, torch.randint(-1, 3, size, generator=generator, dtype=torch.int16)


def drawn(augmentation, patch_size, channels=1, seed=0):
    return augmentation.draw(np.random.default_rng(seed), patch_size, channels)


def test_it_is_an_augmentation():
    assert isinstance(BatchgeneratorsAugmentation(), Augmentation)


@pytest.mark.parametrize("patch_size", [(12, 14, 16), (4, 14, 16), (14, 16)])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_result_is_of_the_contract_s_shape_and_types(patch_size, channels):
    augmentation = BatchgeneratorsAugmentation(**ALWAYS)
    one = drawn(augmentation, patch_size, channels)
    image, label = sample(one.source_size, channels)
    before = image.clone(), label.clone()

    images, labels = augmentation.apply([image, image], [label, label], [one, one])

    assert one.source_size == augmentation.initial_patch_size(patch_size)
    assert (images.shape, images.dtype) == ((2, channels, *patch_size), torch.float32)
    assert (labels.shape, labels.dtype) == ((2, *patch_size), torch.int16)
    assert set(labels.unique().tolist()) <= {-1, 0, 1, 2}
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_equal_seeds_give_equal_bits_in_any_batch():
    augmentation = BatchgeneratorsAugmentation(**ALWAYS)
    parts = [
        (*sample((20, 20, 20), seed=seed), drawn(augmentation, (12,) * 3, seed=seed))
        for seed in range(3)
    ]

    together = augmentation.apply(*zip(*parts, strict=True))
    alone = augmentation.apply(*zip(parts[2], strict=True))

    assert torch.equal(together[0][2], alone[0][0])
    assert torch.equal(together[1][2], alone[1][0])
    assert not torch.equal(together[0][0], together[0][1])


def test_the_global_generators_go_on_as_if_nothing_had_been():
    def next_numbers():
        return np.random.random(3).tolist(), python_random.random()

    np.random.seed(1), python_random.seed(1)
    expected = next_numbers()
    np.random.seed(1), python_random.seed(1)
    augmentation = BatchgeneratorsAugmentation(**ALWAYS)
    augmentation.apply(*zip((*sample((8, 8)), drawn(augmentation, (4, 4))), strict=True))

    assert next_numbers() == expected


@pytest.mark.parametrize("patch_size", [(40, 56, 40), (20, 320, 256), (512, 512)])
def test_unaltered_patches_are_the_middle_of_what_was_read(patch_size):
    augmentation = BatchgeneratorsAugmentation(mirror_axes=(), **NEVER)
    one = drawn(augmentation, patch_size)
    image, label = sample(one.source_size)

    images, labels = augmentation.apply([image], [label], [one])

    middle = tuple(
        slice(outer // 2 - inner // 2, outer // 2 - inner // 2 + inner)
        for outer, inner in zip(one.source_size, patch_size, strict=True)
    )
    assert torch.equal(images[0], image[:, *middle])
    assert torch.equal(labels[0], label[middle])


def test_slices_of_a_flat_volume_turn_alike():
    options = NEVER | {"rotation_probability": 1}
    augmentation = BatchgeneratorsAugmentation(mirror_axes=(), **options)
    one = drawn(augmentation, (3, 16, 16))
    image, label = sample(one.source_size)
    image, label = image[:, :1].expand(image.shape), label[:1].expand(label.shape)

    images, labels = augmentation.apply([image], [label], [one])

    assert isinstance(transforms_of(augmentation, (3, 16, 16)).transforms[0], InPlanes)
    assert torch.equal(images[0, 0, 0], images[0, 0, 2])
    assert torch.equal(labels[0, 0], labels[0, 2])
    assert not torch.equal(images[0, 0, 0], image[0, 0, 3:19, 3:19])


def test_masked_channels_are_0_outside_the_non_zero_region():
    augmentation = BatchgeneratorsAugmentation(mask_normalization=(False, True), **ALWAYS)
    one = drawn(augmentation, (12, 12), 2)
    image, label = sample(one.source_size, 2)

    images, labels = augmentation.apply([image + 5], [label], [one])

    outside = labels[0] < 0
    assert outside.any()
    assert (images[0, 1][outside] == 0).all()
    assert (images[0, 0][outside] != 0).any()


def test_smooth_images_turn_as_by_the_standard_augmentation():
    """Equal angles and scales mean the same in both: cubic and linear agree where it is smooth."""
    size, degrees = (20, 24, 22), 20.0
    options = NEVER | {"rotation_probability": 1, "mirror_axes": ()}
    theirs = BatchgeneratorsAugmentation(rotation_degrees=degrees, **options)
    ours = StandardAugmentation(rotation_degrees=degrees, **options)
    axes = np.meshgrid(
        *(np.arange(n) - n / 2 for n in theirs.initial_patch_size(size)), indexing="ij"
    )
    smooth = torch.from_numpy(
        np.exp(-sum((a / s) ** 2 for a, s in zip(axes, (5, 8, 12), strict=True)))
    )
    moments = {}
    for name, augmentation in (("theirs", theirs), ("ours", ours)):
        turned = [turned_variances(augmentation, size, smooth.float(), seed) for seed in range(40)]
        moments[name] = np.mean(turned, axis=0)

    assert moments["theirs"] == pytest.approx(moments["ours"], rel=0.06)


def turned_variances(augmentation, size, smooth, seed):
    """Of the bright blob, along each axis, after a turn."""
    one = drawn(augmentation, size, seed=seed)
    corner = [(a - b) // 2 for a, b in zip(smooth.shape, one.source_size, strict=True)]
    source = smooth[tuple(slice(c, c + n) for c, n in zip(corner, one.source_size, strict=True))]
    label = torch.zeros(source.shape, dtype=torch.int16)
    image = augmentation.apply([source[None].contiguous()], [label], [one])[0][0, 0].double()
    weight = image / image.sum()
    return [
        float(
            (weight.sum([a for a in range(3) if a != axis]) * (torch.arange(n) - n / 2) ** 2).sum()
        )
        for axis, n in enumerate(size)
    ]


def test_it_is_imported_only_when_chosen():
    code = """
import sys
import nnseg_standard, nnseg_standard.training.trainer, nnseg_standard.augmentation.recipe
assert not {"batchgenerators", "pandas", "skimage"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
