"""Options that the U-Nets share. Apart from the blocks, so that planning need not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from nnseg_core.errors import PlanError

Norm = Literal["instance", "batch"]
"""How features are normalised: per sample, or over the batch."""


def check_options(norm: str, counts: Mapping[str, int]) -> None:
    """Raise ``PlanError`` unless ``norm`` is known and all ``counts`` are at least 1."""
    if norm not in get_args(Norm):
        raise PlanError(f"norm must be 'instance' or 'batch', got {norm!r}")
    for name, count in counts.items():
        if count < 1:
            raise PlanError(f"{name} must be at least 1, got {count}")
