import pytest
import torch
from torch import nn

from nnseg_standard.kernels.norm_activation import norm_activation


@pytest.mark.parametrize(("shape", "layer"), [((2, 3, 5, 4), "2d"), ((1, 4, 3, 5, 2), "3d")])
def test_it_is_torchs_instance_norm_and_leaky_relu(shape, layer):
    features = torch.randn(shape)
    norm = getattr(nn, f"InstanceNorm{layer}")(shape[1], eps=1e-3, affine=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)

    activated = norm_activation(features, norm.weight, norm.bias, 1e-3, 0.2)

    assert torch.equal(activated, nn.LeakyReLU(0.2)(norm(features)))


def test_a_slope_of_1_leaves_the_activation_out():
    features, weight, bias = torch.randn(1, 2, 5), torch.ones(2), torch.zeros(2)

    activated = norm_activation(features, weight, bias, 1e-5, 1.0)

    assert torch.equal(activated, nn.InstanceNorm1d(2)(features))


def test_a_single_voxel_is_refused():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        norm_activation(torch.zeros(1, 2, 1, 1), torch.ones(2), torch.zeros(2), 1e-5, 1.0)
