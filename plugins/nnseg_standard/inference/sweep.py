"""Sweep tiles over a volume at constant memory: logits leave it slice by slice, in order.

What is kept are the logits of one row of tiles. Slices that no later tile touches are handed out,
and the rest moves up. So the length of the volume costs time, but no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from math import ceil, prod
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnseg_standard.inference.lanes import Lanes, open_lanes
from nnseg_standard.inference.tiles import Tile, TileRow

T = TypeVar("T")

FLOAT32_BYTES = 3 * 2**30
"""Up to this size logits are summed in float32, beyond it in float16, as nnU-Net always does.

60 classes of 128 slices of 512 x 512 voxels are 8 GB in float32, and 4 GB in float16. A voxel is
the sum of a few shares that add up to 1, so float16 costs about a thousandth of its logits.
"""


@dataclass(kw_only=True)
class Sweep:
    """Networks on their way over the rows of tiles of an image (channel, z, y, x).

    A look is a tile mirrored in one way; ``batch_size`` looks make a forward pass, one where a GPU
    had no room for more; ``lanes`` passes are computed at once. ``planar`` networks see slices
    without z. ``on_tiles`` is told how many tiles have been added. The device holds the ring of
    logits where half its free memory is enough, else main memory does.
    """

    networks: Sequence[nn.Module]
    image: NDArray[np.float32]
    rows: Sequence[TileRow]
    mirrored: Sequence[tuple[int, ...]]
    planar: bool
    batch_size: int
    device: torch.device
    precision: torch.dtype
    on_tiles: Callable[[int], None]
    lanes: int = 1
    _ring: Tensor | None = field(default=None, init=False)

    def slabs(self) -> Iterator[Tensor]:
        """Logits (output, slices, y, x) of the next slices, averaged over all looks and networks.

        A slab is good until the next one is asked for.
        """
        with open_lanes(self.lanes, self._run, self.device, self.precision) as lanes:
            for row in self.rows:
                ring = self._look_at(row, lanes)
                yield ring[:, : row.done - row.start]
                if row is not self.rows[-1]:
                    _move_up(ring, row.done - row.start)

    @torch.inference_mode()
    def _look_at(self, row: TileRow, lanes: Lanes) -> Tensor:
        """Add the tiles of a row to the ring."""
        together = max(1, self.lanes * self.batch_size // len(self.mirrored))
        for tiles in in_parts(row.tiles, together):
            for tile, logits in zip(tiles, self._logits(tiles, lanes), strict=True):
                self._add(tile, logits, row.start)
            self.on_tiles(len(tiles))
        assert self._ring is not None, "there is at least one tile in a row"
        return self._ring

    def _logits(self, tiles: Sequence[Tile], lanes: Lanes) -> list[Tensor]:
        """Sums over all looks and networks, (output, *patch) for each tile."""
        seen = [self._cut(tile) for tile in tiles]
        looks = [(number, axes) for number in range(len(tiles)) for axes in self.mirrored]
        sums: dict[int, Tensor] = {}
        for network in self.networks:
            images = (
                torch.stack([_mirror(seen[number], axes) for number, axes in batch])
                for batch in in_parts(looks, self.batch_size)
            )
            outputs = chain.from_iterable(lanes.outputs(network, images))
            for (number, axes), logits in zip(looks, outputs, strict=True):
                sums[number] = self._sum(sums.get(number), _mirror(logits, axes))
        return [sums[number] for number in range(len(tiles))]

    def _sum(self, sofar: Tensor | None, logits: Tensor) -> Tensor:
        """In float32, whatever the network's precision; a single look is taken as it is."""
        if sofar is not None:
            return sofar.add_(logits)
        return logits.to(torch.float32, copy=True) if self._looks > 1 else logits

    def _cut(self, tile: Tile) -> Tensor:
        """What networks see of a tile, on the device: (channel, *patch)."""
        voxels = torch.from_numpy(self.image[(slice(None), *tile.window)]).to(self.device)
        return voxels[:, 0] if self.planar else voxels

    def _run(self, network: nn.Module, images: Tensor) -> Tensor:
        """Logits (look, output, *patch) at full resolution."""
        if len(images) <= self.batch_size:
            try:
                outputs = network(images)
            except torch.cuda.OutOfMemoryError as error:
                self._make_room(len(images), error)
            else:
                return outputs if isinstance(outputs, Tensor) else outputs[0]
        return torch.cat([self._run(network, image[None]) for image in images])

    def _make_room(self, looks: int, error: torch.cuda.OutOfMemoryError) -> None:
        """Take one look at a time; if that was too much, give up the ring's place on the device."""
        if looks > 1:
            self.batch_size = 1
        elif self._ring is not None and self._ring.device.type == "cuda":
            self._ring = self._ring.cpu()
        else:
            raise error

    def _add(self, tile: Tile, logits: Tensor, first: int) -> None:
        """Add a tile's share to the ring, whose first slice is ``first``."""
        if self._ring is None:
            self._ring = self._new_ring(len(logits))
        z, y, x = tile.window
        window = self._ring[:, z.start - first : z.stop - first, y, x]
        weights = torch.from_numpy(tile.weights() / np.float32(self._looks)).to(window.device)
        values = logits.to(window.device).reshape(window.shape)
        for summed, volume in zip(window, values, strict=True):  # one by one, for little memory
            share = volume.to(weights.dtype)
            if summed.dtype is torch.float32:
                summed.addcmul_(share, weights)
            else:  # rounded once
                summed.copy_(summed.float().addcmul_(share, weights))

    def _new_ring(self, outputs: int) -> Tensor:
        depth = max(row.stop - row.start for row in self.rows)
        shape = (outputs, depth, *self.image.shape[2:])
        dtype = torch.float32 if 4 * prod(shape) <= FLOAT32_BYTES else torch.float16
        roomy = self.device.type != "cuda" or (
            2 * prod(shape) * dtype.itemsize <= torch.cuda.mem_get_info(self.device)[0]
        )
        return torch.zeros(shape, dtype=dtype, device=self.device if roomy else "cpu")

    @property
    def _looks(self) -> int:
        """How many logits are averaged in each tile."""
        return len(self.networks) * len(self.mirrored)


def on_host(slabs: Iterator[Tensor]) -> Iterator[Tensor]:
    """Slabs in main memory. On a GPU, the next tiles are queued before a copy is waited for."""
    copying: tuple[Tensor, torch.cuda.Event] | None = None
    for slab in slabs:
        arrived, copying = copying, None
        if slab.device.type == "cuda":
            slab_on_host = slab.to("cpu", non_blocking=True)  # pinned, as torch makes it for this
            copying = (slab_on_host, torch.cuda.current_stream(slab.device).record_event())
        if arrived is not None:
            yield _wait(*arrived)
        if copying is None:
            yield slab.cpu()
    if copying is not None:
        yield _wait(*copying)


def in_parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """``items`` in parts of at most ``most``, as equal as can be: a shape less to prepare for."""
    parts = ceil(len(items) / most)
    ends = [len(items) * part // parts for part in range(parts + 1)]
    return (items[start:stop] for start, stop in pairwise(ends))


def _wait(slab: Tensor, copied: torch.cuda.Event) -> Tensor:
    copied.synchronize()
    return slab


def _mirror(volume: Tensor, axes: tuple[int, ...]) -> Tensor:
    return volume.flip(axes) if axes else volume


@torch.inference_mode()
def _move_up(ring: Tensor, slices: int) -> None:
    """Let go of the first slices, and make room for as many."""
    for volume in ring:
        kept = volume[slices:].clone()
        volume[: len(kept)] = kept
        volume[len(kept) :] = 0
