"""A U-Net whose norms are fused and whose channels are last: on a GPU, or in the interpreter."""

import pytest
import torch
from torch import Tensor

from nnseg_core.plan import Topology
from nnseg_standard.data.feed import Batch
from nnseg_standard.networks.norm_activation import NormActivation
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.networks.residual_unet import ResidualUnet
from nnseg_standard.training.objective import Objective
from nnseg_standard.training.tuning import Trial, channels_last

pytest.importorskip("triton", reason="Triton is not installed")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOPOLOGY = Topology(
    patch_size=(8, 8), features=(2, 4), strides=((1, 1), (2, 2)), kernel_sizes=((3, 3),) * 2
)
BATCH = Batch(
    image=torch.randn(2, 1, 8, 8, device=DEVICE),
    label=torch.ones(2, 8, 8, dtype=torch.int16, device=DEVICE),
)


def mean_square(outputs: list[Tensor], target: Tensor) -> Tensor:
    return ((outputs[0] - target[:, None]) ** 2).mean()


@pytest.mark.parametrize("architecture", [PlainUnet(), ResidualUnet(blocks_per_stage=(1, 1))])
def test_it_computes_the_same_while_the_block_lasts(architecture):
    torch.manual_seed(0)
    network = architecture.build(TOPOLOGY, 1, 2).to(DEVICE)
    layers = [layer for layer in network.modules() if isinstance(layer, NormActivation)]
    kernels = [layer.kernel for layer in layers]
    trial = Trial(
        objective=Objective(loss=mean_square, encode=Tensor.float, precision=torch.float32),
        batch=lambda: BATCH,
        finish=lambda: None,
    )
    expected = trial(network)

    with channels_last(network):
        trial.require_agreement(trial(network), expected)
        assert not any(layer.kernel in kernels for layer in layers)
        assert network.heads[0].weight.is_contiguous()
        assert network(BATCH.image)[0].is_contiguous(memory_format=torch.channels_last)

    assert [layer.kernel for layer in layers] == kernels
    assert network(BATCH.image)[0].is_contiguous()
