"""What one case adds to the fingerprint: size, spacing, intensities of its foreground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import RawCase
from nnseg_core.dataset.laterality import left_right_axis
from nnseg_core.fingerprint import CaseFingerprint, IntensitySample
from nnseg_standard.preprocessing.crop import nonzero_box

SEED = 1234
"""Of the intensity samples, for every case; nnU-Net's."""

WORDS_AT_ONCE = 1 << 16
"""Random words held at a time, where the foreground is not larger: they stay in the cache."""


def measure(case: RawCase, samples: int) -> CaseFingerprint:
    """Crop a case to its non-zero region and draw ``samples`` foreground intensities per channel.

    Foreground is every label above 0, the ignore label included. The draws are nnU-Net's: with
    replacement, one generator per case, which the channels share one after the other. A case
    without foreground, or without a label, has empty samples.
    """
    box = nonzero_box(case.image)
    label = np.zeros(case.geometry.shape, dtype=np.int16) if case.label is None else case.label
    foreground = label[box.slices] > 0
    random = np.random.RandomState(SEED)
    depth, height, width = box.shape
    return CaseFingerprint(
        spacing=case.geometry.spacing,
        shape_before_crop=case.geometry.shape,
        shape=(depth, height, width),
        intensities=tuple(
            draw_sample(channel[box.slices][foreground], samples, random) for channel in case.image
        ),
        left_right=left_right_axis(case.geometry),
    )


def draw_sample(
    values: NDArray[np.float32], samples: int, random: np.random.RandomState
) -> IntensitySample:
    """Draw from ``values`` with replacement: the same draws as ``random.choice(values, samples)``.

    Only how often each voxel is drawn is kept, then how often each value.
    """
    drawn = _times_drawn(len(values), samples, random)
    values, drawn = values[drawn > 0], drawn[drawn > 0]
    distinct, position = np.unique(values, return_inverse=True)
    counts = np.bincount(position, weights=drawn, minlength=len(distinct))
    return IntensitySample(values=distinct, counts=counts.astype(np.int64))


def _times_drawn(population: int, samples: int, random: np.random.RandomState) -> NDArray[np.int64]:
    """How often each of ``population`` voxels is drawn.

    These are the draws of ``random.randint(0, population, samples)``, for which numpy takes the low
    bits of a random word, and draws again where they are too large. Counting all words and leaving
    out what was too large takes half the time, because nothing branches. Asking for no more words
    than draws are left never takes one too many.
    """
    if population < 2:  # numpy draws no word where there is no choice
        return np.full(population, samples, dtype=np.int64)
    drawn = np.zeros(population, dtype=np.int64)
    low_bits = np.uint32((1 << (population - 1).bit_length()) - 1)
    at_once = max(WORDS_AT_ONCE, population)  # counting costs as much as there are voxels
    while samples > 0:
        words = random.randint(0, 1 << 32, size=min(at_once, samples), dtype=np.uint32)
        words &= low_bits
        counted = np.bincount(words, minlength=population)[:population]
        drawn += counted
        samples -= int(counted.sum())
    return drawn
