"""An average of the weights over the steps of a training: steadier than the weights of one step.

The average is exponential with a share ``kept`` per step, and the plain mean of all steps before
that looks back further than they reach, so that it is of use from the first step on (as in the code
of Tarvainen and Valpola, 2017, "Mean teachers are better role models").
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The averaged weights and floating-point buffers of a network, after so many ``steps``."""

    def __init__(self, kept: float) -> None:
        self.kept = kept
        self.steps = 0
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step. Nothing waits for the device."""
        tensors = _averaged(network)
        if not self.steps:
            self.values = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        kept = min(self.kept, self.steps / (self.steps + 1))
        for name, tensor in tensors.items():
            self.values[name].lerp_(tensor, 1 - kept)
        self.steps += 1

    @torch.no_grad()
    def take_over(self, network: nn.Module) -> None:
        """Give the network the averaged weights, in place; before any step it keeps its own."""
        tensors = _averaged(network)
        for name, value in self.values.items():
            tensors[name].copy_(value)

    @contextmanager
    def in_place(self, network: nn.Module) -> Generator[None]:
        """Within the block the network has the averaged weights, in the memory of its own."""
        own = {name: tensor.detach().clone() for name, tensor in _averaged(network).items()}
        self.take_over(network)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in _averaged(network).items():
                    tensor.copy_(own[name])

    def state_dict(self) -> dict[str, Any]:
        """As tensors and JSON values; empty before the first step."""
        return {"tensors": self.values, "steps": self.steps} if self.steps else {}

    def load_state_dict(self, saved: dict[str, Any], network: nn.Module) -> None:
        """Go on from what ``state_dict`` returned; the average is where the network is."""
        device = next(network.parameters()).device
        tensors = saved.get("tensors", {})
        self.values = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.steps = saved.get("steps", 0)


def _averaged(network: nn.Module) -> dict[str, Tensor]:
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
