"""Samples of a batch, each on a core of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from nnseg_core.plan import Topology
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.training.agreement import difference
from nnseg_standard.training.cores import Together, side_by_side

SHAPE = (4, 1, 16, 16)


@pytest.fixture(autouse=True)
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    topology = Topology(
        patch_size=(16, 16),
        features=(4, 8, 8),
        strides=((1, 1), (2, 2), (2, 2)),
        kernel_sizes=((3, 3), (3, 3), (3, 3)),
    )
    return PlainUnet().build(topology, 1, 3)


def image() -> Tensor:
    return torch.randn(*SHAPE, generator=torch.Generator().manual_seed(1))


def gradients(network: nn.Module, lower: bool = False) -> list[Tensor | None]:
    network.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        first, *_ = network(image())
    first.float().square().mean().backward()
    return [parameter.grad for parameter in network.parameters()]


def present(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]


def divided(network: nn.Module) -> bool:
    return isinstance(network.forward, Together)


@pytest.mark.parametrize(("lower", "tolerance"), [(False, 1e-6), (True, 1e-2)])
def test_outputs_and_gradients_are_those_of_the_whole_batch(
    network: nn.Module, lower: bool, tolerance: float
) -> None:
    outputs, expected = [each.detach() for each in network(image())], gradients(network, lower)
    with side_by_side(network, SHAPE):
        assert divided(network)
        found, ours = [each.detach() for each in network(image())], gradients(network, lower)
    for output, other in zip(found, outputs, strict=True):
        torch.testing.assert_close(output, other, rtol=1e-5, atol=1e-5)
    assert difference(present(ours), present(expected)) < tolerance


def test_a_head_that_no_loss_looks_at_gets_no_gradient(network: nn.Module) -> None:
    with side_by_side(network, SHAPE):
        without = [gradient is None for gradient in gradients(network)]
    assert without == [gradient is None for gradient in gradients(network)]


def test_the_same_bits_every_time(network: nn.Module) -> None:
    with side_by_side(network, SHAPE):
        once, again = gradients(network), gradients(network)
    assert all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(once, again, strict=True)
    )


def test_weights_that_an_optimizer_changes_are_seen(network: nn.Module) -> None:
    with side_by_side(network, SHAPE), torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
        changed = network(image())[0]
    torch.testing.assert_close(changed, network(image())[0].detach(), rtol=1e-5, atol=1e-5)


def test_inference_and_evaluation_mode_reach_the_threads(network: nn.Module) -> None:
    with side_by_side(network, SHAPE):
        network.eval()
        with torch.inference_mode():
            logits, *_ = network(image())
        assert logits.is_inference()
        assert not any(replica.training for replica in network.forward.replicas)


class Odd(nn.Module):
    """A convolution and a layer that is to be looked at."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.convolution, self.layer = nn.Conv2d(1, 4, 3, padding=1), layer

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.layer(self.convolution(image))
        return features


class Counts(nn.Module):
    """Keeps count of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        self.seen += 1
        return features


class Breaks(nn.Module):
    """Refuses a batch of one."""

    def forward(self, features: Tensor) -> Tensor:
        if len(features) == 1:
            raise RuntimeError("one sample is not enough")
        return features


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.Dropout(), Counts(), Breaks()])
def test_what_depends_on_the_batch_is_left_as_it_is(layer: nn.Module) -> None:
    network = Odd(layer)
    before = torch.get_rng_state()
    with side_by_side(network, SHAPE):
        assert not divided(network)
    assert torch.equal(before, torch.get_rng_state())
    assert all(buffer.eq(0).all() or buffer.eq(1).all() for buffer in network.buffers())


def test_a_single_output_stays_a_tensor() -> None:
    network = Odd(nn.Identity())
    with side_by_side(network, SHAPE):
        assert divided(network)
        assert isinstance(network(image()), Tensor)
    assert not divided(network)


@pytest.mark.parametrize("samples", [1, 3])
def test_samples_that_do_not_share_out_are_left_together(network: nn.Module, samples: int) -> None:
    with side_by_side(network, (samples, *SHAPE[1:])):
        assert not divided(network)


def test_an_error_in_a_thread_arrives(network: nn.Module) -> None:
    with side_by_side(network, SHAPE), pytest.raises(RuntimeError, match="channels"):
        network(torch.zeros(4, 2, 16, 16))
