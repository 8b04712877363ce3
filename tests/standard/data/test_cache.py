from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Box
from nnseg_core.machine import Memory
from nnseg_standard.augmentation.recipe import StandardAugmentation
from nnseg_standard.data.cache import HeldCases, held_where_they_fit, size_of
from nnseg_standard.data.feed import PatchFeed, prefetched

CPU = torch.device("cpu")


class Counting:
    """Counts what is read."""

    def __init__(self, store):
        self.store, self.read = store, []

    def shape(self, identifier):
        return self.store.shape(identifier)

    def foreground(self, identifier):
        return self.store.foreground(identifier)

    def patch(self, identifier, box):
        self.read.append(identifier)
        return self.store.patch(identifier, box)


BOXES = [
    Box(start=start, stop=tuple(low + size for low, size in zip(start, (8, 9, 10), strict=True)))
    for start in itertools.product((-20, -3, 4, 28, 60), repeat=3)
]


def test_patches_are_those_of_the_store_inside_across_and_beyond_the_case(store):
    held = HeldCases(source=store, device=CPU)

    for box in BOXES:
        for expected, patch in zip(store.patch("anna", box), held.patch("anna", box), strict=True):
            assert patch.dtype == torch.from_numpy(expected).dtype
            assert np.array_equal(patch.numpy(), expected)


def test_shapes_and_foreground_are_those_of_the_store(store):
    held = HeldCases(source=store, device=CPU)

    assert held.shape("bert") == store.shape("bert")
    assert held.foreground("bert") == store.foreground("bert")


def test_a_case_is_read_once(store):
    counting = Counting(store)
    held = HeldCases(source=counting, device=CPU)

    for name in ("anna", "bert", "anna", "bert"):
        held.patch(name, BOXES[0])

    assert counting.read == ["anna", "bert"]


def test_a_patch_may_be_changed_and_the_case_stays(store):
    held = HeldCases(source=store, device=CPU)
    inside = Box(start=(1, 2, 3), stop=(5, 6, 7))
    image, label = held.patch("anna", inside)
    image.zero_(), label.fill_(9)

    again = held.patch("anna", inside)

    assert np.array_equal(again[0].numpy(), store.patch("anna", inside)[0])
    assert np.array_equal(again[1].numpy(), store.patch("anna", inside)[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_held_cases_have_the_same_bits(store, workers):
    feed = PatchFeed(
        store=store,
        identifiers=tuple(store.cases),
        patch_size=(16, 18, 20),
        batch_size=2,
        channels=1,
        augmentation=StandardAugmentation(rotation_probability=0.5),
        seed=3,
    )
    held = replace(feed, store=HeldCases(source=store, device=CPU))

    for number, batch in enumerate(prefetched(held, range(8), CPU, workers)):
        expected = feed.batch(number)
        assert torch.equal(batch.image, expected.image)
        assert torch.equal(batch.label, expected.label)


def test_the_size_of_cases_is_that_of_images_and_labels(store):
    image, label, _ = store.cases["anna"]

    assert size_of(store, ["anna", "bert"], channels=1) == 2 * (image.nbytes + label.nbytes)


@pytest.mark.parametrize(("free", "kept"), [(5_000_000, True), (600_000, False)])
def test_cases_are_kept_where_they_take_half_of_the_free_memory_at_most(
    store, monkeypatch, caplog, free, kept
):
    monkeypatch.setattr("nnseg_standard.data.cache.free_memory", lambda: Memory(free, "a test"))

    with caplog.at_level("INFO", "nnseg_standard.data.cache"):
        source = held_where_they_fit(store, tuple(store.cases), 1, CPU)

    assert (source is not store) == kept
    assert caplog.messages == [
        "cases: 1 MB, kept in memory (cpu)"
        if kept
        else "cases: 1 MB, too much for the free memory; read from disk"
    ]


def test_cases_are_not_kept_where_the_free_memory_is_unknown(store, monkeypatch):
    monkeypatch.setattr("nnseg_standard.data.cache.free_memory", lambda: None)

    assert held_where_they_fit(store, tuple(store.cases), 1, CPU) is store


def test_what_the_store_says_of_a_case_is_passed_on(store):
    class WithoutLabels(Counting):
        def patch(self, identifier, box):
            raise DatasetError("prepared without a label")

    with pytest.raises(DatasetError, match="prepared without a label"):
        HeldCases(source=WithoutLabels(store), device=CPU).patch("anna", BOXES[0])
