"""In how many training patches each label occurs: counted on the device, read once per epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nnseg_core.dataset import Labels
from nnseg_standard.training.online_dice import histogram, names


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Counts patches per label or region; one histogram of a batch, which nothing waits for.

    ``decode`` turns the label maps of batches into the dataset's values where they hold others.
    """

    labels: Labels
    decode: Callable[[Tensor], Tensor] | None = None

    def __call__(self, label: Tensor) -> Tensor:
        """Of a label map (batch, *space) of the dataset's values: patches per name, and in all.

        int64 (label + 1,), left on its device. ``OUTSIDE`` counts as background.
        """
        label = label if self.decode is None else self.decode(label)
        batch, bins = len(label), self._bins
        sample = torch.arange(batch, device=label.device).reshape(-1, *[1] * (label.ndim - 1))
        flat = (sample * bins + label.clamp(0, bins - 1)).flatten()
        occurs = histogram(flat, batch * bins).reshape(batch, bins) > 0
        columns = [
            torch.stack([occurs[:, value] for value in self.labels.values[name]]).any(dim=0)
            for name in names(self.labels)
        ]
        return torch.stack([*columns, torch.ones_like(occurs[:, 0])]).sum(dim=1)

    def shares(self, counted: Tensor) -> dict[str, float]:
        """The share of patches in which each occurs, from a sum of counts; waits for the device."""
        *found, patches = counted.cpu().tolist()
        return {
            name: count / patches for name, count in zip(names(self.labels), found, strict=True)
        }

    @property
    def _bins(self) -> int:
        """One for each value that a label map may have."""
        covered = [value for values in self.labels.values.values() for value in values]
        return max([*covered, *self.labels.ignored]) + 1
