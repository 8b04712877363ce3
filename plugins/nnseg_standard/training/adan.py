"""Adan, the adaptive Nesterov momentum of Xie et al., 2022 (algorithm 1 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

BETAS = (0.98, 0.92, 0.99)
"""The paper's values; it writes what is forgotten per step: 0.02, 0.08 and 0.01."""


class Adan(Optimizer):
    """Steps along averages of the gradient and of its change, divided by the root of a square's.

    ``betas`` say how much of three averages is kept per step: of the gradient, of its change from
    the step before, and of the square of the gradient looked ahead. Memory that is all zeros is
    the same as none, and nothing waits for a GPU.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = BETAS,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        memory = self._memory(parameter)
        first = memory["step"] == 0  # a tensor: where it is true, averages begin at their value
        kept_mean, kept_change, kept_square = group["betas"]
        change = torch.where(first, 0.0, gradient - memory["gradient"])
        ahead = (gradient + kept_change * change).square_()
        _average(memory["mean"], gradient, kept_mean, first)
        _average(memory["change"], change, kept_change, first)
        _average(memory["square"], ahead, kept_square, first)
        memory["gradient"].copy_(gradient)
        memory["step"] += 1
        direction = memory["mean"] + kept_change * memory["change"]
        direction /= memory["square"].sqrt().add_(group["eps"])
        parameter.sub_(direction.mul_(group["lr"]))
        parameter.div_(1 + group["lr"] * group["weight_decay"])

    def _memory(self, parameter: Tensor) -> dict[str, Tensor]:
        memory: dict[str, Tensor] = self.state[parameter]
        if not memory:
            memory["step"] = torch.zeros((), device=parameter.device)
            for name in ("mean", "change", "square", "gradient"):
                memory[name] = torch.zeros_like(parameter)
        return memory


def _average(average: Tensor, value: Tensor, kept: float, first: Tensor) -> None:
    """Keep a share of ``average`` and fill it up with ``value``, in place."""
    average.copy_(torch.where(first, value, average * kept + value * (1 - kept)))
