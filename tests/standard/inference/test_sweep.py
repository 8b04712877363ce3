import numpy as np
import pytest
import torch
from torch import nn

from nnseg_standard.inference import sweep as module
from nnseg_standard.inference.sweep import Sweep, in_parts, on_host
from nnseg_standard.inference.tiles import tile_rows

CPU = torch.device("cpu")


def make_sweep(image, patch, networks, mirrored=((),), batch_size=1):
    return Sweep(
        networks=networks,
        image=image,
        rows=tile_rows(image.shape[1:], patch, 0.5, weighted=True),
        mirrored=mirrored,
        planar=len(patch) == 2,
        batch_size=batch_size,
        device=CPU,
        precision=torch.float32,
        on_tiles=lambda count: None,
    )


def noise(*shape):
    return np.random.default_rng(0).normal(0, 10, shape).astype(np.float32)


def together(sweep):
    return torch.cat([slab.clone() for slab in sweep.slabs()], dim=1)


def in_one_piece(image, patch, networks, mirrored):
    """The mean in float64, with all logits in memory."""
    summed = 0
    for row in tile_rows(image.shape[1:], patch, 0.5, weighted=True):
        for tile in row.tiles:
            voxels = torch.from_numpy(image[(slice(None), *tile.window)])[None]
            with torch.inference_mode():
                for network in networks:
                    for axes in mirrored:
                        logits = network(voxels.flip(axes)).flip(axes)[0].double()
                        full = torch.zeros(len(logits), *image.shape[1:], dtype=torch.float64)
                        full[(slice(None), *tile.window)] = logits * torch.from_numpy(
                            tile.weights()
                        )
                        summed = summed + full
    return summed / len(networks) / len(mirrored)


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return [nn.Conv3d(2, 3, 3, padding=1) for _ in range(2)]


def test_slabs_follow_each_other_and_are_the_mean(networks):
    image, mirrored = noise(2, 29, 12, 9), ((), (-1,), (-3, -2))
    sweep = make_sweep(image, (8, 8, 8), networks, mirrored, batch_size=2)

    depths = [slab.shape[1] for slab in sweep.slabs()]
    swept = together(make_sweep(image, (8, 8, 8), networks, mirrored, batch_size=2))

    assert depths == [4, 3, 3, 4, 4, 3, 8]
    expected = in_one_piece(image, (8, 8, 8), networks, mirrored)
    assert (swept - expected).abs().max() < 1e-5 * expected.abs().max()


def test_logits_too_large_for_float32_are_summed_in_float16(networks, monkeypatch):
    image = noise(2, 29, 12, 9)
    exact = together(make_sweep(image, (8, 8, 8), networks))
    monkeypatch.setattr(module, "FLOAT32_BYTES", 4 * 3 * 8 * 12 * 9 - 1)

    rough = together(make_sweep(image, (8, 8, 8), networks))

    assert rough.dtype is torch.float16
    assert 0 < (rough - exact).abs().max() < 2e-3 * exact.abs().max()


def test_the_ring_is_as_deep_as_a_tile(networks):
    sweep = make_sweep(noise(2, 100, 12, 9), (8, 8, 8), networks)
    together(sweep)

    assert sweep._ring.shape == (3, 8, 12, 9)


def test_slabs_in_main_memory_stay_where_they_are(networks):
    slabs = [torch.ones(1), torch.ones(1)]

    assert all(a is b for a, b in zip(on_host(iter(slabs)), slabs, strict=True))


@pytest.mark.parametrize(
    ("count", "most", "parts"), [(8, 8, [8]), (8, 6, [4, 4]), (7, 3, [2, 2, 3]), (2, 5, [2])]
)
def test_parts_are_as_equal_as_can_be(count, most, parts):
    items = list(range(count))

    found = list(in_parts(items, most))

    assert [len(part) for part in found] == parts
    assert [item for part in found for item in part] == items
