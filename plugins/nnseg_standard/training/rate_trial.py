"""Steps at a learning rate that rises, to see which one to begin with."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, cast

from torch import Tensor

from nnseg_core.learning_rates import has_broken
from nnseg_core.progress import Report
from nnseg_standard.training.state import LoopState

if TYPE_CHECKING:
    from nnseg_standard.data.feed import Batch


def losses_at(
    rates: Sequence[float],
    batches: Iterator[Batch],
    step: Callable[[LoopState, Batch], Tensor],
    state: LoopState,
    report: Report,
) -> list[float]:
    """The loss of a step at each of the rates, one after the other, until it breaks.

    Groups of parameters keep the ratios of their rates. The network is spoilt by it.
    """
    state.network.train()
    highest = max(group["lr"] for group in state.optimizer.param_groups)
    ratios = [group["lr"] / highest for group in state.optimizer.param_groups]
    losses: list[float] = []
    with closing(cast("Generator[Batch]", batches)):
        for done, (rate, batch) in enumerate(zip(rates, batches, strict=True), start=1):
            for group, ratio in zip(state.optimizer.param_groups, ratios, strict=True):
                group["lr"] = rate * ratio
            losses.append(float(step(state, batch)))
            report("rates", done, len(rates))
            if has_broken(losses):
                break
    return losses
