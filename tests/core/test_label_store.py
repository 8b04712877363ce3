"""Segmentations between two stages of a cascade."""

import pickle

import numpy as np
import pytest

from nnseg_core.case import OUTSIDE
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Box
from nnseg_core.label_store import LabelStore


@pytest.fixture
def store(tmp_path):
    return LabelStore(folder=tmp_path / "next_stage" / "3d")


@pytest.fixture
def label():
    return np.random.default_rng(0).integers(0, 4, (20, 30, 25)).astype(np.uint8)


def test_a_label_map_comes_back_with_what_it_was_made_from(store, label):
    store.write("anna", label, (8, 8, 8), key="abc")

    np.testing.assert_array_equal(store.read("anna"), label)
    assert store.read("anna").dtype == np.int16
    assert store.key("anna") == "abc"
    assert [path.name for path in store.folder.iterdir()] == ["anna.b2nd"]


def test_a_patch_may_reach_outside(store, label):
    store.write("anna", label, (8, 8, 8), key="")
    copy = pickle.loads(pickle.dumps(store))

    patch = copy.patch("anna", Box(start=(-2, 5, 20), stop=(4, 9, 28)))

    np.testing.assert_array_equal(patch[2:, :, :5], label[:4, 5:9, 20:])
    assert (patch[:2] == OUTSIDE).all() and (patch[:, :, 5:] == OUTSIDE).all()


def test_a_new_map_takes_the_place_of_the_old_one(store, label):
    store.write("anna", label, (8, 8, 8), key="old")
    store.write("anna", label * 0, (8, 8, 8), key="new")

    assert store.key("anna") == "new"
    assert not store.read("anna").any()


def test_what_is_missing_or_damaged_has_no_key(store, label):
    assert store.key("anna") is None
    store.write("anna", label, (8, 8, 8), key="abc")
    (store.folder / "anna.b2nd").write_bytes(b"torn")

    assert store.key("anna") is None


def test_a_map_that_is_gone_says_how_to_have_it_again(store):
    with pytest.raises(DatasetError, match="case 'anna' by the previous stage is not in .*again"):
        store.read("anna")
