import pytest
import torch
from torch import nn

from nnseg_core.errors import PlanError
from nnseg_standard.networks.blocks import (
    ConvolutionBlock,
    ResidualBlock,
    convolution,
    convolution_stage,
    initialise,
    residual_stage,
)
from nnseg_standard.networks.options import Layers, check_counts


def test_stride_divides_the_size_and_kernels_keep_it():
    block = ConvolutionBlock(2, 5, kernel=(1, 3, 3), stride=(1, 2, 2))

    assert block(torch.randn(1, 2, 6, 8, 4)).shape == (1, 5, 6, 4, 2)


def test_a_kernel_of_two_axes_makes_a_planar_block():
    assert ConvolutionBlock(2, 5, kernel=(3, 3))(torch.randn(1, 2, 6, 8)).shape == (1, 5, 6, 8)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_norm_makes_mean_0_and_variance_1(norm):
    block = ConvolutionBlock(1, 3, kernel=(3, 3, 3), layers=Layers(norm), activate=False)

    features = block(torch.randn(2, 1, 8, 8, 8) * 7 + 3)

    over = (2, 3, 4) if norm == "instance" else (0, 2, 3, 4)
    torch.testing.assert_close(
        features.mean(over), torch.zeros_like(features.mean(over)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        features.var(over, correction=0), torch.ones_like(features.mean(over)), atol=1e-3, rtol=0
    )


def test_residual_block_begins_as_the_identity():
    features = torch.rand(1, 4, 6, 6, 6)  # not negative, so that the activation changes nothing

    block = ResidualBlock(4, 4, kernel=(3, 3, 3), stride=(1, 1, 1))

    assert torch.equal(block(features), features)


def test_residual_block_that_only_pools_begins_as_average_pooling():
    features = torch.rand(1, 4, 6, 6)

    block = ResidualBlock(4, 4, kernel=(3, 3), stride=(2, 1))

    assert torch.equal(block(features), nn.functional.avg_pool2d(features, (2, 1)))


def test_only_the_first_block_of_a_stage_carries_the_stride():
    image = torch.randn(1, 2, 8, 8)

    plain = convolution_stage(2, 4, (3, 3), (2, 2), convolutions=3, layers=Layers())
    residual = residual_stage(2, 4, (3, 3), (2, 2), blocks=3, layers=Layers())

    assert len(plain) == len(residual) == 3
    assert plain(image).shape == residual(image).shape == (1, 4, 4, 4)


def test_initial_weights_are_he_normal_and_biases_zero():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(16, 64, 3), nn.ConvTranspose3d(64, 64, 2))

    initialise(network)

    gain_squared = 2 / (1 + 0.01**2)
    for module, fan_in in zip(network, (16 * 27, 64 * 8), strict=True):
        assert module.weight.std().item() == pytest.approx((gain_squared / fan_in) ** 0.5, rel=0.02)
        assert not module.bias.any()


def test_unusable_options_are_named():
    with pytest.raises(
        PlanError, match="norm must be one of instance, batch, group, none, got 'layer'"
    ):
        Layers("layer")
    with pytest.raises(PlanError, match="activation must be one of leaky_relu, relu, gelu, mish"):
        Layers(activation="swish")
    with pytest.raises(PlanError, match="slope must be from 0 to 1, got 2"):
        Layers(slope=2)
    with pytest.raises(PlanError, match="blocks must be at least 1, got 0"):
        check_counts({"blocks": 0})


def test_group_norm_has_eight_groups_or_what_divides_the_channels():
    wide, narrow = (ConvolutionBlock(1, n, (3, 3), layers=Layers("group")) for n in (32, 12))

    assert (wide.norm.num_groups, narrow.norm.num_groups) == (8, 4)


@pytest.mark.parametrize(
    ("layers", "at_minus_one"),
    [
        (Layers(slope=0.2), -0.2),
        (Layers(activation="relu"), 0.0),
        (Layers(norm="batch", slope=0.2), -0.2),
        (Layers(activation="gelu"), nn.functional.gelu(torch.tensor(-1.0)).item()),
        (Layers(norm="none", activation="mish"), nn.functional.mish(torch.tensor(-1.0)).item()),
    ],
)
def test_activation_follows_the_norm(layers, at_minus_one):
    block = ConvolutionBlock(1, 1, kernel=(1, 1), layers=layers)
    nn.init.ones_(block.convolution.weight)
    nn.init.zeros_(block.convolution.bias)
    image = torch.tensor([[[[-1.0, 1.0]]]])  # of mean 0 and deviation 1 already

    assert block(image)[0, 0, 0, 0].item() == pytest.approx(at_minus_one, abs=1e-5)


def test_an_even_kernel_is_refused():
    with pytest.raises(PlanError, match=r"kernel sizes must be odd, got \(3, 2\)"):
        convolution(1, 1, (3, 2))
