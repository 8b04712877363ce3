"""What changes during a training, and nothing else: what a checkpoint has to hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from nnseg_core.training import EpochReport
from nnseg_standard.training.averaging import Average


@dataclass(kw_only=True)
class EpochUnderWay:
    """What an epoch has done so far, so that one that is left in its middle can go on.

    ``losses`` of its steps and ``sampled``, the sum of what was counted in their batches, are on
    the device. Times are in seconds.
    """

    losses: list[Tensor] = field(default_factory=list)
    sampled: Tensor | None = None
    seconds: float = 0.0
    waiting: float = 0.0
    stepping: float = 0.0

    def count(self, counted: Tensor) -> None:
        """Add what was counted in a batch."""
        self.sampled = counted if self.sampled is None else self.sampled + counted

    def state_dict(self) -> dict[str, Any]:
        """As tensors and JSON values; empty before the first step."""
        if not self.losses:
            return {}
        tensors = {"losses": torch.stack(self.losses)}
        if self.sampled is not None:
            tensors["sampled"] = self.sampled
        times = {name: getattr(self, name) for name in ("seconds", "waiting", "stepping")}
        return {"tensors": tensors, "times": times}

    @classmethod
    def from_state_dict(cls, saved: dict[str, Any], device: torch.device) -> EpochUnderWay:
        """The inverse of ``state_dict``."""
        if not saved:
            return cls()
        tensors = {name: tensor.to(device) for name, tensor in saved["tensors"].items()}
        return cls(losses=list(tensors["losses"]), sampled=tensors.get("sampled"), **saved["times"])


@dataclass(kw_only=True)
class LoopState:
    """A network on its way. All that is known of past epochs is in ``reports``.

    ``epochs`` is the length of a run without a budget of time. ``average`` is that of the weights,
    where one is kept: it is validated and handed on in their place.
    """

    network: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    epochs: int
    average: Average | None = None
    reports: list[EpochReport] = field(default_factory=list)
    under_way: EpochUnderWay = field(default_factory=EpochUnderWay)

    @property
    def epoch(self) -> int:
        """The epoch to run next, counted from 0."""
        return len(self.reports)

    @property
    def progress(self) -> float:
        """The share of the schedule that is done."""
        return self.reports[-1].progress if self.reports else 0.0

    @property
    def epochs_left(self) -> int:
        """Epochs to run, by the latest plan."""
        planned = self.reports[-1].epochs if self.reports else None
        return (planned or self.epochs) - self.epoch

    @property
    def smoothed_dice(self) -> float | None:
        """The moving average of the online Dice."""
        return self.reports[-1].smoothed_dice if self.reports else None

    @property
    def in_mid_epoch(self) -> bool:
        """Whether steps have been made since the last report."""
        return bool(self.under_way.losses)

    @property
    def is_best(self) -> bool:
        """Whether the last epoch has the highest moving average so far."""
        if self.in_mid_epoch or not self.reports:
            return False
        *before, last = [report.smoothed_dice for report in self.reports]
        return last is not None and all(past is None or last > past for past in before)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "reports": [asdict(report) for report in self.reports],
            "under_way": self.under_way.state_dict(),
            "average": self.average.state_dict() if self.average else {},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"]:  # empty where no scaler was needed
            self.scaler.load_state_dict(saved["scaler"])
        self.reports = [EpochReport(**report) for report in saved["reports"]]
        device = next(self.network.parameters()).device
        self.under_way = EpochUnderWay.from_state_dict(saved["under_way"], device)
        if self.average:
            self.average.load_state_dict(saved["average"], self.network)

    def extend(self, epochs: int) -> None:
        """Go on to ``epochs`` in all, at the progress that a run of this length would have now.

        Nothing changes when this has been done before.
        """
        self.epochs = epochs
        if self.reports and self.reports[-1].epochs != epochs:
            progress = self.epoch / epochs
            self.reports[-1] = replace(self.reports[-1], epochs=epochs, progress=progress)
