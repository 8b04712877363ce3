"""Where a weight of a U-Net is, told in the same words for every depth."""

import pytest

from nnseg_core.plan import Topology
from nnseg_standard.networks.places import place_in_unet


def topology(stages: int) -> Topology:
    return Topology(
        patch_size=(64, 64),
        features=(4,) * stages,
        strides=((1, 1), *((2, 2),) * (stages - 1)),
        kernel_sizes=((3, 3),) * stages,
    )


@pytest.mark.parametrize("part", ["decoder.stages.{}.1.norm.bias", "decoder.upsamplings.{}.weight"])
def test_the_decoder_is_counted_from_full_resolution(part: str):
    last_of_three = place_in_unet(part.format(1), topology(3))

    assert "at level 0" in last_of_three
    assert last_of_three == place_in_unet(part.format(4), topology(6))
    assert last_of_three != place_in_unet(part.format(1), topology(6))


@pytest.mark.parametrize("name", ["encoder.stages.2.0.norm.bias", "heads.0.weight"])
def test_other_names_stay(name: str):
    assert place_in_unet(name, topology(6)) == name
