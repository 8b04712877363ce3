import pytest
import torch
from torch import nn

from nnseg_core.contracts import Architecture
from nnseg_core.errors import PlanError
from nnseg_core.plan import Topology
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.networks.residual_unet import ResidualUnet

DEEP = Topology(
    patch_size=(8, 16, 32),
    features=(4, 6, 8),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
)
PLANAR = Topology(
    patch_size=(16, 32),
    features=(4, 6, 8, 8),
    strides=((1, 1), (2, 2), (2, 2), (1, 2)),
    kernel_sizes=((3, 3),) * 4,
)
ARCHITECTURES = [PlainUnet, ResidualUnet]


def convolution_elements(network, image):
    """Elements that the convolutions of ``network`` put out for ``image``."""
    counted = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            module.register_forward_hook(lambda _, __, output: counted.append(output.numel()))
    network(image)
    return sum(counted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_is_an_architecture(architecture):
    assert isinstance(architecture(), Architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_come_from_full_resolution_down(architecture):
    deep = architecture().build(DEEP, inputs=2, outputs=3)(torch.randn(1, 2, 8, 16, 32))
    planar = architecture().build(PLANAR, inputs=1, outputs=5)(torch.randn(2, 1, 16, 32))

    assert [tuple(logits.shape) for logits in deep] == [(1, 3, 8, 16, 32), (1, 3, 8, 8, 16)]
    assert [tuple(logits.shape) for logits in planar] == [
        (2, 5, 16, 32),
        (2, 5, 8, 16),
        (2, 5, 4, 8),
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_deep_supervision_there_is_one_output_and_no_idle_weight(architecture):
    network = architecture(deep_supervision=False).build(DEEP, inputs=1, outputs=2)

    (logits,) = network(torch.randn(1, 1, 8, 16, 32))
    logits.square().sum().backward()

    assert logits.shape == (1, 2, 8, 16, 32)
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_the_weights(architecture):
    def weights(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = architecture().build(PLANAR, inputs=1, outputs=2)
        return torch.cat([weight.detach().flatten() for weight in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("topology", [DEEP, PLANAR], ids=["deep", "planar"])
def test_memory_counts_what_convolutions_put_out(architecture, topology):
    network = architecture(deep_supervision=False).build(topology, inputs=2, outputs=3)
    pooled_only = (
        architecture is ResidualUnet and topology is PLANAR
    )  # its skip counts all the same
    pooling = 8 * (4 * 4) if pooled_only else 0

    counted = convolution_elements(network, torch.randn(1, 2, *topology.patch_size))

    assert architecture().memory(topology, outputs=3) == counted + pooling


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batch_norm_is_chosen_by_name(architecture):
    network = architecture(norm="batch").build(DEEP, inputs=1, outputs=2)

    names = {type(module).__name__ for module in network.modules()}

    assert "BatchNorm3d" in names
    assert "NormActivation" not in names


def test_blocks_of_deeper_stages_repeat_the_last_number():
    network = ResidualUnet(blocks_per_stage=(1, 2)).build(PLANAR, inputs=1, outputs=2)

    assert [len(stage) for stage in network.encoder.stages] == [1, 2, 2, 2]


def test_convolutions_per_stage_are_options():
    architecture = PlainUnet(convolutions_per_stage=3, decoder_convolutions=1)

    network = architecture.build(PLANAR, inputs=1, outputs=2)

    assert [len(stage) for stage in network.encoder.stages] == [3, 3, 3, 3]
    assert [len(stage) for stage in network.decoder.stages] == [1, 1, 1]


def test_options_that_make_no_network_are_refused():
    with pytest.raises(PlanError, match="convolutions_per_stage must be at least 1, got 0"):
        PlainUnet(convolutions_per_stage=0)
    with pytest.raises(PlanError, match="blocks_per_stage must be at least 1, got 0"):
        ResidualUnet(blocks_per_stage=())
    with pytest.raises(PlanError, match="norm must be"):
        ResidualUnet(norm="layer")
