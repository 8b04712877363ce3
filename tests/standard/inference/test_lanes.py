"""Passes side by side give what passes one by one give, whatever the network keeps of them."""

import pytest
import torch
from torch import nn

from nnseg_standard.inference.lanes import SMALL, lanes_for, open_lanes

CPU = torch.device("cpu")


class Counting(nn.Module):
    """A network that is not safe to be run twice at a time: it keeps what it sees."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))
        self.seen = None

    def forward(self, image):
        self.seen = image
        total = sum(self.seen * self.weight for _ in range(50))
        assert self.seen is image, "another thread was here"
        return total


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_outputs_come_in_the_order_of_the_batches(lanes):
    batches = [torch.full((1, 1, 2, 2), float(number)) for number in range(7)]
    network = Counting()
    with open_lanes(lanes, lambda net, batch: net(batch), CPU, torch.float32) as opened:
        outputs = list(opened.outputs(network, batches))
    assert [output.unique().item() for output in outputs] == [150.0 * n for n in range(7)]


def test_lanes_share_the_weights():
    network, pointers = Counting(), set()

    def forward(net, batch):
        pointers.add((id(net), net.weight.data_ptr()))
        return net(batch)

    with open_lanes(2, forward, CPU, torch.float32) as opened:
        list(opened.outputs(network, [torch.ones(1, 1, 2, 2)] * 4))
    networks, weights = (set(part) for part in zip(*pointers, strict=True))
    assert len(networks) == 2
    assert weights == {network.weight.data_ptr()}


def test_passes_run_in_the_precision_asked_for_and_without_gradients():
    network = nn.Conv2d(1, 1, 1)
    with open_lanes(2, lambda net, batch: net(batch), CPU, torch.bfloat16) as opened:
        (output,) = opened.outputs(network, [torch.ones(1, 1, 2, 2)])
    assert output.dtype is torch.bfloat16
    assert not output.requires_grad


def test_only_small_patches_on_a_cpu_go_their_own_ways(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert lanes_for(CPU, (64, 64, 64)) == 6
    assert SMALL == 64**3
    assert lanes_for(CPU, (64, 64, 65)) == 1
    assert lanes_for(torch.device("cuda"), (8, 8, 8)) == 1
