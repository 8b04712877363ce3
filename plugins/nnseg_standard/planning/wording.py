"""Numbers as people read them, for the reasons of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def by_axis(values: Iterable[float], axes: Sequence[str], unit: str) -> str:
    """``z 5, y 0.8, x 0.8 mm``."""
    pairs = zip(axes, values, strict=True)
    return ", ".join(f"{axis} {number(value)}" for axis, value in pairs) + f" {unit}"


def times(values: Iterable[float]) -> str:
    """``128 x 128 x 96``."""
    return " x ".join(number(value) for value in values)


def number(value: float) -> str:
    """Four digits of it; whole numbers in full."""
    return f"{value:.0f}" if value == round(value) else f"{value:.4g}"


def percent(share: float) -> str:
    """``3 %``, or ``0.4 %`` where that would be 0."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def gigabytes(value: float) -> str:
    """``7.86 GB``, ``99 MB``: as well as memory can be foretold."""
    if value < 0.995:
        return f"{1000 * value:.3g} MB"
    return f"{value:.3g} GB" if value < 100 else f"{value:.0f} GB"


def listed(words: Sequence[str]) -> str:
    """``z, y and x``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def span(first: int, last: int) -> str:
    """``stage 1``, ``stages 1 and 2``, ``stages 1 to 4``."""
    if first == last:
        return f"stage {first}"
    return f"stages {first} {'and' if last == first + 1 else 'to'} {last}"


def often(count: int) -> str:
    """``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
