"""How the learning rate falls over a run, and how many epochs a budget of time still allows.

A run is measured by its *progress*, from 0 to 1. The learning rate depends on nothing else, so a
run that is re-planned to fit a budget still takes it to its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

MINIMUM_EPOCHS = 4
"""Even the smallest budget trains this long, so that the learning rate falls in a few steps."""

RECENT = 5
"""Epochs whose median time is taken as the pace; one slow epoch does not change the plan."""


def poly(progress: float) -> float:
    """nnU-Net's fall, almost straight: (1 - progress) to the power of 0.9."""
    return float((1 - progress) ** 0.9)


def cosine(progress: float) -> float:
    """Half a period of a cosine, from 1 to 0."""
    return (1 + math.cos(math.pi * progress)) / 2


def constant(progress: float) -> float:
    """The peak all the time."""
    return 1.0


def steps(progress: float) -> float:
    """A tenth each at 50, 67.5 and 85 percent (nnU-Net version 1's fixed schedule)."""
    return float(0.1 ** sum(progress >= drop for drop in (0.5, 0.675, 0.85)))


def step_poly(progress: float) -> float:
    """The peak to 50 percent, a tenth to 67.5, and ``poly`` from there (its second one)."""
    if progress < 0.675:
        return 1.0 if progress < 0.5 else 0.1
    return 0.1 * poly((progress - 0.675) / (1 - 0.675))


def poly_cycle(progress: float, share: float = 1 / 11, peak: float = 0.1) -> float:
    """``poly``, then up to ``peak`` and down again in the last ``share`` (its cycle at the end).

    In a run of 1100 epochs the first 1000 are those of an ordinary one.
    """
    begin = 1 - share
    if progress < begin:
        return poly(progress / begin)
    return peak * (1 - abs(2 * (progress - begin) / share - 1))


def poly_high_cycle(progress: float) -> float:
    """The same up to the peak itself, in the last 200 of 1200 epochs."""
    return poly_cycle(progress, share=1 / 6, peak=1.0)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "poly": poly,
    "cosine": cosine,
    "constant": constant,
    "steps": steps,
    "step_poly": step_poly,
    "poly_cycle": poly_cycle,
    "poly_high_cycle": poly_high_cycle,
}
"""Shares of the peak learning rate by progress, by the name that a trainer's option gives."""


def warmed_up(schedule: Callable[[float], float], progress: float, warm_up: float) -> float:
    """``schedule``, after a straight rise from a tenth of the peak that lasts to ``warm_up``."""
    if progress < warm_up:
        return 0.1 + 0.9 * progress / warm_up
    return schedule((progress - warm_up) / (1 - warm_up))


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long a training is planned: so many ``epochs`` of ``iterations`` steps each at most.

    ``in_all`` steps are shared by them as equally as whole steps can be.
    """

    epochs: int
    iterations: int
    in_all: int

    @classmethod
    def of(cls, epochs: int, iterations: int, in_all: int | None) -> Length:
        """With ``in_all`` as many epochs as it takes, and no fewer than a schedule needs."""
        if in_all is None:
            return cls(epochs=epochs, iterations=iterations, in_all=epochs * iterations)
        fewest = min(MINIMUM_EPOCHS, in_all)
        epochs = max(math.ceil(in_all / iterations), fewest)
        return cls(epochs=epochs, iterations=math.ceil(in_all / epochs), in_all=in_all)

    def before(self, epoch: int) -> int:
        """Steps of all epochs before ``epoch``; beyond the planned end they go on as before."""
        return epoch * self.in_all // self.epochs

    def steps_in(self, epoch: int) -> int:
        """Steps of one epoch."""
        return self.before(epoch + 1) - self.before(epoch)


def epochs_left(
    epochs: int, planned: int, seconds: Sequence[float], budget: float | None = None
) -> int:
    """Epochs to run after those that took ``seconds``, the last of which was one of ``planned``.

    Without a budget, what is missing to ``epochs``. With a budget (in seconds), what fits into
    its rest at the pace of the recent epochs. If a slowdown has used it up before the planned
    end, one epoch more: it takes the learning rate to its end.
    """
    left = epochs - len(seconds)
    if budget is None or left == 0:
        return left
    if planned == 1:
        return 0
    fitting = int((budget - sum(seconds)) / median(seconds[-RECENT:]))
    return min(left, max(1, fitting, MINIMUM_EPOCHS - len(seconds)))


def advance(progress: float, left: int) -> float:
    """Progress after an epoch that ``left`` more will follow: they share the rest equally."""
    return progress + (1 - progress) / (1 + left)
