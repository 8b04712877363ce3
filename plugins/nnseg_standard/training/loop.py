"""Epochs: batches to learn from, batches to validate on, a report. Nothing here knows a device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nnseg_core.contracts import Callback
from nnseg_core.errors import NnsegError, Stopped
from nnseg_core.stopping import Stop, never
from nnseg_core.team import current
from nnseg_core.training import EpochReport
from nnseg_standard.training import online_dice
from nnseg_standard.training.distributed import agreed, summed
from nnseg_standard.training.groups import set_learning_rates
from nnseg_standard.training.schedule import advance, epochs_left
from nnseg_standard.training.state import EpochUnderWay, LoopState
from nnseg_standard.training.streams import Stream

if TYPE_CHECKING:
    from nnseg_standard.data.feed import Batch
    from nnseg_standard.training.label_counts import LabelCounts


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What stays the same from epoch to epoch. ``budget`` is in seconds, as ``clock`` is.

    ``steps_in`` an epoch are the training's size unless it says otherwise. ``should_stop`` is asked
    after each step, in all processes of a training at the same one; they have to be told the same.
    """

    training: Stream
    validation: Stream
    train_step: Callable[[LoopState, Batch], Tensor]
    validation_step: Callable[[LoopState, Batch], tuple[Tensor, Tensor]]
    learning_rate_at: Callable[[float], float]
    label_names: tuple[str, ...]
    steps_in: Callable[[int], int] | None = None
    label_counts: LabelCounts | None = None
    should_stop: Stop = never
    budget: float | None = None
    seed: int = 0
    clock: Callable[[], float] = time.perf_counter


def run(
    loop: Loop,
    state: LoopState,
    save: Callable[[LoopState], None],
    callbacks: Sequence[Callback] = (),
) -> None:
    """Run the epochs that are left. After each, ``save`` comes first, then the callbacks.

    Raises ``Stopped`` when that is asked for, with the steps of the epoch under way saved too.
    """
    start = loop.clock() - state.under_way.seconds
    while state.epochs_left:
        try:
            report = agreed(run_epoch(loop, state, start))
        except Stopped:
            state.under_way.seconds = loop.clock() - start
            require_finite(state, mean_loss(state.under_way.losses, is_scaled(state)), None)
            save(state)
            raise
        start += report.seconds  # so that saving and watching count to the epoch that follows
        state.reports.append(report)
        state.under_way = EpochUnderWay()
        save(state)
        for callback in callbacks:
            callback.on_epoch_end(report)


def run_epoch(loop: Loop, state: LoopState, start: float) -> EpochReport:
    """Train and validate once. ``start`` is when the epoch before it ended.

    Raises ``NnsegError`` when the loss is not a number any more, and ``Stopped``.
    """
    learning_rate = loop.learning_rate_at(state.progress)
    set_learning_rates(state.optimizer, learning_rate, state.progress)
    scale = loss_scale(state)
    train_loss = train(loop, state)
    trained = loop.clock()
    with state.average.in_place(state.network) if state.average else nullcontext():
        validation_loss, counts = validate(loop, state)
    dice = [None] * len(loop.label_names) if counts is None else online_dice.dice(counts)
    ended = loop.clock()
    require_finite(state, train_loss, validation_loss)
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
        waiting=state.under_way.waiting + loop.validation.waited,
        stepping=state.under_way.stepping,
        validating=ended - trained - loop.validation.waited,
        sampled=shares_sampled(loop, state),
        **voxels(loop, counts),
        skipped_steps=skipped_steps(scale, loss_scale(state)),
    )


def train(loop: Loop, state: LoopState) -> float:
    """The mean loss over an epoch of steps, those before a stop included, read once."""
    state.network.train()
    under_way, begun = state.under_way, loop.clock()
    size = loop.steps_in(state.epoch) if loop.steps_in else None
    try:
        for batch in loop.training.epoch(len(under_way.losses), size):
            seed_dropout(loop.seed, state.epoch, len(under_way.losses))
            under_way.losses.append(loop.train_step(state, batch))
            if state.average:
                state.average.update(state.network)
            if loop.label_counts:
                under_way.count(loop.label_counts(batch.label))
            require_going_on(loop, state)
    finally:
        under_way.waiting += loop.training.waited
        under_way.stepping += loop.clock() - begun - loop.training.waited
    return mean_loss(under_way.losses, is_scaled(state))


def validate(loop: Loop, state: LoopState) -> tuple[float | None, Tensor | None]:
    """The mean loss and the counts of all patches, None where there is nothing to validate on."""
    state.network.eval()
    steps = []
    for batch in loop.validation.epoch():
        require_going_on(loop, state)
        steps.append(loop.validation_step(state, batch))
    if not steps:
        return None, None
    losses, counts = zip(*steps, strict=True)
    joint = summed(torch.stack(losses))
    return mean_loss(joint.unbind(), is_scaled(state)), summed(torch.stack(counts).sum(dim=0))


def require_going_on(loop: Loop, state: LoopState) -> None:
    """Raise ``Stopped`` when somebody asks for it."""
    if reason := loop.should_stop():
        raise Stopped(
            f"stopped by {reason} after step {len(state.under_way.losses)} of epoch "
            f"{state.epoch + 1}. Nothing is lost: the same command goes on from there."
        )


def is_scaled(state: LoopState) -> bool:
    """Whether a gradient scaler is at work."""
    return bool(state.scaler.is_enabled())


def loss_scale(state: LoopState) -> float | None:
    """What the loss is multiplied by in float16; None in other precisions."""
    return state.scaler.get_scale() if is_scaled(state) else None


def skipped_steps(before: float | None, after: float | None) -> int:
    """At least so many steps overflowed: each of them halves the scale."""
    return max(0, round(math.log2(before / after))) if before and after else 0


def shares_sampled(loop: Loop, state: LoopState) -> dict[str, float]:
    """The share of the epoch's training patches in which each label occurs."""
    counted = state.under_way.sampled
    if not loop.label_counts or counted is None:
        return {}
    return loop.label_counts.shares(summed(counted))


def voxels(loop: Loop, counts: Tensor | None) -> dict[str, dict[str, int]]:
    """Voxels of each label in the validation patches, and predicted ones, by field of a report."""
    if counts is None:
        return {}
    hits, false_alarms, misses = counts.cpu()
    sizes = {"reference_voxels": hits + misses, "predicted_voxels": hits + false_alarms}
    return {
        field: dict(zip(loop.label_names, found.long().tolist(), strict=True))
        for field, found in sizes.items()
    }


def mean_loss(losses: Sequence[Tensor], scaled: bool) -> float:
    """The mean; with a gradient scaler, which skips steps that overflow, of the finite ones."""
    stacked = torch.stack(list(losses))
    return float(stacked[stacked.isfinite()].mean() if scaled else stacked.mean())


def require_finite(state: LoopState, train_loss: float, validation_loss: float | None) -> None:
    """Stop a training that has broken, before its weights replace those of a checkpoint."""
    if math.isfinite(train_loss) and (validation_loss is None or math.isfinite(validation_loss)):
        return
    # float16 ends at 65504; anything else that breaks is mostly a step that was too long.
    advice = (
        "Numbers that are too large for float16 do this: go on with --set trainer.precision=bf16, "
        "or fp32 where the device has no bfloat16."
        if is_scaled(state)
        else "Most often the learning rate is too high: look for one with nnseg find-lr, or begin "
        "anew with --set trainer.learning_rate=0.001 --restart. Or go on with "
        "--set trainer.precision=fp32."
    )
    raise NnsegError(
        f"the loss is not a number any more in epoch {state.epoch + 1} (training {train_loss}, "
        f"validation {validation_loss}). {advice} Checkpoints of earlier epochs are kept."
    )


def seed_dropout(seed: int, epoch: int, step: int) -> None:
    """Seed torch's global generator, the only one that dropout layers know, for a step.

    So a resumed training drops what the uninterrupted one would have dropped. Each rank drops for
    itself.
    """
    drawn = (seed, epoch, step, current().ranks.rank)
    torch.manual_seed(int(np.random.SeedSequence(drawn).generate_state(1)[0]))
