"""Batches without end, taken an epoch's worth at a time, and how long they were waited for."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, cast

from nnseg_core.progress import Report, silent
from nnseg_standard.data.feed import prefetched

if TYPE_CHECKING:
    import torch

    from nnseg_standard.data.feed import Batch, Feed


@dataclass(kw_only=True)
class Stream:
    """``size`` batches per epoch; ``waited`` is for how many seconds since an epoch was asked for.

    ``report`` is told, as the step ``name``, after each batch that has been used.
    """

    batches: Iterator[Batch]
    size: int
    name: str = ""
    report: Report = silent
    waited: float = 0.0

    def epoch(self, done: int = 0, size: int | None = None) -> Iterator[Batch]:
        """The batches of an epoch, of ``size`` of them if given, less those ``done`` before."""
        self.waited = 0.0
        size = self.size if size is None else size
        for used in range(done + 1, size + 1):
            asked = time.perf_counter()
            batch = next(self.batches)
            self.waited += time.perf_counter() - asked
            yield batch
            self.report(self.name, used, size)


@contextmanager
def open_stream(
    feed: Feed,
    size: int,
    first: int,
    device: torch.device,
    workers: int,
    name: str = "",
    report: Report = silent,
) -> Generator[Stream]:
    """The batches of ``feed`` from the ``first`` on, made ahead of time until the block ends.

    They are numbered through all epochs, so a resumed training gets those it has not had.
    """
    batches = prefetched(feed, count(first), device, workers)
    with closing(cast("Generator[Batch]", batches)):
        yield Stream(batches=batches, size=size, name=name, report=report)
