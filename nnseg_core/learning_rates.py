"""Which learning rate to begin with: the loss while the rate rises, and what it tells.

The rate grows by the same factor each step, from far too low to far too high (Smith, "Cyclical
learning rates for training neural networks", 2017). Where the loss falls most steeply is a good
place to start from; where it rises again is too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnseg_core.errors import NnsegError
from nnseg_core.writing import whole

MEMORY = 0.9
"""Share of the past in the smoothed loss, as in Gugger's "How do you find a good learning rate"."""

FEWEST = 10
"""Steps below which a curve tells nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCurve:
    """The loss of one step at each rate, in rising order; it may end early, where it broke."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The losses as a moving average that has no bias at its beginning."""
        average, smoothed = 0.0, []
        for step, loss in enumerate(self.losses, start=1):
            average = MEMORY * average + (1 - MEMORY) * loss
            smoothed.append(average / (1 - MEMORY**step))
        return tuple(smoothed)


def ramp(lowest: float, highest: float, steps: int) -> tuple[float, ...]:
    """Rates that grow by the same factor from step to step."""
    factor = math.log(highest / lowest) / (steps - 1)
    return tuple(lowest * math.exp(factor * step) for step in range(steps))


def has_broken(losses: Sequence[float]) -> bool:
    """Whether the loss has risen so far that higher rates tell nothing more.

    So far above its start as it had fallen below it, or it is no number at all.
    """
    if not math.isfinite(losses[-1]):
        return True
    smoothed = RateCurve(rates=(), losses=tuple(losses)).smoothed
    fallen = smoothed[0] - min(smoothed)
    return len(losses) > FEWEST and fallen > 0 and smoothed[-1] > smoothed[0] + fallen


def suggest(curve: RateCurve) -> float:
    """The rate at which the smoothed loss falls most steeply, before its lowest point.

    Raises ``NnsegError`` where it does not fall.
    """
    smoothed = curve.smoothed
    lowest = min(range(len(smoothed)), key=lambda step: smoothed[step])
    falls = {step: smoothed[step + 1] - smoothed[step - 1] for step in range(1, lowest) if step > 1}
    if not falls or min(falls.values()) >= 0:
        raise NnsegError(
            "the loss fell at none of these learning rates, so none can be suggested. Try "
            "others with --lowest and --highest, or more steps with --steps."
        )
    return curve.rates[min(falls, key=lambda step: falls[step])]


def draw(curve: RateCurve, suggestion: float, title: str, path: Path) -> None:
    """Draw the losses over the rates, with the suggestion marked, as a PNG."""
    from matplotlib.figure import Figure  # not pyplot, which may want a screen

    rates = curve.rates[: len(curve.losses)]
    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=15)
    axes.plot(rates, curve.losses, ".", color="#8b939c", label="loss of a step")
    axes.plot(rates, curve.smoothed, color="#4a86c5", linewidth=3, label="moving average")
    axes.axvline(suggestion, color="#e58a2e", linewidth=2, label=f"suggested: {suggestion:.2g}")
    low, high = min(curve.smoothed), max(curve.smoothed)
    margin = 0.3 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", fontsize=13)
    axes.set_ylabel("training loss", fontsize=13)
    axes.grid(color="#e4e7ea", which="both")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=12)
    with whole(path) as beside:
        figure.savefig(beside, format="png")
