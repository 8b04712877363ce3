"""Options that the U-Nets share. Apart from the blocks, so that planning need not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from nnseg_core.errors import PlanError

Norm = Literal["instance", "batch", "group", "none"]
"""How features are normalised: per sample and channel, over the batch, by groups, or not."""

Activation = Literal["leaky_relu", "relu", "gelu", "mish"]
"""What follows the norm."""

LEAK = 0.01  # negative slope of the leaky ReLU (nnU-Net's value)


@dataclass(frozen=True)
class Layers:
    """What follows every convolution. ``slope`` is that of the leaky ReLU below 0.

    Raises ``PlanError`` for what is not known.
    """

    norm: Norm = "instance"
    activation: Activation = "leaky_relu"
    slope: float = LEAK

    def __post_init__(self) -> None:
        for name, known in (("norm", get_args(Norm)), ("activation", get_args(Activation))):
            if getattr(self, name) not in known:
                raise PlanError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not 0 <= self.slope <= 1:
            raise PlanError(f"slope must be from 0 to 1, got {self.slope}")

    @property
    def leak(self) -> float | None:
        """The slope below 0 of an activation that has one: 0 for ReLU, None for the smooth ones."""
        return {"leaky_relu": self.slope, "relu": 0.0}.get(self.activation)


def check_counts(counts: Mapping[str, int]) -> None:
    """Raise ``PlanError`` unless all ``counts`` are at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise PlanError(f"{name} must be at least 1, got {count}")
