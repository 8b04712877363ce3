from __future__ import annotations

import pytest

from nnseg_core.checking import CaseCheck
from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.fixing.case import Mended
from nnseg_core.fixing.settle import settle_channels, settle_values
from nnseg_core.geometry import Geometry


def description(values=None, ignore=None, channels=("MRI",)):
    return DatasetDescription(
        name="x",
        channels=channels,
        labels=Labels(values=values or {"cell": (1,)}, ignore=ignore),
        file_ending=".png",
    )


def mended(*held, channels=(), planar=False):
    flat = {"origin": (0.0, 0.0), "direction": (1.0, 0.0, 0.0, 1.0)} if planar else {}
    geometry = Geometry(shape=(1, 8, 8), spacing=(999.0, 1.0, 1.0), **flat)
    return [
        Mended(
            identifier="abcdef"[number],
            changes=(),
            channels=channels[number] if channels else 1,
            check=CaseCheck(
                identifier="abcdef"[number],
                findings=(),
                geometry=geometry,
                voxels=dict.fromkeys(values, 1),
                digest=None,
            ),
        )
        for number, values in enumerate(held)
    ]


def test_255_is_declared_where_all_masks_have_it():
    settled = settle_values(description(), mended((0, 255), (0,), (0, 255)))

    assert settled.raw == {"labels": {"background": 0, "cell": 255}}
    assert settled.masks == ()


def test_255_becomes_the_declared_value_where_some_masks_have_it():
    settled = settle_values(description(), mended((0, 255), (0, 1), (0, 255)))

    assert (settled.raw, settled.masks) == ({}, ("a", "c"))
    assert [change.message for change in settled.changes] == ["255 is now 1"] * 2


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (None, ((0, 1), (0, 1))),
        (None, ((0, 1, 255), (0, 255))),
        (None, ((0, 7), (0, 255))),
        ({"a": (1,), "b": (2,)}, ((0, 255), (0, 255))),
        ({"cell": (255,)}, ((0, 255), (0, 255))),
    ],
)
def test_what_255_means_is_not_guessed(values, held):
    assert settle_values(description(values), mended(*held)).codes == frozenset()


def test_the_ignore_label_stays_what_it_is():
    settled = settle_values(description(ignore=2), mended((0, 255), (0, 2)))
    assert settled.codes == {"mask-255"}


@pytest.mark.parametrize(
    ("planar", "count", "names"),
    [
        (True, 3, {"0": "R", "1": "G", "2": "B"}),
        (False, 3, {"0": "MRI", "1": "channel_1", "2": "channel_2"}),
        (False, 2, {"0": "MRI", "1": "channel_1"}),
    ],
)
def test_channels_that_all_cases_have_are_named(planar, count, names):
    found = mended((0,), (0,), channels=(count, count), planar=planar)

    assert settle_channels(description(), found).raw == {"channel_names": names}


@pytest.mark.parametrize("channels", [(1, 1), (1, 3), (None, None)])
def test_channels_that_only_some_have_are_not(channels):
    found = mended((0,), (0,), channels=channels)

    assert settle_channels(description(), found).raw == {}
