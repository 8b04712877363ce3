"""Networks drawn: every stage with its numbers, as text and as a picture."""

from xml.etree import ElementTree

import pytest

from nnseg_core.diagram import Diagram, as_lines, as_svg, levels, memory_shares
from nnseg_core.plan import Configuration, Topology
from nnseg_standard.networks.memory import stage_elements
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.networks.residual_unet import ResidualUnet

TOPOLOGY = Topology(
    patch_size=(16, 96, 64),
    features=(32, 64, 128, 256),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
    kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
)
CONFIGURATION = Configuration(
    spacing=(3.0, 1.0, 1.0),
    patch_size=TOPOLOGY.patch_size,
    batch_size=2,
    median_shape=(20.0, 100.0, 80.0),
    features=TOPOLOGY.features,
    strides=TOPOLOGY.strides,
    kernel_sizes=TOPOLOGY.kernel_sizes,
    normalization=("zscore",),
    mask_normalization=(False,),
    batch_dice=False,
)


def diagram(title="3d_fullres (plain_unet)"):
    return Diagram(
        title=title,
        inputs="1 channel",
        outputs="3 classes",
        levels=levels(CONFIGURATION, PlainUnet(), 3),
    )


def test_a_level_has_the_size_that_the_strides_lead_to():
    found = levels(CONFIGURATION, PlainUnet(), 3)

    assert [level.size for level in found] == [
        *((16, 96, 64), (16, 48, 32), (8, 24, 16), (4, 12, 8)),
    ]
    assert [level.features for level in found] == list(TOPOLOGY.features)
    assert [level.kernel for level in found] == list(TOPOLOGY.kernel_sizes)


def test_shares_of_a_plain_network_are_those_of_its_convolutions():
    *decoded, bottom = stage_elements(TOPOLOGY)
    whole = PlainUnet().memory(TOPOLOGY, 3)

    first, *deeper = memory_shares(PlainUnet(), TOPOLOGY, 3)

    # two convolutions down, two and a transposed one up; and the head at full resolution
    assert deeper == pytest.approx([5 * n / whole for n in decoded[1:]] + [2 * bottom / whole])
    assert first == pytest.approx((5 * decoded[0] + 3 * 16 * 96 * 64) / whole)


def test_shares_of_a_residual_network_are_those_of_its_blocks():
    *decoded, bottom = stage_elements(TOPOLOGY)
    whole = ResidualUnet().memory(TOPOLOGY, 3)

    shares = memory_shares(ResidualUnet(), TOPOLOGY, 3)

    # 1, 3, 4, 6 blocks of two convolutions and a projection, one and a transposed one up
    assert shares[1:] == pytest.approx(
        [(7 + 2) * decoded[1] / whole, (9 + 2) * decoded[2] / whole, 13 * bottom / whole]
    )
    assert sum(shares) == pytest.approx(1)


def test_text_has_a_line_per_stage_in_the_shape_of_a_u():
    title, heading, *rows = as_lines(diagram())

    assert title == "3d_fullres (plain_unet): 1 channel in, 3 classes out"
    assert heading.split() == ["stage", "size", "kernel", "stride", "encoder", "decoder", "memory"]
    assert [row.split()[:3] for row in rows] == [
        *(["1", "16x96x64", "1x3x3"], ["2", "16x48x32", "3x3x3"]),
        *(["3", "8x24x16", "3x3x3"], ["4", "4x12x8", "3x3x3"]),
    ]
    assert rows[1].split()[3:7] == ["1x2x2", "64", "─" * len(rows[1].split()[5]), "64"]
    lengths = [row.count("─") for row in rows]
    assert lengths == sorted(lengths, reverse=True) and lengths[-1] == 0
    assert "█" in rows[0]


def test_text_can_do_without_signs_that_a_console_lacks():
    assert all(line.isascii() for line in as_lines(diagram(), ascii_only=True))


def test_eight_stages_fit_into_a_hundred_columns():
    deep = Configuration(
        **{
            **{name: getattr(CONFIGURATION, name) for name in ("batch_size", "batch_dice")},
            "normalization": ("zscore",),
            "mask_normalization": (False,),
            "spacing": (1.0, 1.0, 1.0),
            "median_shape": (512.0,) * 3,
            "patch_size": (512,) * 3,
            "features": (32, 64, 128, 256, 320, 320, 320, 320),
            "strides": ((1,) * 3, *((2,) * 3,) * 7),
            "kernel_sizes": ((3,) * 3,) * 8,
        }
    )
    drawn = Diagram(title="a", inputs="1", outputs="2", levels=levels(deep, PlainUnet(), 2))

    assert max(map(len, as_lines(drawn))) <= 100


def test_a_picture_is_well_formed_and_shows_every_stage_twice_but_the_last():
    picture = ElementTree.fromstring(as_svg([diagram(), diagram("a <b> & c")]))
    words = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]

    for features, size, count in (
        *((32, "16 x 96 x 64", 2), (64, "16 x 48 x 32", 2)),
        *((128, "8 x 24 x 16", 2), (256, "4 x 12 x 8", 1)),
    ):
        assert words.count(f"{features} x {size}") == 2 * count
    assert words.count("stride 1x2x2") == 2 * 1
    assert words.count("stride 2x2x2") == 2 * 2
    assert words.count("kernel 1x3x3") == 2 * 2
    assert "a <b> & c" in words


def test_everything_lies_within_the_picture():
    picture = ElementTree.fromstring(as_svg([diagram()]))
    width, height = float(picture.get("width")), float(picture.get("height"))

    for element in picture.iter():
        x, y = float(element.get("x", 0)), float(element.get("y", 0))
        assert 0 <= x + float(element.get("width", 0)) <= width
        assert 0 <= y + float(element.get("height", 0)) <= height


def test_a_picture_is_readable_on_light_and_on_dark():
    text = as_svg([diagram()])

    assert "prefers-color-scheme: dark" in text
    assert '<rect class="paper"' in text  # a viewer that knows no schemes has light paper
