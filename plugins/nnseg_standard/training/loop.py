"""Epochs: batches to learn from, batches to validate on, a report. Nothing here knows a device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nnseg_core.contracts import Callback
from nnseg_core.errors import NnsegError
from nnseg_core.training import EpochReport
from nnseg_standard.training import online_dice
from nnseg_standard.training.schedule import advance, epochs_left
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.streams import Stream

if TYPE_CHECKING:
    from nnseg_standard.data.feed import Batch


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What stays the same from epoch to epoch. ``budget`` is in seconds, as ``clock`` is."""

    training: Stream
    validation: Stream
    train_step: Callable[[LoopState, Batch], Tensor]
    validation_step: Callable[[LoopState, Batch], tuple[Tensor, Tensor]]
    learning_rate_at: Callable[[float], float]
    label_names: tuple[str, ...]
    budget: float | None = None
    seed: int = 0
    clock: Callable[[], float] = time.perf_counter


def run(
    loop: Loop,
    state: LoopState,
    save: Callable[[LoopState], None],
    callbacks: Sequence[Callback] = (),
) -> None:
    """Run the epochs that are left. After each, ``save`` comes first, then the callbacks."""
    start = loop.clock()
    while state.epochs_left:
        report = run_epoch(loop, state, start)
        start += report.seconds  # so that saving and watching count to the epoch that follows
        state.reports.append(report)
        save(state)
        for callback in callbacks:
            callback.on_epoch_end(report)


def run_epoch(loop: Loop, state: LoopState, start: float) -> EpochReport:
    """Train and validate once. ``start`` is when the epoch before it ended.

    Raises ``NnsegError`` when the loss is not a number any more.
    """
    learning_rate = loop.learning_rate_at(state.progress)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    begun = loop.clock()
    train_loss = train(loop, state)
    trained = loop.clock()
    validation_loss, dice = validate(loop, state)
    ended = loop.clock()
    require_finite(state.epoch, train_loss, validation_loss)
    seconds = [*(report.seconds for report in state.reports), ended - start]
    left = epochs_left(state.epochs, state.epochs_left, seconds, loop.budget)
    mean_dice = online_dice.mean(dice)
    return EpochReport(
        epoch=state.epoch,
        epochs=state.epoch + 1 + left,
        progress=advance(state.progress, left),
        learning_rate=learning_rate,
        train_loss=train_loss,
        validation_loss=validation_loss,
        dice=dict(zip(loop.label_names, dice, strict=True)),
        mean_dice=mean_dice,
        smoothed_dice=online_dice.smooth(state.smoothed_dice, mean_dice),
        seconds=ended - start,
        waiting=loop.training.waited + loop.validation.waited,
        stepping=trained - begun - loop.training.waited,
        validating=ended - trained - loop.validation.waited,
    )


def train(loop: Loop, state: LoopState) -> float:
    """The mean loss over an epoch of steps, read from the device once."""
    state.network.train()
    seed_dropout(loop.seed, state.epoch)
    losses = [loop.train_step(state, batch) for batch in loop.training.epoch()]
    return mean_loss(losses, state.scaler.is_enabled())


def validate(loop: Loop, state: LoopState) -> tuple[float | None, list[float | None]]:
    """The mean loss and the Dice per label, None where there is nothing to validate on."""
    state.network.eval()
    steps = [loop.validation_step(state, batch) for batch in loop.validation.epoch()]
    if not steps:
        return None, [None] * len(loop.label_names)
    losses, counts = zip(*steps, strict=True)
    dice = online_dice.dice(torch.stack(counts).sum(dim=0))
    return mean_loss(losses, state.scaler.is_enabled()), dice


def mean_loss(losses: Sequence[Tensor], scaled: bool) -> float:
    """The mean; with a gradient scaler, which skips steps that overflow, of the finite ones."""
    stacked = torch.stack(list(losses))
    return float(stacked[stacked.isfinite()].mean() if scaled else stacked.mean())


def require_finite(epoch: int, train_loss: float, validation_loss: float | None) -> None:
    """Stop a training that has broken, before its weights replace those of a checkpoint."""
    if math.isfinite(train_loss) and (validation_loss is None or math.isfinite(validation_loss)):
        return
    raise NnsegError(
        f"the loss is not a number any more in epoch {epoch + 1} (training {train_loss}, "
        f"validation {validation_loss}). Try a lower learning rate, such as "
        "--set trainer.learning_rate=0.001, or --set trainer.precision=fp32. "
        "Checkpoints of earlier epochs are kept."
    )


def seed_dropout(seed: int, epoch: int) -> None:
    """Seed torch's global generator, the only one that dropout layers know, for an epoch.

    So a resumed training drops what the uninterrupted one would have dropped.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
