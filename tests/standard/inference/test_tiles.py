import numpy as np
import pytest

from nnseg_standard.inference.tiles import gaussian, mirrorings, tile_rows, tile_steps


@pytest.mark.parametrize("step", [0.3, 0.5, 0.75, 1])
@pytest.mark.parametrize("size", [16, 17, 31, 32, 33, 100])
def test_tiles_reach_from_edge_to_edge_without_gaps(size, step):
    (starts,) = tile_steps([size], [16], step)

    assert starts[0] == 0
    assert starts[-1] == size - 16
    assert all(0 < gap <= max(1, round(16 * step)) for gap in np.diff(starts))


def test_axes_are_independent():
    assert tile_steps((110, 64), (64, 64), 0.5) == [[0, 23, 46], [0]]


def test_gaussian_peaks_at_the_centre_and_is_never_zero():
    weights = gaussian((8, 12))

    assert weights[4, 6] == weights.max() == 1
    assert weights.min() > 0


def test_mirrorings_are_all_combinations():
    assert mirrorings((0, 2)) == [(), (0,), (2,), (0, 2)]
    assert len(mirrorings((0, 1, 2))) == 8
    assert mirrorings(()) == [()]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("patch", "slices"), [((8, 8, 8), 1), ((8, 8), 1), ((8, 8), 3)])
def test_the_shares_of_all_tiles_add_up_to_one(patch, slices, weighted):
    shares = np.zeros((20, 17, 9), dtype=np.float32)

    for row in tile_rows(shares.shape, patch, 0.5, weighted=weighted, slices=slices):
        for tile in row.tiles:
            shares[tile.window] += tile.weights()

    np.testing.assert_allclose(shares, 1, rtol=0, atol=1e-6)


def test_shares_are_those_of_the_gaussian():
    tiles = [
        tile for row in tile_rows((8, 12, 8), (8, 8, 8), 0.5, weighted=True) for tile in row.tiles
    ]

    first, second = (
        np.pad(gaussian((8, 8, 8)), [(0, 0), edge, (0, 0)]) for edge in ((0, 4), (4, 0))
    )
    np.testing.assert_allclose(tiles[0].weights(), (first / (first + second))[:, :8], rtol=1e-5)


def test_rows_go_down_the_first_axis_and_say_what_is_done():
    rows = tile_rows((12, 8, 10), (8, 8, 8), 0.5, weighted=True)

    assert [(row.start, row.stop, row.done, len(row.tiles)) for row in rows] == [
        (0, 8, 4, 2),
        (4, 12, 12, 2),
    ]
    assert rows[1].tiles[1].window == (slice(4, 12), slice(0, 8), slice(2, 10))


def test_a_planar_patch_goes_through_all_slices():
    rows = tile_rows((5, 8, 10), (8, 8), 0.5, weighted=True, slices=2)

    assert [(row.start, row.stop, row.done, len(row.tiles)) for row in rows] == [
        (0, 2, 2, 4),
        (2, 4, 4, 4),
        (4, 5, 5, 2),
    ]
    assert rows[0].tiles[2].window == (slice(1, 2), slice(0, 8), slice(0, 8))
