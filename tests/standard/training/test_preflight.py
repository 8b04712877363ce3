import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from nnseg_core.geometry import Box
from nnseg_standard.augmentation.recipe import NoAugmentation
from nnseg_standard.data.feed import PatchFeed
from nnseg_standard.preprocessing.foreground import SAMPLES
from nnseg_standard.training.preflight import Outlook, look_ahead, say_outlook, sentence


@dataclass
class Store:
    """Coordinates of cases of 40 voxels along each axis; there is nothing else to read."""

    cases: Mapping[str, Mapping[str, NDArray[np.int32]]]

    def shape(self, identifier: str) -> tuple[int, int, int]:
        return 40, 40, 40

    def foreground(self, identifier: str) -> Mapping[str, NDArray[np.int32]]:
        return self.cases[identifier]

    def patch(self, identifier: str, box: Box) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        raise AssertionError("no image is to be read")


def coordinates(*corners: tuple[int, int, int], side: int = 2) -> NDArray[np.int32]:
    cube = np.indices((side,) * 3).reshape(3, -1).T
    return np.concatenate([cube + corner for corner in corners]).astype(np.int32)


def feed(cases: Mapping[str, Mapping[str, NDArray[np.int32]]], share: float = 0.33) -> PatchFeed:
    return PatchFeed(
        store=Store(cases),  # type: ignore[arg-type]
        identifiers=tuple(cases),
        patch_size=(8, 8, 8),
        batch_size=2,
        channels=1,
        augmentation=NoAugmentation(),
        seed=0,
        foreground_share=share,
    )


EVERYWHERE = np.argwhere(np.ones((40, 40, 40))).astype(np.int32)[: SAMPLES + 1]
NONE = np.empty((0, 3), dtype=np.int32)


def test_the_share_of_patches_follows_that_of_forced_foreground():
    cases = {"a": {"lesion": coordinates((20, 20, 20))}}

    shares = [look_ahead(feed(cases, share), ["lesion"]).shares["lesion"] for share in (0, 0.5, 1)]

    assert shares[0] < 0.1
    assert shares[1] == pytest.approx(0.5, abs=0.12)
    assert shares[2] == 1


def test_the_smallest_object_is_counted_in_voxels():
    parts = np.concatenate([coordinates((1, 1, 1)), coordinates((9, 9, 9), side=3)])
    cases = {"a": {"organ": EVERYWHERE, "lesion": parts}, "b": {"organ": EVERYWHERE}}

    smallest = look_ahead(feed(cases), ["organ", "lesion"]).smallest

    assert smallest is not None
    assert (smallest.voxels, smallest.label, smallest.case) == (8, "lesion", "a")


def test_a_label_that_no_case_has_is_warned_of(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    cases = {"a": {"lesion": coordinates((20, 20, 20)), "cyst": NONE}}

    say_outlook(feed(cases, 1.0), ["lesion", "cyst"])

    told, warned = caplog.records
    assert told.getMessage() == (
        "training patches: cyst in 0%; smallest object: 8 voxels (lesion, a)"
    )
    assert warned.getMessage().startswith("no training case of this fold has cyst, so it cannot")


def test_without_rare_labels_the_rarest_are_named():
    shares = {"a": 0.9, "b": 0.2, "c": 1.0, "d": 0.5}

    said = sentence(Outlook(shares=shares, smallest=None, absent=()))

    assert said == "training patches: b in 20%, d in 50%, a in 90%"
