from dataclasses import fields

import numpy as np
import pytest
import torch

from nnseg_core.contracts import Augmentation
from nnseg_standard.augmentation.strong import (
    Exchange,
    StrongAugmentation,
    StrongDrawn,
    exchanged,
)

PROBABILITIES = [
    option.name
    for option in fields(StrongAugmentation)
    if option.name.endswith("_probability") and not option.name.startswith("previous")
]
ALWAYS = StrongAugmentation(**dict.fromkeys(PROBABILITIES, 1.0), mask_normalization=(True, False))
NEVER = StrongAugmentation(**dict.fromkeys(PROBABILITIES, 0.0), mirror_axes=())


def augmented(augmentation, patch_size, seed=0, maps=()):
    random = np.random.default_rng(seed)
    drawn = augmentation.draw(random, patch_size, channels=2)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, *drawn.source_size, generator=generator)
    label = torch.randint(-1, 3, (*maps, *drawn.source_size), generator=generator).short()
    return image, label, *augmentation.apply([image] * 2, [label] * 2, [drawn] * 2)


def test_is_an_augmentation():
    assert isinstance(StrongAugmentation(), Augmentation)


@pytest.mark.parametrize("patch_size", [(16, 16, 16), (6, 20, 20), (12, 16), (8, 12, 16)])
def test_everything_at_once_gives_patches(patch_size):
    for seed in range(3):
        _, _, image, label = augmented(ALWAYS, patch_size, seed)

        assert image.shape == (2, 2, *patch_size)
        assert label.shape == (2, *patch_size)
        assert image.isfinite().all()
        assert set(label.unique().tolist()) <= {-1, 0, 1, 2}
        assert not image[:, 0][label < 0].any()
        assert torch.equal(image[0], image[1])


def test_nothing_at_all_is_the_patch_itself():
    image, label, changed, changed_label = augmented(NEVER, (8, 8, 8))

    assert torch.equal(changed[0], image)
    assert torch.equal(changed_label[0], label)


def test_a_second_label_map_moves_with_the_first():
    _, _, _, label = augmented(ALWAYS, (8, 8, 8), maps=(2,))

    assert label.shape == (2, 2, 8, 8, 8)


def test_axes_of_one_length_trade_places_in_image_and_label_alike():
    array = torch.arange(2 * 3 * 3).reshape(2, 3, 3)

    assert torch.equal(exchanged(array, Exchange(order=(0, 2, 1))), array.transpose(1, 2))
    turned = exchanged(array, Exchange(order=(0, 1, 2), plane=(1, 2), turns=2))
    assert torch.equal(turned, array.flip(1, 2))


def test_only_axes_of_one_length_are_exchanged():
    for seed in range(20):
        drawn = ALWAYS.draw(np.random.default_rng(seed), (6, 20, 20), 1)

        assert isinstance(drawn, StrongDrawn)
        assert drawn.exchange is not None
        assert drawn.exchange.order[0] == 0
        assert set(drawn.exchange.plane) == {1, 2}


def test_changes_are_as_frequent_as_asked_for():
    random = np.random.default_rng(0)
    drawn = [StrongAugmentation().draw(random, (8, 8, 8), 1) for _ in range(1000)]

    by_name = [change.func.__name__ for one in drawn for _, change in one.changes]

    shares = {name: by_name.count(name) / 1000 for name in sorted(set(by_name))}
    assert shares == pytest.approx(
        {
            "blank": 0.2,
            "glow": 0.15,
            "local_gamma": 0.15,
            "median": 0.05,
            "offset": 0.05,
            "sharpen": 0.1,
            "stretch": 0.05,
        },
        abs=0.03,
    )
