"""Applies networks to a whole case: overlapping tiles, mirrored, averaged with Gaussian weights.

Logits are averaged, not probabilities (nnU-Net's choice).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnseg_core.case import Prediction, PreprocessedCase
from nnseg_core.errors import ModelError, PlanError
from nnseg_core.geometry import Box
from nnseg_core.plan import Configuration
from nnseg_core.progress import Report, silent
from nnseg_standard.device import pick_device, pick_precision
from nnseg_standard.inference.lanes import lanes_for
from nnseg_standard.inference.sweep import Sweep, on_host
from nnseg_standard.inference.swept import SweptLogits
from nnseg_standard.inference.tiles import mirrorings, tile_rows

CPU_VOXELS = 2**16
"""Voxels that a forward pass takes on a CPU: with more looks at once it leaves the cache.

Measured on two cores: eight looks of 40 x 56 x 40 one by one take 0.98 s, together 1.32 s.
"""


@dataclass(frozen=True)
class TilePredictor:
    """Overlapping tiles, mirrored, averaged with Gaussian weights, as nnU-Net predicts.

    Attributes:
        step: how far apart tiles are, in tiles, above 0 and at most 1.
        mirror_axes: axes of the patch to mirror along, in all combinations; null means all axes.
        batch_size: tiles per forward pass, each mirroring counted; 0 takes the training's, on a CPU
            only as far as it saves time.
        gaussian: whether the middle of a tile counts more than its border.
        precision: "fp32", "fp16", "bf16", or "auto" for what suits the device.
    """

    step: float = 0.5  # nnU-Net's value
    mirror_axes: tuple[int, ...] | None = None
    batch_size: int = 0
    gaussian: bool = True
    precision: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise PlanError(f"step must be above 0 and at most 1, got {self.step}")
        if self.batch_size < 0:
            raise PlanError(f"batch_size must be 0 (automatic) or more, got {self.batch_size}")

    def check_device(self, device: str) -> None:
        """Raise ``PlanError`` for a device that is not there, or that lacks the precision."""
        pick_precision(pick_device(device), self.precision)

    def predict(
        self,
        networks: Sequence[nn.Module],
        case: PreprocessedCase,
        configuration: Configuration,
        device: str = "auto",
        report: Report = silent,
    ) -> Prediction:
        """Logits on the network's grid, averaged over tiles, mirrorings and networks.

        Where there is more than one row of tiles, logits are computed as their slices are asked
        for, so that memory does not grow with the length of the image.

        Puts the networks on the device, in evaluation mode. Raises ``ModelError`` when logits are
        infinite or undefined, at the first such slices.
        """
        place = pick_device(device)
        for network in networks:
            network.to(place).eval()
        image, inside = pad(case.image, configuration.patch_size)
        sweep = self._sweep(networks, image, configuration, place, report)
        slabs = crop(on_host(sweep.slabs()), inside)
        logits = SweptLogits(require_finite(slabs, case.identifier), inside.shape[0])
        whole = len(sweep.rows) == 1
        return Prediction(
            identifier=case.identifier,
            logits=logits[:, :] if whole else logits,
            restoration=case.restoration,
        )

    def _sweep(
        self,
        networks: Sequence[nn.Module],
        image: NDArray[np.float32],
        configuration: Configuration,
        device: torch.device,
        report: Report,
    ) -> Sweep:
        patch = configuration.patch_size
        axes = self._mirror_axes(len(patch))
        mirrored = mirrorings([axis - len(patch) for axis in axes])
        looks = self.batch_size or _usual_batch(configuration, device)
        lanes = lanes_for(device, patch)
        slices = max(1, lanes * looks // len(mirrored))  # of a planar network, to fill batches
        shape = image.shape[1:]
        rows = tile_rows(shape, patch, self.step, weighted=self.gaussian, slices=slices)
        total, done = sum(len(row.tiles) for row in rows), 0

        def on_tiles(count: int) -> None:
            nonlocal done
            done += count
            report("tiles", done, total)

        return Sweep(
            networks=networks,
            image=image,
            rows=rows,
            mirrored=mirrored,
            planar=len(patch) == 2,
            batch_size=looks,
            device=device,
            precision=pick_precision(device, self.precision),
            on_tiles=on_tiles,
            lanes=lanes,
        )

    def _mirror_axes(self, axes: int) -> tuple[int, ...]:
        if self.mirror_axes is None:
            return tuple(range(axes))
        if not set(self.mirror_axes) <= set(range(axes)):
            raise PlanError(
                f"mirror_axes {tuple(self.mirror_axes)} must be some of {tuple(range(axes))}: the "
                f"patch has {axes} axes."
            )
        return tuple(self.mirror_axes)


def pad(image: NDArray[np.float32], patch: Sequence[int]) -> tuple[NDArray[np.float32], Box]:
    """An image (channel, z, y, x) amid zeros, at least ``patch``; and where it lies in there."""
    shape = image.shape[1:]
    least = (*(1,) * (len(shape) - len(patch)), *patch)
    missing = [max(0, wanted - size) for wanted, size in zip(least, shape, strict=True)]
    before = tuple(voxels // 2 for voxels in missing)
    widths = [(first, both - first) for first, both in zip(before, missing, strict=True)]
    stop = tuple(first + size for first, size in zip(before, shape, strict=True))
    padded = np.pad(image, [(0, 0), *widths]) if any(missing) else image
    return padded, Box(start=before, stop=stop)


def crop(slabs: Iterator[Tensor], inside: Box) -> Iterator[Tensor]:
    """Slabs (output, slices, y, x) without what lies beyond a box of their volume."""
    first = 0
    for slab in slabs:
        (z, y, x), stop = inside.slices, first + slab.shape[1]
        yield slab[:, max(z.start - first, 0) : min(z.stop, stop) - first, y, x]
        first = stop


def require_finite(slabs: Iterator[Tensor], identifier: str) -> Iterator[NDArray[np.floating]]:
    """Slabs as arrays. Raises ``ModelError`` for values that are infinite or undefined."""
    for slab in slabs:
        if not all(bound.isfinite() for bound in torch.aminmax(slab)):
            raise ModelError(
                f"the network gives infinite or undefined values for case {identifier!r}. "
                "Set the predictor's precision to fp32; if that does not help, look for such "
                "values in the image and in the losses of the training."
            )
        yield slab.numpy()


def _usual_batch(configuration: Configuration, device: torch.device) -> int:
    """The training's batch, which the memory is known to hold; less where a CPU likes it less."""
    if device.type != "cpu":
        return configuration.batch_size
    return max(1, min(configuration.batch_size, CPU_VOXELS // prod(configuration.patch_size)))
