"""The arrays that both sides work on, made from seeds. Numpy only: both environments have it."""

from __future__ import annotations

import numpy as np

RESAMPLED = ((128, 256, 256), (160, 200, 200))
"""From and to voxels (z, y, x)."""

EXPORTED = ((96, 160, 160), (120, 256, 256))
CLASSES = 20

MASK = (256, 256, 256)
LABELS = 15


def volume():
    """An image (1, z, y, x) float32: smooth waves and noise."""
    shape, random = RESAMPLED[0], np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(0, 9, size) for size in shape), indexing="ij", sparse=True)
    image = np.sin(z) * np.cos(y) + np.sin(x) + random.normal(0, 0.1, size=shape)
    return image[np.newaxis].astype(np.float32)


def logits():
    """Logits (class, z, y, x) as a network gives: a ball per class, smooth, and a background.

    Rounded to half precision, which is what nnU-Net keeps, so that both sides see equal numbers.
    """
    shape, random = EXPORTED[0], np.random.default_rng(1)
    grid = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij", sparse=True)
    result = np.zeros((CLASSES, *shape), dtype=np.float32)
    for one in result[1:]:
        centre, radius = random.uniform(0.2, 0.8, size=3) * shape, random.uniform(12, 30)
        squared = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True))
        ball = np.clip(8 - 8 * np.sqrt(squared) / radius, -12, 8)
        one[:] = ball + random.normal(0, 0.2, size=shape)
    return result.astype(np.float16)


def masks():
    """A reference and a prediction (z, y, x) int16 with all labels, that differ a little."""
    random = np.random.default_rng(2)
    coarse = random.integers(0, LABELS + 1, size=[size // 16 for size in MASK])
    reference = coarse.repeat(16, 0).repeat(16, 1).repeat(16, 2).astype(np.int16)
    return reference, np.roll(reference, (2, 1, 1), axis=(0, 1, 2))
