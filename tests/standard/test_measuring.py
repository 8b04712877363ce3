"""Operations counted by hand, and a batch that is always the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from nnseg_standard.measuring import ConstantBatch, count_operations, most_memory, probe_peak


def test_operations_of_a_convolution_forward_and_backward():
    network = nn.Conv3d(1, 4, 3, padding=1, bias=False)
    forward = 2 * 4 * 27 * 8**3  # a multiplication and an addition per weight and voxel

    counted = count_operations(network, channels=1, patch_size=(8, 8, 8))

    assert counted == 2 * forward  # the gradient of the input is not needed
    assert next(network.parameters()).grad is None


def test_all_outputs_of_a_network_are_counted():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleList(nn.Conv2d(1, 1, 1, bias=False) for _ in range(2))

        def forward(self, image):
            return [head(image) for head in self.heads]

    both = count_operations(Two(), channels=1, patch_size=(4, 4))

    assert both == 2 * count_operations(nn.Conv2d(1, 1, 1, bias=False), 1, (4, 4))


def test_a_network_that_needs_numbers_is_not_counted():
    class Reads(nn.Linear):
        def forward(self, image):
            return super().forward(image * float(image.sum()))

    assert count_operations(Reads(4, 4), channels=1, patch_size=(4, 4)) is None


def test_a_constant_batch_ignores_what_it_is_given():
    constant = ConstantBatch()
    drawn = [constant.draw(np.random.default_rng(seed), (4, 6), 2) for seed in range(3)]
    patches = [torch.rand(2, 1, 1) for _ in drawn]

    image, label = constant.apply(patches, [torch.zeros(1, 1)] * 3, drawn)
    again, _ = constant.apply(patches[::-1], [torch.ones(1, 1)] * 3, drawn)

    assert drawn[0].source_size == (1, 1)
    assert (image.shape, label.shape) == ((3, 2, 4, 6), (3, 4, 6))
    assert (image.dtype, label.dtype) == (torch.float32, torch.int16)
    assert torch.equal(image, again)
    assert label.sum() == 3 * 2 * 3


def test_a_device_computes_billions_per_second():
    assert 1e9 < probe_peak(torch.device("cpu"), torch.float32) < 1e15


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_memory_is_in_bytes():
    kept = torch.ones(2**25)

    assert kept.nbytes < most_memory(torch.device("cpu")) < 1e12
