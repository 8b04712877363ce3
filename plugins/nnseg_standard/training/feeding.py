"""Who makes the batches of a training: threads of this process, or worker processes.

A short measurement decides, and its sentence goes to the log. Threads and processes make the same
bits. Where neither keeps up with a GPU, the transforms of batchgenerators are tried too.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import count
from typing import Any, cast

import torch
from torch import nn

from nnseg_core.errors import NnsegError, PlanError
from nnseg_standard.augmentation.options import RecipeOptions
from nnseg_standard.augmentation.recipe import StandardAugmentation
from nnseg_standard.data.feed import Batch, Feed, PatchFeed, prefetched
from nnseg_standard.data.processes import in_processes
from nnseg_standard.training.objective import Objective

THREADS, PROCESSES, BATCHGENERATORS = "threads", "processes", "batchgenerators"
FEEDERS = ("auto", THREADS, PROCESSES, BATCHGENERATORS)

TRIAL_SECONDS = 0.4
"""How long the making of batches is timed."""

TRIAL_BATCHES = 12
"""The most batches that are timed; their cost varies with what is drawn."""

HEADROOM = 1.25
"""Threads are as many as could make so many times the batches that are used."""

WORTHWHILE = 1.2
"""How many times faster another feeder must be to be taken: chance should not decide."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """``source`` makes the batches for as many threads as there are ``workers``; 0 for none.

    ``feed`` is what makes them, in this process.
    """

    feeder: str
    source: Feed
    feed: PatchFeed
    workers: int

    @property
    def description(self) -> dict[str, str]:
        """What a resumed training has to keep: threads and processes make the same batches."""
        return {"feeder": BATCHGENERATORS} if self.feeder == BATCHGENERATORS else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What can feed a training on ``device`` with at most so many ``workers``.

    ``feed`` makes batches here. ``stored`` makes the same ones, and is what processes are sent: it
    holds no cases. ``began`` is what the training said of itself when it began, if it resumes.
    Where ``same_bits`` must come, batchgenerators is no candidate.
    """

    feed: PatchFeed
    stored: PatchFeed
    device: torch.device
    workers: int
    began: Mapping[str, Any] | None = None
    same_bits: bool = False

    @property
    def feeders(self) -> tuple[str, ...]:
        """Those to choose from, the first being preferred."""
        if self.began and self.began.get("feeder") == BATCHGENERATORS:
            return (BATCHGENERATORS,)
        if self.workers == 0:
            return (THREADS,)
        if getattr(self.feed.augmentation, "holds_the_gil", False):
            return (PROCESSES,)
        known = type(self.feed.augmentation) is StandardAugmentation
        if known and self.began is None and not self.same_bits:
            return (THREADS, PROCESSES, BATCHGENERATORS)
        return (THREADS, PROCESSES)

    @contextmanager
    def open(self, feeder: str, workers: int) -> Generator[Feeding]:
        """One of them; its processes end with the block."""
        feed, stored = self.feed, self.stored
        if feeder == BATCHGENERATORS:
            feed, stored = with_batchgenerators(feed), with_batchgenerators(stored)
        if feeder == THREADS or workers == 0:
            yield Feeding(feeder=feeder, source=feed, feed=feed, workers=workers)
            return
        with in_processes(stored, workers) as source:
            yield Feeding(feeder=feeder, source=source, feed=feed, workers=workers)


@contextmanager
def open_feeding(
    candidates: Candidates, feeder: str, network: nn.Module, objective: Objective
) -> Generator[Feeding]:
    """The ``feeder`` named; ``auto`` is the one that keeps up with the network, or is fastest."""
    workers = candidates.workers
    if feeder == "auto":
        feeder = candidates.feeders[0]
        if len(candidates.feeders) > 1:
            feeder, workers = measured(candidates, network, objective)
    with candidates.open(feeder, workers) as feeding:
        yield feeding


def measured(candidates: Candidates, network: nn.Module, objective: Objective) -> tuple[str, int]:
    """Which feeder, and how many workers. Nothing that a training depends on changes."""
    device, most = candidates.device, candidates.workers
    making = seconds_per_batch(candidates.feed, device, 1)
    (batch,) = prefetched(candidates.feed, [0], device, workers=0)
    stepping = seconds_per_step(network, objective, batch, enough=HEADROOM * making)
    threads = max(1, math.ceil(HEADROOM * making / stepping))
    log.info("feeding: %s", sentence(making, stepping, threads, most))
    # A CPU's own steps take all of its cores; processes would take them away, not add any.
    if threads <= most or most == 1 or device.type == "cpu":
        return THREADS, min(threads, most)
    return fastest(candidates), most


def fastest(candidates: Candidates) -> str:
    """The preferred feeder, unless another one is clearly faster with all workers."""
    preferred, seconds = candidates.feeders[0], dict[str, float]()
    for feeder in candidates.feeders:
        try:
            with candidates.open(feeder, candidates.workers) as feeding:
                seconds[feeder] = seconds_per_batch(
                    feeding.source, candidates.device, feeding.workers
                )
        except NnsegError as error:
            log.warning("feeding: %s cannot be used: %s", feeder, error)
    best = min(seconds, key=lambda feeder: seconds[feeder])
    taken = best if WORTHWHILE * seconds[best] < seconds[preferred] else preferred
    times = ", ".join(f"{feeder} {1000 * spent:.0f} ms" for feeder, spent in seconds.items())
    log.info("feeding: %s per batch with %d workers; using %s", times, candidates.workers, taken)
    return taken


def seconds_per_batch(source: Feed, device: torch.device, workers: int) -> float:
    """How long a batch takes to make when ``workers`` threads ask for one after the other."""
    with closing(cast("Generator[Batch]", prefetched(source, count(), device, workers))) as batches:
        next(batches)
    with closing(cast("Generator[Batch]", prefetched(source, count(), device, workers))) as batches:
        begun, made = time.perf_counter(), 0
        while made < TRIAL_BATCHES and time.perf_counter() - begun < TRIAL_SECONDS:
            next(batches)
            made += 1
        wait_for(device)
        return (time.perf_counter() - begun) / made


def seconds_per_step(
    network: nn.Module, objective: Objective, batch: Batch, enough: float
) -> float:
    """How long a step takes at least: forward and backward, without the optimizer.

    On a CPU two samples may already take ``enough`` seconds, and then nothing else is tried. It is
    all done by a copy of the network, from random numbers that are put back.
    """
    device = batch.image.device
    twin = copy.deepcopy(network)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cpu":
            forward = _seconds(partial(_forward, twin.eval(), objective, batch), device)
            if forward >= enough:
                return forward
        step = partial(_step, twin.train(), objective, batch)
        if device.type == "cuda":  # which picks its kernels in the first step
            step()
        return _seconds(step, device)


def _forward(network: nn.Module, objective: Objective, batch: Batch) -> None:
    """Two samples, as in validation. With one, torch may take a slow way."""
    with torch.no_grad():
        objective(network, Batch(image=batch.image[:2], label=batch.label[:2]))


def _step(network: nn.Module, objective: Objective, batch: Batch) -> None:
    loss, _, _ = objective(network, batch)
    loss.backward()  # type: ignore[no-untyped-call]


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    wait_for(device)
    begun = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - begun


def wait_for(device: torch.device) -> None:
    """Let a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def sentence(making: float, stepping: float, threads: int, most: int) -> str:
    """What was measured, and what it means."""
    by = f"{min(threads, most)} threads" if most > 1 and threads > 1 else "one thread"
    slow = "network" if threads <= most or making < stepping else "data"
    return (
        f"{1000 * making:.0f} ms per batch and thread, at least {1000 * stepping:.0f} ms per step: "
        f"with {by} the {slow} is the bottleneck"
    )


def with_batchgenerators(feed: PatchFeed) -> PatchFeed:
    """The same feed, whose patches batchgenerators augments, by the same options.

    Raises ``PlanError`` for an augmentation that it does not know.
    """
    from nnseg_standard.augmentation.batchgenerators import BatchgeneratorsAugmentation

    own = feed.augmentation
    if type(own) not in (StandardAugmentation, BatchgeneratorsAugmentation):
        raise PlanError(
            f"trainer.feeder is {BATCHGENERATORS!r}, which replaces the standard augmentation, but "
            f"this is {type(own).__name__}. Use --set trainer.feeder={PROCESSES}."
        )
    options = {option.name: getattr(own, option.name) for option in fields(RecipeOptions)}
    return replace(feed, augmentation=BatchgeneratorsAugmentation(**options))
