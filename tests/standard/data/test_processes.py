"""Workers are real processes here; each imports PyTorch, which takes seconds. So they are few."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnseg_core.errors import NnsegError, PlanError
from nnseg_core.processes import began
from nnseg_standard.augmentation.batchgenerators import BatchgeneratorsAugmentation
from nnseg_standard.augmentation.recipe import StandardAugmentation
from nnseg_standard.data import processes
from nnseg_standard.data.feed import PatchFeed, prefetched
from nnseg_standard.data.processes import Worker, in_processes, serve

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Noise:
    """Cases that are made up as they are asked for, so that a worker can be sent them.

    A case can be named after what shall go wrong with it.
    """

    def shape(self, identifier):
        if identifier == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if identifier == "is missing":
            raise NnsegError("case 'is missing' is not there")
        if identifier == "breaks":
            raise IndexError("a bug")
        return (20, 20, 20)

    def foreground(self, identifier):
        return {"1": np.array([[9, 9, 9]], np.int32)}

    def patch(self, identifier, box):
        random = np.random.default_rng([abs(start) for start in box.start])
        label = random.integers(-1, 3, box.shape, dtype=np.int16)
        return random.standard_normal((1, *box.shape), dtype=np.float32), label


@pytest.fixture
def feed():
    return PatchFeed(
        store=Noise(),
        identifiers=("anna", "bert"),
        patch_size=(10, 12, 14),
        batch_size=2,
        channels=1,
        augmentation=BatchgeneratorsAugmentation(rotation_probability=0.5, blur_probability=0.5),
        seed=1,
    )


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    assert not multiprocessing.active_children()


def same(first, second):
    return torch.equal(first.image, second.image) and torch.equal(first.label, second.label)


@contextmanager
def in_thread(feed):
    """A worker that is a thread, which starts at once and cannot die."""
    ours, theirs = multiprocessing.Pipe()
    thread = threading.Thread(target=serve, args=(theirs, feed))
    thread.start()
    with ours, immortal() as process:
        yield Worker(process, ours)
    thread.join(10)
    assert not thread.is_alive()


@contextmanager
def immortal():
    silent, other = multiprocessing.Pipe()
    with silent, other:
        yield SimpleNamespace(sentinel=silent)


def test_processes_make_the_same_batches_in_order_without_shared_memory(feed, monkeypatch):
    """Neither a semaphore nor a tensor is in ``/dev/shm``, which containers may lack."""
    numbers = [3, 1, 4, 0, 5, 9, 2, 6]

    def refuse(*_, **__):
        raise OSError("no /dev/shm")

    monkeypatch.setattr("_multiprocessing.SemLock", refuse)
    with in_processes(feed, 2) as source:
        made = list(prefetched(source, numbers, CPU, workers=2))

    assert all(same(feed.batch(n), batch) for n, batch in zip(numbers, made, strict=True))
    assert not any(batch.image.is_shared() for batch in made)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_dead_worker_is_reported(feed):
    with (
        in_processes(replace(feed, identifiers=("dies",)), 1) as source,
        pytest.raises(NnsegError) as caught,
    ):
        list(prefetched(source, range(3), CPU, workers=1))

    assert str(caught.value) == (
        "a worker process that makes batches ended by signal 9. Most often the machine ran out of "
        "memory: try fewer workers, or make batches in this process: --set trainer.feeder=threads"
    )


def test_what_is_wrong_with_a_case_is_said_as_without_processes(feed):
    with (
        in_thread(replace(feed, identifiers=("is missing",))) as worker,
        pytest.raises(NnsegError, match="case 'is missing' is not there") as caught,
    ):
        worker.batch(0)

    assert caught.value.__notes__ == ["This happened while reading a patch of case 'is missing'."]


def test_a_bug_comes_with_the_worker_s_traceback_and_the_worker_goes_on(feed):
    with in_thread(replace(feed, identifiers=("breaks",))) as worker:
        for number in range(2):
            with pytest.raises(RuntimeError, match=r"(?s)Traceback.*IndexError: a bug"):
                worker.batch(number)


def test_a_worker_that_does_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.01)
    ours, theirs = multiprocessing.Pipe()

    with (
        ours,
        theirs,
        immortal() as process,
        pytest.raises(NnsegError, match="has not made its batch for 0 s"),
    ):
        Worker(process, ours).batch(0)


def test_an_augmentation_that_no_process_can_get_is_refused(feed):
    class Local(StandardAugmentation):
        pass

    with (
        pytest.raises(PlanError, match="cannot be sent to worker processes"),
        in_processes(replace(feed, augmentation=Local()), 1),
    ):
        pass


PARENT = """
import os, sys, time
sys.path.insert(0, {folder!r})
from test_processes import Noise
from nnseg_standard.augmentation.recipe import NoAugmentation
from nnseg_standard.data.feed import PatchFeed
from nnseg_standard.data.processes import in_processes

if __name__ == "__main__":
    feed = PatchFeed(store=Noise(), identifiers=("a",), patch_size=(8, 8, 8), batch_size=1,
                     channels=1, augmentation=NoAugmentation(), seed=0)
    with in_processes(feed, 1) as source:
        source.batch(0)
        print(source._idle.get().process.pid, flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(Path(__file__).parent)))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()

    until = time.monotonic() + 10
    while began(worker) is not None and time.monotonic() < until:
        time.sleep(0.05)
    assert began(worker) is None
