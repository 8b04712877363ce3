"""Voxels to sample training patches around, drawn once per case."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnseg_core.dataset import Labels

ANNOTATED = "annotated"
"""Name under which the voxels that are not of the ignore label are kept."""

SAMPLES = 10_000  # per label; this and the next two are nnU-Net's values
SMALLEST_SHARE = 0.01
SEED = 1234


def sample_foreground(label: NDArray[np.int16], labels: Labels) -> dict[str, NDArray[np.int32]]:
    """Coordinates (n, 3) per label or region name, drawn without replacement.

    Of each at most ``SAMPLES``, but at least ``SMALLEST_SHARE`` of its voxels; none where it does
    not occur. Where there is an ignore label, ``ANNOTATED`` holds as many of the voxels of any
    other value, background and ``OUTSIDE`` included.
    """
    voxels = _voxels_by_value(label)
    none = np.empty(0, dtype=np.intp)
    random = np.random.RandomState(SEED)
    found = {
        name: np.concatenate([voxels.get(value, none) for value in covered])
        for name, covered in labels.values.items()
    }
    if labels.ignored:
        found[ANNOTATED] = np.flatnonzero(np.isin(label, labels.ignored, invert=True))
    return {name: _sample(flat, label.shape, random) for name, flat in found.items()}


def _voxels_by_value(label: NDArray[np.int16]) -> dict[int, NDArray[np.intp]]:
    """Flat indices, ascending, of every value above background, from one pass over the volume."""
    flat = np.flatnonzero(label > 0)
    if flat.size == 0:
        return {}
    values = label.ravel()[flat]
    order = np.argsort(values, kind="stable")
    distinct, starts = np.unique(values[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(flat[order], starts[1:]), strict=True))


def _sample(
    flat: NDArray[np.intp], shape: tuple[int, ...], random: np.random.RandomState
) -> NDArray[np.int32]:
    count = max(min(SAMPLES, flat.size), math.ceil(flat.size * SMALLEST_SHARE))
    drawn = flat[random.choice(flat.size, count, replace=False)] if count else flat
    return np.stack(np.unravel_index(drawn, shape), axis=1).astype(np.int32)
