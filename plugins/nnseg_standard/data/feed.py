"""Batches for training: read patches, augment them, have them on the device before they are due.

A sample is a pure function of a seed, of the number of its batch, and of its own in there. So any
thread may make a batch, in any order, a training that resumes continues with the batches it would
have had, and of several processes that train together each makes only its own samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nnseg_core.geometry import Box
from nnseg_standard.augmentation.recipe import NoAugmentation
from nnseg_standard.cascade import with_channels
from nnseg_standard.data.sampling import centred, draw_box, forced_foreground
from nnseg_standard.device import one_thread

if TYPE_CHECKING:
    from nnseg_core.contracts import Augmentation
    from nnseg_standard.data.cache import Array, PatchSource

TRAINING, VALIDATION = 0, 1
"""Streams of random numbers from one seed."""

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Image float32 (batch, channel, *patch), label int16 (batch, *patch), as augmentation left it.

    Labels are ``OUTSIDE`` beyond the non-zero region of the case.
    """

    image: Tensor
    label: Tensor


class Feed(Protocol):
    """Makes batches by number, in any thread."""

    def batch(self, index: int, device: torch.device) -> Batch:
        """The batch of that number, on ``device``."""
        ...


@dataclass(frozen=True, kw_only=True)
class PatchFeed:
    """Makes batches of patches from the cases named, each case drawn with replacement.

    A ``patch_size`` of two axes takes slices. ``foreground_share`` of the patches lie around
    foreground (nnU-Net: 0.33): the same number in every batch, or ``by_chance`` each by itself.
    Feeds that differ in ``stream`` share no random numbers. ``samples`` are those of each batch
    that are made here; by default all.

    In a cascade the labels in ``store`` are two maps, and each value in ``previous`` makes a
    channel of the second.
    """

    store: PatchSource
    identifiers: Sequence[str]
    patch_size: tuple[int, ...]
    batch_size: int
    channels: int
    augmentation: Augmentation
    seed: int
    foreground_share: float = 0.33
    by_chance: bool = False
    stream: int = TRAINING
    samples: range | None = None
    previous: tuple[int, ...] = ()

    @property
    def made(self) -> range:
        """The samples of each batch that are made here."""
        return range(self.batch_size) if self.samples is None else self.samples

    @property
    def inputs(self) -> int:
        """Channels of a batch."""
        return self.channels + len(self.previous)

    def batch(self, index: int, device: torch.device = CPU) -> Batch:
        """The batch of that number, read here and augmented on ``device``."""
        # Feeding threads that use all cores wait for each other and for the training. And the bits
        # of a batch would depend on where PyTorch cuts an array into pieces.
        with one_thread():
            randoms = [self._random(index, sample) for sample in self.made]
            patches = [
                self._read(random, self._forced(random, sample), device)
                for random, sample in zip(randoms, self.made, strict=True)
            ]
            image, label = self.augmentation.apply(*zip(*patches, strict=True))
            if self.previous:
                image, label = with_channels(
                    image, label, self.previous, self.augmentation, randoms
                )
        return Batch(image=image, label=label)

    def _forced(self, random: np.random.Generator, sample: int) -> bool:
        """Whether a sample must lie around foreground: its place says so, or chance."""
        if self.by_chance:
            return bool(random.random() < self.foreground_share)
        return forced_foreground(self.batch_size, self.foreground_share)[sample]

    def _random(self, index: int, sample: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.stream, index, sample])

    def _read(
        self, random: np.random.Generator, forced: bool, device: torch.device
    ) -> tuple[Tensor, Tensor, Any]:
        """Image (channel, *source), label ([map,] *source) and what was drawn for a patch."""
        identifier = self.identifiers[int(random.integers(len(self.identifiers)))]
        drawn = self.augmentation.draw(random, self.patch_size, self.channels)
        try:
            box = self._draw_box(random, identifier, forced)
            image, label = self.store.patch(identifier, centred(box, _volume(drawn.source_size)))
        except Exception as error:
            error.add_note(f"This happened while reading a patch of case {identifier!r}.")
            raise
        return (
            upload(image.reshape(-1, *drawn.source_size), device),
            upload(label.reshape(*label.shape[:-3], *drawn.source_size), device),
            drawn,
        )

    def _draw_box(self, random: np.random.Generator, identifier: str, forced: bool) -> Box:
        initial_size = self.augmentation.initial_patch_size(self.patch_size)
        return draw_box(
            random,
            self.store.shape(identifier),
            self.store.foreground(identifier),
            _volume(initial_size),
            _volume(self.patch_size),
            forced,
        )


def validation_feed(training: PatchFeed, identifiers: Sequence[str]) -> PatchFeed:
    """Patches of other cases, drawn as in training but left as they are, not even masked."""
    return replace(
        training, identifiers=identifiers, augmentation=NoAugmentation(), stream=VALIDATION
    )


def prefetched(
    feed: Feed, indices: Iterable[int], device: torch.device, workers: int = 1
) -> Iterator[Batch]:
    """The batches of these numbers, in this order, on ``device``.

    ``workers`` threads make them ahead of time, one batch each and as many waiting; 0 makes them
    when asked. A CUDA device augments its own batches. What a thread raises is raised here.
    Closing the iterator ends the threads.
    """
    worker = device if device.type == "cuda" else CPU
    if workers == 0:
        for index in indices:
            yield _hand_over(feed.batch(index, worker), device)
        return
    stream = torch.cuda.Stream(device) if worker.type == "cuda" else None  # type: ignore[no-untyped-call]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="nnseg-feed")
    tasks = (pool.submit(_make, feed, index, worker, stream) for index in indices)
    try:
        due: deque[Future[_Made]] = deque(islice(tasks, 2 * workers))
        while due:
            batch, ready = due.popleft().result()
            due.extend(islice(tasks, 1))
            yield _hand_over(batch, device, ready)
    finally:
        pool.shutdown(cancel_futures=True)


_Made = tuple[Batch, "torch.cuda.Event | None"]


def _make(feed: Feed, index: int, device: torch.device, stream: torch.cuda.Stream | None) -> _Made:
    """A batch, and on CUDA the event after which it is complete."""
    with torch.cuda.stream(stream) if stream else nullcontext():
        return feed.batch(index, device), stream.record_event() if stream else None


def _hand_over(batch: Batch, device: torch.device, ready: torch.cuda.Event | None = None) -> Batch:
    """Let the stream of the consumer wait for a batch, not the consumer itself."""
    if ready is not None:
        consumer = torch.cuda.current_stream(device)
        consumer.wait_event(ready)
        batch.image.record_stream(consumer)  # or its memory would be given to another batch
        batch.label.record_stream(consumer)
    return Batch(image=batch.image.to(device), label=batch.label.to(device))


def upload(array: Array, device: torch.device) -> Tensor:
    """A tensor on the device; copies to CUDA run on while the next patch is read."""
    tensor = torch.as_tensor(array)
    if device.type != "cuda" or tensor.is_cuda:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _volume(size: tuple[int, ...]) -> tuple[int, ...]:
    """A slice as a volume."""
    return (1,) * (3 - len(size)) + size
