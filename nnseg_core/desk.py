"""Where work on a case is done: what it tells of itself there, and what it leaves for later.

The same function may run in this process or in a worker process. Either gives it a desk: a shelf
of things that a later step on the same case can take instead of reading files again, and a way to
tell which stage the case is in, so that whoever waits can name it when something goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Desk:
    """``room`` is how many bytes the shelf may hold; without room nothing is kept."""

    room: int = 0
    tell: Callable[[str], None] = lambda stage: None
    stage: str = ""
    shelf: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def put(self, key: str, value: object, size: int) -> None:
        """Keep ``value`` if there is room."""
        if size + sum(kept for _, kept in self.shelf.values()) <= self.room:
            self.shelf[key] = value, size


_desk: ContextVar[Desk | None] = ContextVar("desk", default=None)


@contextmanager
def at(desk: Desk) -> Iterator[None]:
    """Let the functions below mean ``desk``."""
    token = _desk.set(desk)
    try:
        yield
    finally:
        _desk.reset(token)


def stage(name: str) -> None:
    """Tell what is being done to the case, as in "while reading its files"."""
    desk = _desk.get()
    if desk is not None:
        desk.stage = name
        desk.tell(name)


def keep(key: str, value: object, size: int) -> None:
    """Leave ``value`` of ``size`` bytes for a later step, if there is room."""
    desk = _desk.get()
    if desk is not None:
        desk.put(key, value, size)


def take(key: str) -> Any | None:
    """What was kept under ``key``, which is kept no longer; None where nothing was."""
    desk = _desk.get()
    return None if desk is None else desk.shelf.pop(key, (None, 0))[0]
