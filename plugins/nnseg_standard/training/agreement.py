"""How much two ways of computing the same differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LOSS_SCALE = 1024.0
"""Multiplies the loss while float16 is tried: gradients neither vanish nor overflow, so that there
is something to compare."""


def difference(ours: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The length of the difference as a share of the length of what is expected.

    All tensors together are one vector; shapes must agree. Infinite, or not a number, where only
    one of them is. 0 where both are 0. Waits for the device.
    """
    if not expected:
        return 0.0
    apart = torch.stack([_length(one, other) for one, other in zip(ours, expected, strict=True)])
    whole = torch.stack([_length(other) for other in expected])
    distance, length = (float(each.norm()) for each in (apart, whole))
    if distance == 0:
        return 0.0
    return distance / length if length else float("inf")


def _length(one: Tensor, other: Tensor | None = None) -> Tensor:
    """Of ``one``, or of what is between two; what is broken in both alike is nothing."""
    vector = one.detach().float()
    if other is None:
        vector = vector.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    else:
        alike = (one == other) | (one.isnan() & other.isnan())
        vector = (vector - other.detach().float()).masked_fill(alike, 0.0)
    length: Tensor = vector.norm()
    return length
