"""Label maps as losses want them: class indices, or a channel of 0 and 1 per region."""

from __future__ import annotations

import torch
from torch import Tensor

from nnseg_core.contracts import IGNORED
from nnseg_core.dataset import Labels


def encode(label: Tensor, labels: Labels) -> Tensor:
    """The target of a loss from a label map int16 (batch, *space); ``OUTSIDE`` is background.

    Class index int64 (batch, *space); for regions float32 (batch, output, *space). ``IGNORED``
    where the label is an ignored one. Stays on the label's device and does not wait for it.
    """
    label = label.clamp(min=0)
    target = _regions(label, labels) if labels.is_regions else _classes(label, labels)
    for value in labels.ignored:
        ignored = label == value
        target.masked_fill_(ignored[:, None] if labels.is_regions else ignored, IGNORED)
    return target


def _classes(label: Tensor, labels: Labels) -> Tensor:
    """The place of each value among the foreground, from 1; values mostly are their place."""
    target = label.long()
    for index, value in enumerate(labels.foreground, start=1):
        if index != value:
            target.masked_fill_(label == value, index)
    return target


def _regions(label: Tensor, labels: Labels) -> Tensor:
    """One channel per region: 1 where the label is one of the values it covers."""
    inside = [
        torch.stack([label == value for value in covered]).any(dim=0)
        for covered in labels.values.values()
    ]
    return torch.stack(inside, dim=1).float()
