"""The tensors of a network as places that other weights can be put into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnseg_core.contracts import Architecture, NamesPlaces
from nnseg_core.model import build_network
from nnseg_core.plan import Configuration, Plan, Topology
from nnseg_core.transfer.tensors import Slot

if TYPE_CHECKING:
    from torch import nn


def slots_of(
    architecture: Architecture, plan: Plan, configuration: Configuration, network: nn.Module
) -> tuple[Slot, ...]:
    """Every tensor of ``network``, which ``architecture`` built for ``configuration``.

    Wider networks are built to compare with. They are thrown away, but draw first weights from
    the global generators.
    """
    tensors = _arrays(network)
    inputs, outputs = (
        _shapes(build_network(wider, plan.dataset, configuration))
        for wider in (_Wider(architecture, inputs=1), _Wider(architecture, outputs=1))
    )
    transposed = {
        f"{name}.weight": bool(module.transposed)
        for name, module in network.named_modules()
        if hasattr(module, "transposed") and hasattr(module, "kernel_size")  # torch's convolutions
    }
    return tuple(
        Slot(
            name=name,
            place=place_of(architecture, name, configuration.topology),
            start=tensor,
            transposed=transposed.get(name),
            inputs=_grown(tensor.shape, inputs.get(name)),
            outputs=_grown(tensor.shape, outputs.get(name)),
        )
        for name, tensor in tensors.items()
    )


def place_of(architecture: Architecture, weight: str, topology: Topology) -> str:
    """Where a weight is, in the same words for every depth if the architecture has them."""
    if isinstance(architecture, NamesPlaces):
        return architecture.place(weight, topology)
    return weight


@dataclass(frozen=True, slots=True)
class _Wider:
    """An architecture whose networks have more inputs or outputs than they are asked for.

    A tensor that grows with them belongs to the first layer, or to a head: that holds for every
    network, however its author has named its parts.
    """

    architecture: Architecture
    inputs: int = 0
    outputs: int = 0

    def build(self, topology: Topology, inputs: int, outputs: int) -> nn.Module:
        return self.architecture.build(topology, inputs + self.inputs, outputs + self.outputs)

    def memory(self, topology: Topology, outputs: int) -> int:
        return self.architecture.memory(topology, outputs)


def _arrays(network: nn.Module) -> dict[str, NDArray[np.floating]]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _grown(shape: tuple[int, ...], wider: tuple[int, ...] | None) -> int | None:
    """The axis along which a tensor has grown."""
    if wider is None or len(wider) != len(shape):
        return None
    grown = (axis for axis, (a, b) in enumerate(zip(shape, wider, strict=True)) if a != b)
    return next(grown, None)
