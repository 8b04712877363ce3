"""The optimizers that training knows by name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch.optim import SGD, Adam, AdamW, Optimizer, RAdam

from nnseg_core.errors import PlanError
from nnseg_standard.training.adan import BETAS, Adan


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerOptions:
    """What optimizers may be told; each takes what it knows of.

    ``betas`` are two for Adam and its kin, three for Adan; None for those of the papers.
    """

    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.99
    nesterov: bool = True
    betas: tuple[float, ...] | None = None
    amsgrad: bool = False


Parameters = Iterable[Any]
"""Parameters, or groups of them as torch's optimizers take them."""


def sgd(parameters: Parameters, options: OptimizerOptions) -> Optimizer:
    """Stochastic gradient descent with momentum, nnU-Net's choice."""
    return SGD(
        parameters,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov and options.momentum > 0,
        weight_decay=options.weight_decay,
        fused=True,  # one kernel, which needs no word from the host
    )


def adam(parameters: Parameters, options: OptimizerOptions) -> Optimizer:
    """Adam, whose weight decay is part of the gradient."""
    return Adam(parameters, **_of_adam(options), amsgrad=options.amsgrad, fused=True)


def adamw(parameters: Parameters, options: OptimizerOptions) -> Optimizer:
    """Adam with weight decay apart from the gradient."""
    return AdamW(parameters, **_of_adam(options), amsgrad=options.amsgrad, fused=True)


def radam(parameters: Parameters, options: OptimizerOptions) -> Optimizer:
    """Adam that rectifies its first steps."""
    return RAdam(parameters, **_of_adam(options))


def adan(parameters: Parameters, options: OptimizerOptions) -> Optimizer:
    """Adaptive Nesterov momentum."""
    betas = options.betas or BETAS
    if len(betas) != 3:
        raise PlanError(f"betas of adan must be three numbers, got {list(betas)}")
    return Adan(
        parameters,
        lr=options.learning_rate,
        betas=(betas[0], betas[1], betas[2]),
        weight_decay=options.weight_decay,
    )


OPTIMIZERS: dict[str, Callable[[Parameters, OptimizerOptions], Optimizer]] = {
    "sgd": sgd,
    "adamw": adamw,
    "adam": adam,
    "radam": radam,
    "adan": adan,
}
"""By the name that a trainer's option gives."""


def _of_adam(options: OptimizerOptions) -> dict[str, Any]:
    """What Adam and its kin have in common."""
    betas = options.betas or (0.9, 0.999)  # those of the paper
    if len(betas) != 2:
        raise PlanError(f"betas of Adam must be two numbers, got {list(betas)}")
    return {"lr": options.learning_rate, "betas": betas, "weight_decay": options.weight_decay}
