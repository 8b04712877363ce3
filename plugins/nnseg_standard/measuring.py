"""What ``nnseg bench`` needs to know of torch: operations of a network, what the device can do,
how much memory was used, and a batch that costs nothing.
"""

from __future__ import annotations

import copy
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nnseg_standard.device import name_of, pick_device, pick_precision

if TYPE_CHECKING:
    import numpy as np

    from nnseg_core.training import EpochReport, TrainingTask

PROBE_SIZES = {"cuda": 8192}
"""Rows of the square matrices that a device is tried with: enough to keep it busy for a while."""

PROBE_SIZE = 2048
"""The same for all other devices."""

PROBE_ROUNDS = 6
"""The fastest counts, so that what else the machine does matters little."""


@dataclass
class Meter:
    """Measures what a training asks of the device, and what the device can do, for nnseg bench.

    After the first epoch it tells ``device`` (its name), ``computed_in`` (the precision), ``flops``
    (operations of a training step with one sample, None where they cannot be counted), ``peak``
    (operations per second in a large matrix product) and ``memory`` (bytes at the most so far: of
    the allocator on CUDA, of the process elsewhere, None where the system does not tell).

    Attributes:
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; what the trainer computes in.
    """

    precision: str = "auto"
    device: str = field(default="", init=False)
    computed_in: str = field(default="", init=False)
    flops: int | None = field(default=None, init=False)
    peak: float = field(default=0.0, init=False)
    memory: int | None = field(default=None, init=False)
    _place: torch.device = field(default=torch.device("cpu"), init=False)

    def on_fit_start(self, task: TrainingTask) -> None:
        """Count and probe, before the first epoch."""
        configuration = task.configuration
        self._place = pick_device(task.device)
        precision = pick_precision(self._place, self.precision)
        self.device, self.computed_in = device_name(self._place), name_of(precision)
        earlier = task.previous.values if task.previous else ()
        inputs = len(configuration.normalization) + len(earlier)
        self.flops = count_operations(task.network, inputs, configuration.patch_size)
        self.peak = probe_peak(self._place, precision)
        if self._place.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._place)

    def on_epoch_end(self, report: EpochReport) -> None:
        """Note the most memory used so far."""
        self.memory = most_memory(self._place)

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        """Nothing more to measure."""


def count_operations(network: nn.Module, channels: int, patch_size: Sequence[int]) -> int | None:
    """Floating-point operations of one sample, forward and backward, by torch's own count.

    On the meta device, where nothing is computed. None for a network that cannot run there.
    """
    shadow = copy.deepcopy(network).to("meta").train()
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            outputs = shadow(torch.empty(1, channels, *patch_size, device="meta"))
            scales = [outputs] if isinstance(outputs, Tensor) else list(outputs)
            sum(scale.sum() for scale in scales).backward()  # type: ignore[union-attr]
    except (NotImplementedError, RuntimeError):
        return None
    return counter.get_total_flops()


def probe_peak(device: torch.device, precision: torch.dtype) -> float:
    """Operations per second of a large matrix product: what can really be had of the device."""
    size = PROBE_SIZES.get(device.type, PROBE_SIZE)
    matrix = torch.ones(size, size, device=device, dtype=precision)
    seconds = [_product_seconds(matrix) for _ in range(PROBE_ROUNDS)]
    return 2 * float(size) ** 3 / min(seconds)


def _product_seconds(matrix: Tensor) -> float:
    _finish(matrix.device)
    start = time.perf_counter()
    torch.mm(matrix, matrix)
    _finish(matrix.device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """The GPU's model, or ``cpu`` with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return f"{device.type} {platform.machine()}"


def most_memory(device: torch.device) -> int | None:
    """Bytes: the most that tensors took on a CUDA device, or this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource  # Unix only

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class _Drawn(NamedTuple):
    """A patch of one voxel is read, so that hardly anything is read."""

    patch_size: tuple[int, ...]
    channels: int

    @property
    def source_size(self) -> tuple[int, ...]:
        return (1,) * len(self.patch_size)


@dataclass(frozen=True)
class ConstantBatch:
    """The same made-up batch again and again, so that only the network takes time; for nnseg bench.

    The label is background but for a corner.
    """

    def initial_patch_size(self, patch_size: tuple[int, ...]) -> tuple[int, ...]:
        """The patch."""
        return patch_size

    def draw(
        self, random: np.random.Generator, patch_size: tuple[int, ...], channels: int
    ) -> _Drawn:
        """Nothing is drawn."""
        return _Drawn(patch_size, channels)

    def apply(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], drawn: Sequence[_Drawn]
    ) -> tuple[Tensor, Tensor]:
        """The same image (batch, channel, *patch) and label (batch, *patch), whatever is given."""
        return _constant_batch(len(images), *drawn[0], images[0].device)


@cache
def _constant_batch(
    samples: int, patch_size: tuple[int, ...], channels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    image = torch.linspace(-1, 1, samples * channels * torch.Size(patch_size).numel())
    label = torch.zeros(samples, *patch_size, dtype=torch.int16, device=device)
    label[(slice(None), *(slice(size // 2) for size in patch_size))] = 1
    return image.reshape(samples, channels, *patch_size).to(device), label
