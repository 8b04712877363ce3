"""Arrays in files: the blocks that they are cut into."""

from __future__ import annotations

import numpy as np
import pytest

from nnseg_core.arrays import chunk_shape


def test_chunks_and_blocks_follow_the_rule_of_nnunet():
    chunks, blocks = chunk_shape((1, 432, 512, 512), (128, 128, 128))

    assert (chunks, blocks) == ((1, 96, 128, 128), (1, 32, 32, 32))


@pytest.mark.parametrize(
    ("shape", "patch_size"),
    [
        ((4, 182, 218, 182), (128, 160, 112)),
        ((1, 36, 50, 35), (40, 56, 40)),
        ((1, 20, 512, 512), (16, 320, 320)),
        ((3, 1, 256, 256), (256, 256)),
        ((1, 120, 512, 512), (512, 512)),
        ((1, 1, 1, 1), (128, 128, 128)),
        ((2, 900, 30, 7), (320, 32, 16)),
    ],
)
def test_chunks_and_blocks_stay_within_their_limits(shape, patch_size):
    chunks, blocks = chunk_shape(shape, patch_size)

    assert chunks[0] == blocks[0] == 1
    assert all(b <= c <= s for b, c, s in zip(blocks, chunks, shape, strict=True))
    assert 4 * np.prod(blocks) <= 128 * 1024
    assert 4 * np.prod(chunks) <= 6 * 1024**2
    if len(patch_size) == 2:
        assert chunks[1] == 1
