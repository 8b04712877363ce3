"""Which parameters learn how fast: frozen parts, and layers that learn the slower the deeper.

Parts are told by the names of modules, so that any network will do. Learning rates are set per
group of the optimizer: a group's ``share`` is its part of the learning rate, and until
``frozen_until`` of the training is done it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.optim import Optimizer

from nnseg_core.errors import PlanError
from nnseg_core.transfer.tensors import part_of


@runtime_checkable
class HasLayers(Protocol):
    """What a network may tell of itself: its layers from input to output.

    Without it, each numbered part (``encoder.stages.0``) is a layer, in the order of the modules.
    """

    def layers(self) -> Sequence[Sequence[str]]:
        """For each layer the names of the modules in it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast parts of a network learn; by default all alike.

    ``frozen`` names modules that do not learn before the share ``frozen_until`` of the training,
    or ever, if it is 1. ``layer_decay`` is the learning rate of a layer relative to that after it.
    """

    frozen: tuple[str, ...] = ()
    frozen_until: float = 1.0
    layer_decay: float = 1.0


def parameter_groups(network: nn.Module, pace: Pace) -> Iterable[Any]:
    """The parameters of ``network`` for an optimizer, in groups where they differ in pace.

    Parts that never learn are left out, and need no gradient from here on.

    Raises ``PlanError`` for a name that no part has, or where nothing is left to learn.
    """
    if pace == Pace():
        return network.parameters()
    _require_parts(network, pace.frozen)
    shares = _shares(network, pace.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        frozen = _is_in(name, pace.frozen)
        if frozen and pace.frozen_until == 1:
            parameter.requires_grad_(False)
        else:
            key = (_share(name, shares), pace.frozen_until if frozen else 0.0)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise PlanError(f"trainer.frozen is {list(pace.frozen)}, which leaves nothing to train.")
    return [
        {"params": parameters, "share": share, "frozen_until": until}
        for (share, until), parameters in groups.items()
    ]


def set_learning_rates(optimizer: Optimizer, learning_rate: float, progress: float) -> None:
    """Give each group its part of the learning rate of an epoch that begins at ``progress``."""
    for group in optimizer.param_groups:
        frozen = progress < group.get("frozen_until", 0.0)
        group["lr"] = 0.0 if frozen else learning_rate * group.get("share", 1.0)


def layers_of(network: nn.Module) -> list[tuple[str, ...]]:
    """The layers of a network, from input to output, each by the names of its modules."""
    if isinstance(network, HasLayers):
        return [tuple(layer) for layer in network.layers()]
    parts = dict.fromkeys(part_of(name) for name, _ in network.named_parameters())
    return [(part,) for part in parts]


def _shares(network: nn.Module, decay: float) -> list[tuple[tuple[str, ...], float]]:
    layers = layers_of(network)
    return [(layer, decay ** (len(layers) - 1 - depth)) for depth, layer in enumerate(layers)]


def _share(name: str, shares: list[tuple[tuple[str, ...], float]]) -> float:
    return next((share for layer, share in shares if _is_in(name, layer)), 1.0)


def _is_in(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _require_parts(network: nn.Module, parts: Sequence[str]) -> None:
    names = [name for name, _ in network.named_parameters()]
    for part in parts:
        if not any(_is_in(name, (part,)) for name in names):
            there = dict.fromkeys(
                [n.partition(".")[0] for n in names] + [part_of(n) for n in names]
            )
            raise PlanError(
                f"trainer.frozen names {part!r}, which the network does not have. It has: "
                f"{', '.join(there)}."
            )
