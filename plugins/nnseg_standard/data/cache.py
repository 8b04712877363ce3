"""Preprocessed cases kept in memory where they fit: decompressed once, then cut without the store.

Reading a compressed patch takes longer than cutting one, and keeps Python from all other threads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnseg_core.case import OUTSIDE
from nnseg_core.geometry import Box, whole
from nnseg_core.machine import free_memory, in_words
from nnseg_core.team import current

LABEL_BYTES, IMAGE_BYTES = 2, 4
"""Of a voxel: int16, float32."""

HOST_SHARE = 0.5
"""Of the free memory, that cases may fill; the network and other programs have the rest."""

CUDA_SHARE = 0.1
"""Likewise on a GPU, where plans leave no more to spare: they fill it with patches."""

log = logging.getLogger(__name__)

Array = NDArray[Any] | Tensor


class PatchSource(Protocol):
    """Where patches come from: the part of ``CaseStore`` that a feed needs."""

    def shape(self, identifier: str) -> tuple[int, int, int]:
        """Voxels per axis (z, y, x)."""
        ...

    def foreground(self, identifier: str) -> Mapping[str, NDArray[np.int32]]:
        """Coordinates (n, 3) to sample around, by label or region name."""
        ...

    def patch(self, identifier: str, box: Box) -> tuple[Array, Array]:
        """Image (channel, z, y, x) and label (z, y, x) of a box, which may reach outside.

        In a cascade two label maps, (2, z, y, x).
        """
        ...


@dataclass(frozen=True, slots=True)
class HeldCase:
    """What is kept of a case: image (channel, z, y, x), label ([map,] z, y, x), foreground."""

    image: Tensor
    label: Tensor
    foreground: Mapping[str, NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True)
class HeldCases:
    """The cases of ``source``, each kept on ``device`` from its first use on; patches are equal."""

    source: PatchSource
    device: torch.device
    _held: dict[str, HeldCase] = field(default_factory=dict, init=False, repr=False, compare=False)

    def shape(self, identifier: str) -> tuple[int, int, int]:
        """Voxels per axis (z, y, x)."""
        z, y, x = self._case(identifier).label.shape[-3:]
        return z, y, x

    def foreground(self, identifier: str) -> Mapping[str, NDArray[np.int32]]:
        """Coordinates (n, 3) to sample around, by label or region name."""
        return self._case(identifier).foreground

    def patch(self, identifier: str, box: Box) -> tuple[Tensor, Tensor]:
        """Image (channel, z, y, x) and label ([map,] z, y, x); 0 and ``OUTSIDE`` beyond."""
        case = self._case(identifier)
        return cut(case.image, box, fill=0), cut(case.label, box, fill=OUTSIDE)

    def _case(self, identifier: str) -> HeldCase:
        held = self._held.get(identifier)
        if held is None:  # two threads may both read it, and keep one of two equal copies
            held = self._held[identifier] = self._read(identifier)
        return held

    def _read(self, identifier: str) -> HeldCase:
        image, label = self.source.patch(identifier, whole(self.source.shape(identifier)))
        return HeldCase(
            torch.as_tensor(image).to(self.device),
            torch.as_tensor(label).to(self.device),
            self.source.foreground(identifier),
        )


def held_where_they_fit(
    source: PatchSource,
    identifiers: Iterable[str],
    channels: int,
    device: torch.device,
    maps: int = 1,
) -> PatchSource:
    """The cases kept on ``device`` if that is a GPU, else in the host's memory, else nowhere.

    ``maps`` are the label maps of a case.
    """
    size = size_of(source, identifiers, channels, maps)
    place = next((place for place, room in _rooms(device) if size <= room), None)
    if place is None:
        log.info("cases: %s, too much for the free memory; read from disk", in_words(size))
        return source
    log.info("cases: %s, kept in memory (%s)", in_words(size), place)
    return HeldCases(source=source, device=place)


def _rooms(device: torch.device) -> Iterator[tuple[torch.device, float]]:
    """Where cases may be kept, and the bytes they may take there."""
    if device.type == "cuda":
        yield device, CUDA_SHARE * torch.cuda.mem_get_info(device)[0]
    memory = free_memory()
    share = HOST_SHARE / current().ranks.beside  # each rank keeps them for itself
    yield torch.device("cpu"), share * memory.free if memory else 0.0


def size_of(source: PatchSource, identifiers: Iterable[str], channels: int, maps: int = 1) -> int:
    """Bytes that cases take in memory."""
    voxels = sum(math.prod(source.shape(identifier)) for identifier in identifiers)
    return voxels * (channels * IMAGE_BYTES + maps * LABEL_BYTES)


def cut(array: Tensor, box: Box, fill: int) -> Tensor:
    """The last three axes within ``box``, as a copy; ``fill`` where it reaches beyond."""
    space = array.shape[-3:]
    start = [min(max(low, 0), size) for low, size in zip(box.start, space, strict=True)]
    stop = [min(max(high, 0), size) for high, size in zip(box.stop, space, strict=True)]
    patch = array.new_full((*array.shape[:-3], *box.shape), fill)
    within = Box(
        start=tuple(low - first for low, first in zip(start, box.start, strict=True)),
        stop=tuple(high - first for high, first in zip(stop, box.start, strict=True)),
    )
    if min(within.shape) > 0:
        inside = Box(start=tuple(start), stop=tuple(stop))
        lead = (slice(None),) * (array.ndim - 3)
        patch[lead + within.slices] = array[lead + inside.slices]
    return patch
