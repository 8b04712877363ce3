"""Tables, notes and progress: bars in a terminal, plain lines elsewhere. Results go to stdout,
everything said on the way to stderr.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnseg_core.progress import Report, silent
from nnseg_core.team import here, speaks

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_EVERY = 30.0
"""Seconds between progress lines where there is no terminal."""

PATIENCE = 2.0
"""Seconds after which a step whose parts have no name is worth a bar."""

WIDEST = 10_000
"""Columns that no table needs."""


def note(message: str) -> None:
    """Say something on the way."""
    _errors().print(message, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def log_shown() -> Generator[None]:
    """Show what nnseg and its plugins log, INFO included; of other packages only warnings."""
    shown, root = _Notes(), logging.getLogger()
    before = root.level
    root.addHandler(shown)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(shown)


class _Notes(logging.Handler):
    """A note for every record. Plugins for nnseg are named so, and so are their loggers."""

    def emit(self, record: logging.LogRecord) -> None:
        if not speaks():
            if record.levelno >= logging.WARNING:
                print(f"[rank {here().ranks.rank}] {self.format(record)}", file=sys.stderr)
        elif record.name.startswith("nnseg") or record.levelno >= logging.WARNING:
            note(self.format(record))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    stderr: bool = False,
) -> None:
    """Print a table; in a pipe or a file no cell is cut short."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(stderr=stderr, quiet=not speaks())
    headed = (Column(name, overflow="fold") for name in columns)  # a long path is not cut
    drawn = Table(*headed, box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    if not console.is_terminal:
        needed = Console(width=WIDEST).measure(drawn).maximum
        console = Console(width=max(console.width, needed), stderr=stderr, quiet=not speaks())
    console.print(drawn)


def reporter() -> Report:
    """Shows how far each step has come, with the case just done and the time left."""
    if not speaks():
        return silent
    return _Bars() if _errors().is_terminal else _Lines()


class _Bars:
    """A rich progress bar per step, on screen while the step runs.

    A step whose parts have no name, such as the tiles of a case, gets one if it takes a while.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}

    def __call__(self, step: str, done: int, total: int, case: str = "") -> None:
        started = self._started.setdefault(step, time.monotonic())
        if case or time.monotonic() - started > PATIENCE:
            self._show(step, done, total, case)
        if done >= total:
            del self._started[step]
            self._end(step, keep=bool(case))

    def _show(self, step: str, done: int, total: int, case: str) -> None:
        if self._progress is None:
            self._progress = _new_progress()
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=total, case=case)
        self._progress.update(self._tasks[step], completed=done, total=total, case=case)

    def _end(self, step: str, *, keep: bool) -> None:
        """Leave a bar on screen or remove it, and let the terminal go after the last one."""
        if self._progress is None or step not in self._tasks:
            return
        task = self._tasks.pop(step)
        if not keep:
            self._progress.remove_task(task)
        if not self._tasks:
            self._progress.live.transient = not self._progress.tasks
            self._progress.stop()
            self._progress = None


class _Lines:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._last = 0.0

    def __call__(self, step: str, done: int, total: int, case: str = "") -> None:
        now = time.monotonic()
        if step not in self._started:
            self._started[step] = self._last = now
        started = self._started[step]
        ended = done >= total
        if ended:
            del self._started[step]
        if not (ended and case) and (ended or now - self._last < LINE_EVERY):
            return
        self._last = now
        name = f" ({case})" if case else ""
        left = "" if ended else f", {(now - started) / done * (total - done):.0f} s left"
        note(f"{step}: {done}/{total}{name}{left}")


def _new_progress() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    progress = Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[case]}"),
        console=_errors(),
    )
    progress.start()
    atexit.register(progress.stop)  # an error on the way must not leave a hidden cursor
    return progress


def _errors() -> Console:
    from rich.console import Console

    return Console(stderr=True, quiet=not speaks())
