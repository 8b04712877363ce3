from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nnseg_core.case import PreprocessedCase, Restoration
from nnseg_core.contracts import Predictor
from nnseg_core.errors import ModelError, PlanError
from nnseg_core.geometry import Geometry, whole
from nnseg_core.plan import Configuration
from nnseg_standard.inference.predictor import TilePredictor

EXACT = TilePredictor(precision="fp32")


class Doubled(nn.Module):
    """Logits are twice the image, as a list like that of a network with deep supervision."""

    def forward(self, image):
        return [2 * image, image[..., ::2]]


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, image):
        return torch.full_like(image, self.value)


def random_case(shape, channels=2):
    image = np.random.default_rng(0).normal(size=(channels, *shape)).astype(np.float32)
    spacing = (1.0, 1.0, 1.0)
    restoration = Restoration(
        original=Geometry(shape=shape, spacing=spacing),
        axes=(0, 1, 2),
        crop=whole(shape),
        spacing=spacing,
    )
    return PreprocessedCase(
        identifier="case_7", image=image, label=None, foreground={}, restoration=restoration
    )


def configuration(*patch_size):
    axes = len(patch_size)
    return Configuration(
        spacing=(1.0,) * axes,
        patch_size=patch_size,
        batch_size=2,
        median_shape=patch_size,
        features=(4,),
        strides=((1,) * axes,),
        kernel_sizes=((3,) * axes,),
        normalization=("zscore",),
        mask_normalization=(False,),
        batch_dice=False,
    )


def lopsided(axes, outputs=3):
    """A convolution that is not the same mirrored."""
    torch.manual_seed(0)
    return {2: nn.Conv2d, 3: nn.Conv3d}[axes](2, outputs, 3, padding=1)


def test_is_a_predictor():
    assert isinstance(TilePredictor(), Predictor)


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((20, 17, 9), (8, 8, 8)),
        ((3, 17, 5), (8, 8, 8)),  # smaller than the patch, oddly
        ((5, 17, 9), (8, 8)),
        ((4, 3, 20), (8, 8)),
    ],
)
def test_a_network_that_doubles_gives_the_doubled_image(shape, patch, gaussian):
    case = random_case(shape)

    prediction = replace(EXACT, gaussian=gaussian).predict(
        [Doubled()], case, configuration(*patch), device="cpu"
    )

    assert prediction.identifier == "case_7"
    assert prediction.restoration == case.restoration
    assert prediction.logits.shape == case.image.shape
    np.testing.assert_allclose(prediction.logits, 2 * case.image, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("patch", [(8, 8, 8), (8, 8)])
@pytest.mark.parametrize("batch_size", [0, 3, 64])
def test_batch_size_changes_nothing_but_rounding(patch, batch_size):
    case = random_case((6, 13, 11))
    one, several = (
        replace(EXACT, batch_size=size).predict(
            [lopsided(len(patch))], case, configuration(*patch), device="cpu"
        )
        for size in (1, batch_size)
    )

    assert one.logits.shape == (3, 6, 13, 11)
    np.testing.assert_allclose(several.logits, one.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("axes", "combinations"),
    [((), [()]), ((1,), [(), (1,)]), ((0, 2), [(), (0,), (2,), (0, 2)])],
)
def test_mirrored_logits_are_averaged(axes, combinations):
    case, network = random_case((8, 8, 8)), lopsided(3)
    image = torch.from_numpy(case.image)[None]

    predictor = replace(EXACT, mirror_axes=axes)
    prediction = predictor.predict([network], case, configuration(8, 8, 8), "cpu")

    with torch.inference_mode():
        dims = [[axis + 2 for axis in chosen] for chosen in combinations]
        expected = torch.cat([network(image.flip(d)).flip(d) for d in dims]).mean(dim=0)
    np.testing.assert_allclose(prediction.logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("patch", "axes"), [((8, 8, 8), (0, 1, 2)), ((8, 8), (0, 1))])
def test_all_axes_are_mirrored_unless_told_otherwise(patch, axes):
    case, network = random_case((8, 8, 9)), lopsided(len(patch))

    usual, told = (
        replace(EXACT, mirror_axes=chosen).predict([network], case, configuration(*patch), "cpu")
        for chosen in (None, axes)
    )

    assert np.array_equal(usual.logits, told.logits)


def test_the_middle_of_a_tile_counts_more_than_its_border():
    class Position(nn.Module):
        def forward(self, image):
            return torch.arange(8.0).expand_as(image)

    predictor = replace(EXACT, mirror_axes=())
    case, plan = random_case((8, 8, 12)), configuration(8, 8, 8)

    weighted = predictor.predict([Position()], case, plan, device="cpu").logits[0, 0, 0]
    even = (
        replace(predictor, gaussian=False).predict([Position()], case, plan, "cpu").logits[0, 0, 0]
    )

    # two tiles, 0 and 4; voxel 5 is 5 in the first and 1 in the second
    near, far = np.exp(-0.5 * (5 - 4) ** 2), np.exp(-0.5 * (1 - 4) ** 2)
    assert even[5] == pytest.approx(3)
    assert weighted[5] == pytest.approx((5 * near + 1 * far) / (near + far), rel=1e-5)


def test_networks_are_averaged():
    prediction = EXACT.predict(
        [Constant(1.0), Constant(4.0)], random_case((9, 9, 9)), configuration(8, 8, 8), "cpu"
    )

    np.testing.assert_allclose(prediction.logits, 2.5, rtol=1e-5)


def test_networks_are_put_in_evaluation_mode():
    network = nn.Sequential(nn.Dropout(0.9)).train()

    prediction = EXACT.predict([network], random_case((8, 8, 8)), configuration(8, 8, 8), "cpu")

    assert np.asarray(prediction.logits).all()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_values_that_are_not_finite_are_an_error_naming_the_case(value):
    with pytest.raises(ModelError, match="infinite or undefined values for case 'case_7'"):
        EXACT.predict([Constant(value)], random_case((8, 8, 8)), configuration(8, 8, 8), "cpu")


def test_without_room_on_the_device_tiles_come_one_by_one():
    sizes = []

    class Greedy(nn.Module):
        def forward(self, image):
            sizes.append(len(image))
            if len(image) > 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return image

    case = random_case((8, 8, 9))
    prediction = EXACT.predict([Greedy()], case, configuration(8, 8, 8), device="cpu")

    assert sizes == [2] + [1] * 16
    np.testing.assert_allclose(prediction.logits, case.image, rtol=1e-5, atol=1e-6)


def test_other_failures_of_a_network_are_not_hidden():
    with pytest.raises(RuntimeError, match="channels"):
        EXACT.predict([nn.Conv3d(5, 2, 1)], random_case((8, 8, 8)), configuration(8, 8, 8), "cpu")


def test_bfloat16_stays_close_to_single_precision():
    case, network = random_case((8, 8, 12)), lopsided(3)
    exact, rough = (
        replace(EXACT, precision=name)
        .predict([network], case, configuration(8, 8, 8), "cpu")
        .logits
        for name in ("fp32", "bf16")
    )

    assert 0 < np.abs(rough - exact).max() < 0.02


def test_unusable_options_are_named():
    with pytest.raises(PlanError, match="step must be above 0 and at most 1, got 2"):
        TilePredictor(step=2)
    with pytest.raises(PlanError, match=r"batch_size must be 0 \(automatic\) or more, got -1"):
        TilePredictor(batch_size=-1)
    with pytest.raises(PlanError, match=r"mirror_axes \(2,\) must be some of \(0, 1\)"):
        TilePredictor(mirror_axes=(2,)).predict(
            [Doubled()], random_case((8, 8, 8)), configuration(8, 8), "cpu"
        )
