"""Worker processes that make batches, for augmentation whose threads would wait for each other.

Only pipes connect them: no fork, which torch's threads do not survive, and no semaphores or shared
memory, which need ``/dev/shm``. The workers of batchgenerators (``MultiThreadedAugmenter``) need
both on Linux, and print what they die of where nobody can catch it; so its transforms run in these.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

import torch

from nnseg_core.errors import NnsegError, PlanError
from nnseg_core.stopping import SIGNALS
from nnseg_standard.data.feed import CPU, Batch, PatchFeed, upload

PATIENCE = 600.0
"""Seconds without a batch after which a worker counts as stuck; a large one takes some."""

FAREWELL = 10.0
"""Seconds that a worker has to end by itself."""

INSTEAD = "make batches in this process: --set trainer.feeder=threads"


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that makes a batch of each number it is sent."""

    process: BaseProcess
    connection: Connection

    def batch(self, index: int) -> Batch:
        """The batch of that number.

        Raises ``NnsegError`` when the process has died or does nothing, and what it failed with.
        """
        try:
            self.connection.send(index)
            if not wait([self.connection, self.process.sentinel], PATIENCE):
                raise NnsegError(
                    f"a worker process has not made its batch for {PATIENCE:.0f} s. See whether "
                    f"the preprocessed cases can still be read, or {INSTEAD}"
                )
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise NnsegError(self._obituary()) from None
        if isinstance(answer, Exception):
            raise answer
        image, label = map(torch.from_numpy, answer)
        return Batch(image=image, label=label)

    def _obituary(self) -> str:
        self.process.join(FAREWELL)
        code = self.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
        return (
            f"a worker process that makes batches ended {how}. Most often the machine ran out of "
            f"memory: try fewer workers, or {INSTEAD}"
        )


class ProcessFeed:
    """Makes the batches of a feed in other processes; their bits are the same.

    It is for as many threads as there are workers: each waits for one of them.
    """

    def __init__(self, workers: list[Worker]) -> None:
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in workers:
            self._idle.put(worker)

    def batch(self, index: int, device: torch.device = CPU) -> Batch:
        """The batch of that number, augmented on the CPU and copied to ``device``."""
        worker = self._idle.get()
        try:
            made = worker.batch(index)
        finally:
            self._idle.put(worker)
        return Batch(image=upload(made.image, device), label=upload(made.label, device))


@contextmanager
def in_processes(feed: PatchFeed, workers: int) -> Generator[ProcessFeed]:
    """The batches of ``feed``, made by ``workers`` processes until the block ends.

    Raises ``PlanError`` when the augmentation cannot be sent to a process.
    """
    try:
        pickle.dumps(feed)
    except Exception as error:  # whatever a plugin's augmentation holds
        raise PlanError(
            f"this augmentation cannot be sent to worker processes: {error}. So {INSTEAD}"
        ) from None
    with ExitStack() as stack:
        yield ProcessFeed([stack.enter_context(_worker(feed)) for _ in range(workers)])


@contextmanager
def _worker(feed: PatchFeed) -> Generator[Worker]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, feed), name="nnseg-feed", daemon=True)
    with ours:
        with theirs:
            process.start()
        try:
            yield Worker(process, ours)
        finally:
            ours.close()  # which ends it
            process.join(FAREWELL)
            if process.is_alive():
                process.kill()
                process.join()


def _run(connection: Connection, feed: PatchFeed) -> None:
    for name in ("SIGINT", *SIGNALS):  # the other process hears them too, and ends us
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    serve(connection, feed)


def serve(connection: Connection, feed: PatchFeed) -> None:
    """Make batches until the other end is closed, be it by the death of that process."""
    try:
        while True:
            connection.send(_answer(feed, connection.recv()))
    except (EOFError, OSError):
        return


def _answer(feed: PatchFeed, index: int) -> Any:
    """Arrays, because tensors would travel through shared memory; or the error."""
    try:
        made = feed.batch(index)
    except NnsegError as error:
        return error
    except Exception:
        return RuntimeError(f"a worker process failed:\n{traceback.format_exc()}")
    return made.image.numpy(), made.label.numpy()
