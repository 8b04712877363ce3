"""Work on many cases at once. The only worker processes in the project.

Small jobs are done in this process, with the same result: a worker takes a second to start. A case
that fails, or takes its worker with it, does not stop the others.
"""

from __future__ import annotations

import faulthandler
import pickle
import queue
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from nnseg_core import machine
from nnseg_core.desk import Desk, at
from nnseg_core.errors import CasesFailed, NnsegError
from nnseg_core.outcome import MemoryRanOut, Outcome, attempt, name, values
from nnseg_core.worker import Worker

__all__ = ["Crew", "Outcome", "default_workers", "map_cases", "values"]

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 900.0
"""Seconds without any sign of progress after which work is given up."""

WORTH_WORKERS = 4.0
"""Seconds of work from which workers are started: each needs 1.2 s of a processor to begin
(measured), so that two of them gain from 2.4 s on, if nothing else runs."""


def default_workers() -> int:
    """One per processor that this process may use, at most 8 (memory grows with each)."""
    return min(8, machine.usable_cores())


def map_cases(
    function: Callable[[T], R], items: Sequence[T], workers: int
) -> Iterator[Outcome[T, R]]:
    """Apply ``function`` to each item with a crew of its own; see ``Crew.map``."""
    with Crew() as crew:
        yield from crew.map(function, items, workers if len(items) > 1 else 0)


class Crew:
    """Worker processes that stay for the next step, each with what it kept of its cases.

    Nothing is started before it is needed. ``patience`` is in seconds; ``room`` bytes may be kept
    by all of them together, or by this process where it works alone.
    """

    def __init__(self, patience: float = PATIENCE, room: int = 0) -> None:
        self.patience = patience
        self.room = room
        self.desk = Desk()
        self._workers: list[Worker] = []
        self._events: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
        self._known_by: dict[str, Worker] = {}
        weakref.finalize(self, _end_all, self._workers)

    @property
    def started(self) -> bool:
        """Whether there are worker processes."""
        return bool(self._workers)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def starts(self, workers: int, seconds: float) -> bool:
        """Whether ``map`` would start workers for a job that takes ``seconds``."""
        return workers > 0 and seconds >= WORTH_WORKERS and not self._workers

    def close(self) -> None:
        """Let the workers and everything that was kept go."""
        _end_all(self._workers)
        self._known_by.clear()
        self.desk = Desk()

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        workers: int,
        seconds: float = float("inf"),
    ) -> Iterator[Outcome[T, R]]:
        """Apply ``function`` to each item and yield outcomes as they are done.

        Both must be picklable: top-level functions, frozen records. With 0 ``workers``, or where
        the whole takes few ``seconds``, it is done in this process.

        A case whose worker dies, or runs out of memory, is tried once more with nothing beside it.
        Raises ``CasesFailed`` when nothing advances for as long as ``patience``.
        """
        small = seconds < WORTH_WORKERS and not self.started
        packed = None if workers == 0 or small else _packed(function, items)
        if packed is None:
            yield from self._map_here(function, items, give_up=workers > 0)
            return
        waiting, alone = deque(items), deque[T]()
        tried: set[int] = set()
        try:
            while waiting or alone or self._busy():
                self._assign(packed, waiting, alone, workers)
                worker, message = self._next_event()
                outcome = self._understand(worker, message)
                if outcome is None:
                    continue
                if isinstance(outcome.error, MemoryRanOut) and id(outcome.item) not in tried:
                    tried.add(id(outcome.item))
                    alone.append(outcome.item)
                else:
                    yield outcome
        finally:
            for worker in self._busy():  # an error on the way, or an interrupt
                self._dismiss(worker)

    def _map_here(
        self, function: Callable[[T], R], items: Sequence[T], give_up: bool
    ) -> Iterator[Outcome[T, R]]:
        self.desk.room = self.room
        for item in items:
            with _watched(self.patience, give_up), at(self.desk):
                outcome = attempt(function, item, self.desk)
            yield outcome

    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.item is not None]

    def _assign(self, function: bytes, waiting: deque[T], alone: deque[T], workers: int) -> None:
        """Give every idle worker an item; those to be done alone come last, one by one."""
        if not waiting:
            if alone and not self._busy():
                for worker in list(self._workers):  # with all that they have kept
                    self._dismiss(worker)
                self._give(self._start(room=0), function, alone.popleft())
            return
        while waiting and len(self._busy()) < workers:
            idle = [worker for worker in self._workers if worker.item is None]
            if not idle:
                idle = [self._start(self.room // workers)]
            for worker in idle:
                if waiting and len(self._busy()) < workers:
                    self._give(worker, function, self._best(worker, waiting))

    def _best(self, worker: Worker, waiting: deque[T]) -> T:
        """The next item that this worker has kept something of, else one that no other has."""
        known = next((item for item in waiting if self._known_by.get(name(item)) is worker), None)
        new = next((item for item in waiting if name(item) not in self._known_by), None)
        item = known if known is not None else new if new is not None else waiting[0]
        waiting.remove(item)
        return item

    def _start(self, room: int) -> Worker:
        worker = Worker(room, self._events)
        self._workers.append(worker)
        return worker

    def _give(self, worker: Worker, function: bytes, item: Any) -> None:
        self._known_by[name(item)] = worker
        worker.give(function, item, self.patience)

    def _next_event(self) -> tuple[Worker, Any]:
        """The next message of a worker that has not been dismissed."""
        while True:
            try:
                worker, message = self._events.get(timeout=self.patience)
            except queue.Empty:
                raise self._stalled() from None
            if worker in self._workers:
                return worker, message

    def _understand(self, worker: Worker, message: Any) -> Outcome[Any, Any] | None:
        """What a message says has become of the worker's item, if that."""
        if message is None:
            return self._died(worker)
        if message == "ready":
            worker.ready = True
            return None
        kind, content = message
        if kind == "stage":
            worker.stage = content
            return None
        item, worker.item = worker.item, None
        return Outcome(item, content.value, content.error)

    def _died(self, worker: Worker) -> Outcome[Any, Any] | None:
        item, (how, used) = worker.item, worker.ending()
        self._dismiss(worker)
        if not worker.ready:
            raise NnsegError(
                f"worker processes cannot be started: the first was {how}. Work in this process "
                "instead, with --workers 0."
            )
        if item is None:
            return None
        return Outcome(item, error=_death(item, worker.stage, how, used))

    def _dismiss(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._known_by = {k: owner for k, owner in self._known_by.items() if owner is not worker}
        worker.end()

    def _stalled(self) -> CasesFailed:
        """Workers print their stacks by themselves at that moment: let them."""
        time.sleep(1)
        under_way = ", ".join(f"case {name(w.item)} ({w.stage})" for w in self._busy())
        return CasesFailed(
            f"nothing has advanced for {_duration(self.patience)}, so the work was ended. Under "
            f"way: {under_way}. Where each was stands above. If a disk or network drive was away, "
            "run the same command again: what was done is kept."
        )


def _packed(function: Callable[[T], R], items: Sequence[T]) -> bytes | None:
    """The function for a worker; None for what only this process knows.

    A worker does not run the main script, so that it cannot find what that defines.
    """
    try:
        packed = pickle.dumps(function)
        known_here = packed + pickle.dumps(items[:1])
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return None if b"__main__" in known_here else packed


def _death(item: object, stage: str, how: str, used: int | None) -> MemoryRanOut:
    """Nearly always it is memory: what the system does to the largest process."""
    memory = machine.free_memory()
    peak = "" if used is None else f", having used up to {machine.in_words(used)}"
    free = "" if memory is None else f"; {machine.in_words(memory.free)} are free now"
    return MemoryRanOut(
        f"case {name(item)}: its worker process was {how} while {stage}{peak}{free}. Most often "
        "that is lack of memory: close other programs, or give the job more."
    )


@contextmanager
def _watched(patience: float, give_up: bool) -> Iterator[None]:
    """Print the stacks when a case takes longer than ``patience``; then end, if told to."""
    try:
        faulthandler.dump_traceback_later(patience, exit=give_up, file=sys.stderr)
    except (AttributeError, OSError, ValueError, RuntimeError):
        yield  # the stderr of a notebook is no file
        return
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} s"


def _end_all(workers: list[Worker]) -> None:
    while workers:
        workers.pop().end()
