"""Batches of a cascade: the previous stage's labels travel with the image."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from nnseg_core.case import OUTSIDE
from nnseg_core.errors import PlanError
from nnseg_core.geometry import whole
from nnseg_standard.augmentation.recipe import NoAugmentation, StandardAugmentation
from nnseg_standard.cascade import WithPrevious
from nnseg_standard.data.cache import HeldCases, size_of
from nnseg_standard.data.feed import PatchFeed, prefetched, validation_feed
from nnseg_standard.training.feeding import with_batchgenerators

PATCH = (14, 16, 18)
CPU = torch.device("cpu")
UNDISTURBED = dict(previous_reshaping_probability=0.0, previous_removal_probability=0.0)


@dataclass
class Earlier:
    """Stands for a previous stage that segments without a mistake."""

    truth: object

    @property
    def store(self):
        return self

    def patch(self, identifier, box):
        return self.truth.patch(identifier, box)[1]


@pytest.fixture
def both(store):
    return WithPrevious(store=store, previous=Earlier(store))


@pytest.fixture
def feed(both):
    return PatchFeed(
        store=both,
        identifiers=("anna", "bert", "carl"),
        patch_size=PATCH,
        batch_size=3,
        channels=1,
        augmentation=StandardAugmentation(rotation_probability=0.7, **UNDISTURBED),
        seed=3,
        previous=(1, 2),
    )


def same(first, second):
    return torch.equal(first.image, second.image) and torch.equal(first.label, second.label)


@pytest.mark.parametrize("patch", [PATCH, (8, 30, 32), (20, 22)])
def test_channels_stay_aligned_with_the_truth(feed, patch):
    feed = replace(feed, patch_size=patch)

    for index in range(6):
        batch = feed.batch(index)

        assert batch.image.shape == (3, 3, *patch)
        assert (batch.image.dtype, batch.label.dtype) == (torch.float32, torch.int16)
        for channel, value in ((1, 1), (2, 2)):
            assert torch.equal(batch.image[:, channel] == 1, batch.label == value)
    assert feed.inputs == 3


def test_batchgenerators_keeps_them_aligned_too(feed):
    batch = with_batchgenerators(feed).batch(0)

    assert batch.image.shape == (3, 3, *PATCH)
    for channel, value in ((1, 1), (2, 2)):
        assert torch.equal(batch.image[:, channel] == 1, batch.label == value)


def test_beyond_the_border_no_label_is_seen(feed):
    batches = [feed.batch(index) for index in range(10)]

    outside = torch.cat([batch.label == OUTSIDE for batch in batches])
    assert outside.any()
    assert not torch.cat([batch.image[:, 1:] for batch in batches])[:, 0][outside].any()


def test_image_and_truth_are_those_without_a_cascade(feed, store):
    plain = replace(feed, store=store, previous=())

    batch = feed.batch(4)

    assert torch.equal(batch.image[:, :1], plain.batch(4).image)
    assert torch.equal(batch.label, plain.batch(4).label)


def test_in_training_labels_are_disturbed_and_in_validation_not(feed):
    disturbing = replace(feed, augmentation=StandardAugmentation(previous_reshaping_probability=1))
    checking = validation_feed(disturbing, ("anna",))

    def agree(batch):
        return torch.equal(batch.image[:, 1] == 1, batch.label == 1)

    assert not all(agree(disturbing.batch(index)) for index in range(5))
    assert all(agree(checking.batch(index)) for index in range(5))
    assert checking.batch(0).image.shape[1] == 3


def test_a_batch_is_a_function_of_seed_and_number_in_any_thread(feed):
    everything = StandardAugmentation(
        previous_reshaping_probability=1, previous_removal_probability=1
    )
    disturbing = replace(feed, augmentation=everything)

    ahead = list(prefetched(disturbing, range(4), CPU, workers=2))

    for index, batch in enumerate(ahead):
        assert same(batch, disturbing.batch(index))
    assert not same(ahead[0], replace(disturbing, seed=4).batch(0))


def test_a_share_of_a_batch_has_the_bits_of_the_whole(feed):
    disturbing = replace(feed, augmentation=StandardAugmentation(previous_reshaping_probability=1))

    part = replace(disturbing, samples=range(1, 3)).batch(2)

    assert torch.equal(part.image, disturbing.batch(2).image[1:])


def test_cases_in_memory_give_the_same_batches(feed, both):
    held = HeldCases(source=both, device=CPU)

    assert same(replace(feed, store=held).batch(1), feed.batch(1))
    assert held.shape("anna") == both.shape("anna")
    assert size_of(both, ["anna"], channels=1, maps=2) == np.prod(both.shape("anna")) * 8


def test_both_maps_of_a_whole_case(both, store):
    image, labels = both.patch("anna", whole(store.shape("anna")))

    np.testing.assert_array_equal(image, store.cases["anna"][0])
    np.testing.assert_array_equal(labels, [store.cases["anna"][1]] * 2)


class Forgetful(NoAugmentation):
    """An augmentation written before cascades were thought of."""

    def apply(self, images, labels, drawn):
        return super().apply(images, [label[0] for label in labels], drawn)


def test_an_augmentation_that_drops_the_previous_stage_is_named(feed):
    with pytest.raises(PlanError, match="augmentation Forgetful does not carry the segmentation"):
        replace(feed, augmentation=Forgetful()).batch(0)
