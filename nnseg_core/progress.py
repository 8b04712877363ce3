"""How far a step has come, for whoever watches."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Told after each part of a step that is done."""

    def __call__(self, step: str, done: int, total: int, case: str = "") -> None:
        """``case`` is what has just been finished; without a name it deserves no line in a log."""
        ...


def silent(step: str, done: int, total: int, case: str = "") -> None:
    """Report to nobody."""


def unheard(message: str) -> None:
    """A note to nobody."""
