import pytest
import torch

from nnseg_standard.augmentation.distortions import (
    blank,
    glow,
    local_gamma,
    median,
    offset,
    sharpen,
    stretch,
)

VOLUME = torch.randn(6, 7, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_median_of_a_ramp_is_the_ramp_away_from_its_ends(size):
    ramp = torch.arange(20.0).expand(4, 20)

    smeared = median(ramp, size)

    inner = slice(size, 20 - size)
    shift = {2: -1, 3: 0, 8: -1}[size]  # of an even number of voxels the lower middle one is taken
    assert torch.equal(smeared[:, inner], ramp[:, inner] + shift)


def test_a_median_removes_a_speck():
    volume = torch.zeros(9, 9, 9)
    volume[4, 4, 4] = 100

    assert not median(volume, 3).any()


def test_sharpening_makes_an_edge_steeper_within_the_range_of_values():
    ramp = torch.tensor([0.0, 0.0, 1.0, 3.0, 4.0, 4.0])

    assert sharpen(ramp, 0.5).tolist() == [0, 0, 0.5, 3.5, 4, 4]


def test_stretching_keeps_the_mean_and_not_the_range():
    stretched = stretch(VOLUME, 2.0)

    assert stretched.mean().item() == pytest.approx(VOLUME.mean().item(), abs=1e-5)
    assert stretched.std().item() == pytest.approx(2 * VOLUME.std().item(), rel=1e-5)


def test_boxes_are_blanked_with_the_mean():
    blanked = blank(VOLUME, [((0, 2), (1, 3), (5, 8))])

    assert (blanked[:2, 1:3, 5:] == VOLUME.mean()).all()
    assert torch.equal(blanked[2:], VOLUME[2:])


def test_a_glow_adds_its_strength_at_its_centre_and_little_far_away():
    added = glow(VOLUME, centre=(3, 3, 3), sigmas=(1, 1, 1), strength=-2.0) - VOLUME

    assert added[3, 3, 3].item() == pytest.approx(-2)
    assert added[0, 0, 7].abs().item() < 1e-3


def test_a_glow_from_beside_the_patch_still_reaches_it():
    added = glow(VOLUME, centre=(-3, 3, 3), sigmas=(2, 9, 9), strength=1.0) - VOLUME

    assert added.argmax().item() == VOLUME[0].numel() * 0 + 3 * 8 + 3
    assert added[0, 3, 3].item() == pytest.approx(1)


def test_local_gamma_changes_what_is_near_and_keeps_the_range():
    changed = local_gamma(VOLUME, centre=(0, 0, 0), sigmas=(1, 1, 1), exponent=3.0)

    assert changed[0, 0, 0] < VOLUME[0, 0, 0]
    torch.testing.assert_close(changed[5], VOLUME[5], atol=1e-4, rtol=0)
    assert changed.min() >= VOLUME.min() - 1e-5
    assert changed.max() <= VOLUME.max() + 1e-5


def test_nothing_changes_its_input():
    kept = VOLUME.clone()
    for change in (
        lambda v: median(v, 3),
        lambda v: sharpen(v, 1.0),
        lambda v: stretch(v, 2.0),
        lambda v: offset(v, 1.0),
        lambda v: blank(v, [((0, 1),) * 3]),
        lambda v: glow(v, (0, 0, 0), (1, 1, 1), 1.0),
        lambda v: local_gamma(v, (0, 0, 0), (1, 1, 1), 2.0),
    ):
        assert change(VOLUME).shape == VOLUME.shape

    assert torch.equal(VOLUME, kept)
