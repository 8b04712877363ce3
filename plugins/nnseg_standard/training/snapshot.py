"""What a step changes, kept so that it can be tried and undone in place."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnseg_standard.training.state import LoopState


class Snapshot:
    """Copies of weights, buffers and the optimizer's memory, and the scaler, of a ``LoopState``.

    Memory that the optimizer began only afterwards is set to 0, which to SGD and Adam is the same
    as not to have begun.
    """

    def __init__(self, state: LoopState) -> None:
        tensors = _tensors(state)
        self._tensors = {id(tensor): tensor for tensor in tensors}  # alive, so that ids stay theirs
        self._values = {id(tensor): tensor.detach().clone() for tensor in tensors}
        self._scaler = copy.deepcopy(state.scaler)

    def restore(self, state: LoopState) -> None:
        """Undo all steps since. Every tensor stays where it is in memory."""
        with torch.no_grad():
            for tensor in _tensors(state):
                value = self._values.get(id(tensor))
                tensor.zero_() if value is None else tensor.copy_(value)
        state.optimizer.zero_grad(set_to_none=True)
        if state.scaler.is_enabled():
            state.scaler.load_state_dict(self._scaler.state_dict())

    def renew_scaler(self, state: LoopState) -> None:
        """Replace a scaler whose step was broken off, and which would refuse another."""
        state.scaler = copy.deepcopy(self._scaler)

    def weight_changes(self, state: LoopState) -> list[Tensor]:
        """How far each parameter has moved since."""
        return [
            parameter.detach() - self._values[id(parameter)]
            for parameter in state.network.parameters()
        ]


@dataclass(frozen=True, kw_only=True)
class RandomStates:
    """Where the global generators stand that a layer may draw from without being given one."""

    device: torch.device
    python: tuple[Any, ...]
    host: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomStates:
        """Those of Python, of torch, and of torch on ``device`` if that is a GPU."""
        return cls(
            device=device,
            python=random.getstate(),
            host=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        )

    def unchanged(self) -> bool:
        """Whether nothing has been drawn since."""
        now = RandomStates.now(self.device)
        return (
            self.python == now.python
            and torch.equal(self.host, now.host)
            and (self.cuda is None or now.cuda is None or torch.equal(self.cuda, now.cuda))
        )

    def restore(self) -> None:
        """Draw again what has been drawn since."""
        random.setstate(self.python)
        torch.set_rng_state(self.host)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


def _tensors(state: LoopState) -> list[Tensor]:
    """Everything that a step changes in place."""
    memory = (
        entry
        for entries in state.optimizer.state.values()
        for entry in entries.values()
        if isinstance(entry, Tensor)
    )
    return [*state.network.parameters(), *state.network.buffers(), *memory]
