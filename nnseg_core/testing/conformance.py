"""What a part must do beyond having the right methods: for the tests of whoever writes one.

from nnseg_core.testing.conformance import check_normalization

def test_window_is_a_normalization():
check_normalization(Window())
"""

from __future__ import annotations

import pickle

import numpy as np

from nnseg_core.contracts import Normalization
from nnseg_core.fingerprint import IntensityStatistics

STATISTICS = IntensityStatistics(
    mean=100.0,
    median=95.0,
    std=40.0,
    minimum=0.0,
    maximum=255.0,
    percentile_0_5=10.0,
    percentile_99_5=230.0,
)


def check_normalization(normalization: Normalization) -> None:
    """Raise ``AssertionError`` with what a normalization gets wrong."""
    assert isinstance(normalization, Normalization), "it has no method 'apply'"
    channel = np.random.default_rng(0).uniform(0, 255, (5, 6, 7)).astype(np.float32)
    inside = channel > 100
    for mask in (None, inside):
        given = channel.copy()
        made = normalization.apply(given, STATISTICS, mask)
        assert np.array_equal(given, channel), "it changes its input"
        assert made.shape == channel.shape, f"it turns shape {channel.shape} into {made.shape}"
        assert made.dtype == np.float32, f"it returns {made.dtype}, not float32"
        assert np.isfinite(made).all(), "it makes values that are not finite"
    constant = normalization.apply(np.full_like(channel, 7), STATISTICS, None)
    assert np.isfinite(constant).all(), "it makes values that are not finite of a constant channel"
    nothing = normalization.apply(channel, STATISTICS, np.zeros_like(inside))
    assert np.isfinite(nothing).all(), "it makes values that are not finite where no voxel counts"
    sent = pickle.loads(pickle.dumps(normalization))  # preprocessing happens in other processes
    assert np.array_equal(
        sent.apply(channel, STATISTICS, None), normalization.apply(channel, STATISTICS, None)
    ), "it does another thing in another process"
