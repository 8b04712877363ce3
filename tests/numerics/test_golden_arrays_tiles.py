"""Tiles lie where nnU-Net puts them, and count as they do there."""

import json

import numpy as np
import pytest

from nnseg_standard.inference.tiles import SIGMA_SCALE, gaussian, tile_steps


def test_tiles_start_where_nnunets_do(golden_folder):
    recorded = json.loads((golden_folder / "arrays" / "window_steps.json").read_text())

    assert recorded
    for row in recorded.values():
        assert tile_steps(row["image"], row["tile"], row["step"]) == row["steps"]


@pytest.mark.parametrize("number", range(3))
def test_gaussian_equals_nnunets(number, golden_folder):
    arrays = np.load(golden_folder / "arrays" / "gaussian.npz", allow_pickle=False)
    meta = json.loads(str(arrays["meta"]))

    assert meta["sigma_scale"] == SIGMA_SCALE
    weights = meta["value_scaling_factor"] * gaussian(meta["tiles"][number])

    np.testing.assert_allclose(weights, arrays[f"g{number}"], rtol=1e-3, atol=1e-3)
