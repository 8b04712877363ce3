from __future__ import annotations

import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from nnseg_core.case import OUTSIDE
from nnseg_standard.augmentation.recipe import NoAugmentation, StandardAugmentation
from nnseg_standard.data.feed import PatchFeed, prefetched, validation_feed

CPU = torch.device("cpu")
PATCH = (16, 18, 20)
PROBABILITIES = [
    name for name in StandardAugmentation.__dataclass_fields__ if "_probability" in name
]


@pytest.fixture
def feed(store):
    return PatchFeed(
        store=store,
        identifiers=tuple(store.cases),
        patch_size=PATCH,
        batch_size=3,
        channels=1,
        augmentation=StandardAugmentation(rotation_probability=0.5),
        seed=7,
    )


def same(first, second):
    return torch.equal(first.image, second.image) and torch.equal(first.label, second.label)


def feeding_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nnseg-feed")]


def test_a_batch_has_the_shape_and_types_of_the_contract(feed):
    batch = feed.batch(0)

    assert (batch.image.shape, batch.image.dtype) == ((3, 1, *PATCH), torch.float32)
    assert (batch.label.shape, batch.label.dtype) == ((3, *PATCH), torch.int16)
    assert set(batch.label.unique().tolist()) <= {OUTSIDE, 0, 1, 2}


def test_a_batch_is_a_function_of_seed_and_number(feed):
    later, first = feed.batch(5), feed.batch(0)

    assert same(feed.batch(5), later)
    assert not same(first, later)
    assert not same(replace(feed, seed=8).batch(5), later)
    assert not same(replace(feed, stream=1).batch(5), later)


def test_a_batch_does_not_depend_on_the_number_of_threads_pytorch_has(feed):
    everything = StandardAugmentation(**dict.fromkeys(PROBABILITIES, 1.0))
    large = replace(feed, patch_size=(33, 35, 37), augmentation=everything)
    before = torch.get_num_threads()
    batches = []
    for number in (1, 3):
        torch.set_num_threads(number)
        batches.append(large.batch(0))
        assert torch.get_num_threads() == number
    torch.set_num_threads(before)

    assert same(*batches)


def test_the_last_patches_are_centred_on_foreground(feed):
    plain = replace(feed, augmentation=NoAugmentation(), foreground_share=0.67)

    centres = [plain.batch(index).label[:, 8, 9, 10].tolist() for index in range(20)]

    assert all(label in (1, 2) for batch in centres for label in batch[1:])
    assert any(batch[0] == 0 for batch in centres)


def test_reading_less_gives_the_middle_of_the_initial_patch(feed, memory_store):
    """An unaltered patch is the centre crop of the initial one, whatever was read."""
    still = StandardAugmentation(mirror_axes=(), **dict.fromkeys(PROBABILITIES, 0.0))
    image = np.arange(60**3, dtype=np.float32).reshape(1, 60, 60, 60)
    label = np.zeros((60, 60, 60), np.int16)
    alone = memory_store({"one": (image, label, {"1": np.array([[30, 31, 32]], np.int32)})})
    centred = replace(
        feed, store=alone, identifiers=("one",), augmentation=still, foreground_share=1.0
    )

    patch = centred.batch(0).image[0, 0]

    initial = still.initial_patch_size(PATCH)
    corner = [
        voxel - outer // 2 + outer // 2 - inner // 2
        for voxel, outer, inner in zip((30, 31, 32), initial, PATCH, strict=True)
    ]
    assert patch[0, 0, 0] == image[0][tuple(corner)]


def test_two_axes_take_slices(feed):
    planar = replace(feed, patch_size=(20, 24), batch_size=2)

    batch = planar.batch(0)

    assert batch.image.shape == (2, 1, 20, 24)
    assert batch.label.shape == (2, 20, 24)


def test_a_slice_is_a_slice_of_the_case(feed, store):
    plain = replace(feed, augmentation=NoAugmentation(), identifiers=("bert",))
    planar = replace(plain, patch_size=(34, 32), batch_size=1)

    slices = store.cases["bert"][0][0]
    assert any(np.array_equal(planar.batch(0).image[0, 0], plane) for plane in slices)


def test_all_cases_are_drawn(feed, store):
    plain = replace(feed, augmentation=NoAugmentation(), patch_size=(30, 34, 32), batch_size=20)

    batch = plain.batch(0)

    cases = [torch.from_numpy(image[0]) for image, _, _ in store.cases.values()]
    free = batch.image[:13, 0]
    drawn = {next(n for n, case in enumerate(cases) if torch.equal(case, one)) for one in free}
    assert drawn == {0, 1, 2}


def test_validation_patches_are_left_as_they_are(feed):
    masked = replace(feed, augmentation=StandardAugmentation(mask_normalization=(True,)))

    validation = validation_feed(masked, ("carl",))

    assert validation.augmentation == NoAugmentation()
    assert validation.identifiers == ("carl",)
    assert validation.foreground_share == feed.foreground_share
    assert not same(replace(masked, identifiers=("carl",)).batch(0), validation.batch(0))
    assert not same(replace(validation, stream=feed.stream).batch(0), validation.batch(0))


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_make_the_same_batches_in_the_same_order(feed, workers):
    numbers = [4, 2, 3, 9, 0, 1, 7]

    made = list(prefetched(feed, numbers, CPU, workers))

    assert len(made) == len(numbers)
    assert all(same(feed.batch(n), batch) for n, batch in zip(numbers, made, strict=True))
    assert not feeding_threads()


def test_no_batches_are_made_when_none_are_wanted(feed):
    assert list(prefetched(feed, [], CPU, 2)) == []


def test_only_few_batches_are_made_ahead(feed):
    asked = []

    def numbers():
        for number in range(100):
            asked.append(number)
            yield number

    batches = prefetched(feed, numbers(), CPU, workers=2)
    list(islice(batches, 3))
    batches.close()

    assert asked == list(range(3 + 4))


def test_closing_early_ends_the_threads(feed):
    batches = prefetched(feed, range(1000), CPU, workers=2)
    next(batches)
    assert feeding_threads()

    batches.close()

    assert not feeding_threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_while_reading_names_the_case(feed, workers):
    class Broken:
        def shape(self, identifier):
            raise OSError("disk on fire")

    broken = replace(feed, store=Broken(), identifiers=("bert",))

    with pytest.raises(OSError, match="disk on fire") as caught:
        list(prefetched(broken, range(5), CPU, workers))

    assert caught.value.__notes__ == ["This happened while reading a patch of case 'bert'."]
    assert not feeding_threads()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_cuda_device_augments_its_own_batches(feed, workers):
    device = torch.device("cuda")
    options = replace(StandardAugmentation(), noise_probability=0.0, rotation_probability=1.0)
    quiet = replace(feed, augmentation=options)

    made = list(prefetched(quiet, range(6), device, workers))

    for number, batch in enumerate(made):
        expected = quiet.batch(number)
        assert batch.image.device.type == batch.label.device.type == "cuda"
        assert torch.allclose(batch.image.cpu(), expected.image, atol=1e-3)
        assert (batch.label.cpu() != expected.label).float().mean() < 1e-3


def test_foreground_by_chance_is_drawn_for_each_patch(feed):
    several = replace(feed, by_chance=True, foreground_share=0.3)
    numbers = [(index, sample) for index in range(200) for sample in range(3)]

    forced = [several._forced(several._random(*number), number[1]) for number in numbers]

    assert np.mean(forced) == pytest.approx(0.3, abs=0.05)
    assert {sum(forced[start : start + 3]) for start in range(0, 600, 3)} == {0, 1, 2, 3}


def test_no_foreground_by_chance_is_none(feed):
    never = replace(feed, by_chance=True, foreground_share=0.0)

    assert not any(never._forced(never._random(index, 0), 0) for index in range(100))
