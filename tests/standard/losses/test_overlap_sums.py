"""What all losses of overlap have in common, and what tells them apart."""

import pytest
import torch
from torch.nn import functional

from nnseg_core.contracts import IGNORED, Loss
from nnseg_standard.losses.compound import DiceFocal
from nnseg_standard.losses.correlation import Correlation
from nnseg_standard.losses.cross_entropy import CrossEntropy
from nnseg_standard.losses.dice import Dice
from nnseg_standard.losses.focal import FocalCE
from nnseg_standard.losses.generalized_dice import GeneralizedDice
from nnseg_standard.losses.top_k import TopK
from nnseg_standard.losses.tversky import Tversky

OVERLAPS = {
    "dice": Dice(),
    "dice, squared": Dice(squared=True),
    "dice, with background": Dice(background=True),
    "tversky": Tversky(),
    "generalized_dice": GeneralizedDice(),
    "correlation": Correlation(),
}
LOSSES = {
    **OVERLAPS,
    "focal_ce": FocalCE(),
    "dice_focal": DiceFocal(),
    "ce, smoothed": CrossEntropy(smoothing=0.1),
    "topk, smoothed": TopK(share=1.0, smoothing=0.1),
    "tversky and ce": Tversky(ce_weight=0.5),
}


def with_option(loss, **options):
    return type(loss)(**{**vars(loss), **options})


@pytest.fixture
def logits():
    return torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.fixture
def target():
    return torch.randint(0, 3, (2, 6, 5), generator=torch.Generator().manual_seed(1))


def as_regions(target):
    """A channel per class."""
    return functional.one_hot(target, 3).movedim(-1, 1).float()


def certain(target):
    """Logits that leave no doubt of ``target``."""
    return 50 * (2 * as_regions(target) - 1)


@pytest.mark.parametrize("name", LOSSES)
def test_is_a_loss(name):
    assert isinstance(LOSSES[name], Loss)


@pytest.mark.parametrize("name", OVERLAPS)
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("batch_dice", [False, True])
def test_perfect_overlap_is_minus_one(name, regions, batch_dice, target):
    loss = with_option(OVERLAPS[name], regions=regions, batch_dice=batch_dice)

    found = loss(certain(target), as_regions(target) if regions else target)

    assert found.item() == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_ignored_voxels_change_nothing(name, regions, logits, target):
    loss = LOSSES[name]
    if hasattr(loss, "regions"):
        loss = with_option(loss, regions=regions)
    truth = as_regions(target) if regions else target.clone()
    truth[..., 3:] = IGNORED
    other = logits.detach().clone()
    other[..., 3:] = 7.0
    other.requires_grad_()

    value, same = loss(logits, truth), loss(other, truth)
    value.backward()

    assert value.item() == pytest.approx(same.item(), rel=1e-6)
    assert logits.grad[..., :3].any()
    assert not logits.grad[..., 3:].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_target_without_any_annotation_teaches_nothing(name, logits, target):
    value = LOSSES[name](logits, torch.full_like(target, IGNORED))
    value.backward()

    assert value.isfinite()
    assert logits.grad.abs().max() < 1e-3


def test_tversky_with_halves_is_dice_with_half_the_smoothing(logits, target):
    halves = Tversky(false_weight=0.5, missed_weight=0.5, smooth=0.5)

    assert halves(logits, target).item() == pytest.approx(Dice(smooth=1)(logits, target).item())


def test_tversky_minds_missed_voxels_more_than_false_ones():
    truth = torch.zeros(1, 4, 4, dtype=torch.long)
    truth[:, :2] = 1
    less, more = truth.clone(), truth.clone()
    less[:, 1], more[:, 2] = 0, 1  # a row too few, a row too many

    few, many = (
        Tversky()(50.0 * (2 * functional.one_hot(m, 2).movedim(-1, 1) - 1), truth)
        for m in (less, more)
    )

    assert few.item() == pytest.approx(-4 / (4 + 0.7 * 4), rel=1e-3)
    assert many.item() == pytest.approx(-8 / (8 + 0.3 * 4), rel=1e-3)


def test_generalized_dice_weighs_classes_by_one_over_their_squared_volume(logits, target):
    probability, truth = logits.softmax(1), as_regions(target)
    weight = truth.sum((2, 3)) ** -2
    shared = (weight * (probability * truth).sum((2, 3))).sum(1)
    both = (weight * (probability + truth).sum((2, 3))).sum(1)

    expected = -(2 * shared / both).mean()

    assert GeneralizedDice(smooth=0)(logits, target).item() == pytest.approx(expected.item())


def test_correlation_is_that_of_numpy(logits, target):
    probability, truth = logits.softmax(1)[:, 1:], as_regions(target)[:, 1:]
    by_numpy = []
    for found, true in zip(probability.flatten(0, 1), truth.flatten(0, 1), strict=True):
        both, f, t = (found * true).mean(), found.mean(), true.mean()
        by_numpy.append((both - f * t) / (f * (1 - f) * t * (1 - t)).sqrt())

    found = Correlation()(logits, target).item()

    assert found == pytest.approx(-torch.stack(by_numpy).mean().item(), rel=1e-5)


def test_squared_dice_has_squares_of_probabilities_below(logits, target):
    probability, truth = logits.softmax(1)[:, 1:], as_regions(target)[:, 1:]
    below = (probability**2 + truth).sum((2, 3))
    expected = -(2 * (probability * truth).sum((2, 3)) / below).mean()

    found = Dice(squared=True, smooth=0)(logits, target).item()

    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_focal_loss_with_gamma_0_is_cross_entropy(logits, target):
    assert FocalCE(gamma=0)(logits, target).item() == pytest.approx(
        CrossEntropy()(logits, target).item()
    )


def test_focal_loss_weighs_each_voxel_by_what_it_lacks(logits, target):
    entropy = functional.cross_entropy(logits, target, reduction="none")

    expected = ((1 - (-entropy).exp()) ** 2 * entropy).mean().item()

    assert FocalCE()(logits, target).item() == pytest.approx(expected)


def test_dice_focal_is_the_weighted_sum_of_its_parts(logits, target):
    expected = 0.5 * Dice()(logits, target) + 2 * FocalCE(gamma=1)(logits, target)

    found = DiceFocal(gamma=1, dice_weight=0.5, focal_weight=2)(logits, target)

    assert found.item() == pytest.approx(expected.item())


def test_smoothed_labels_are_those_of_torch(logits, target):
    expected = functional.cross_entropy(logits, target, label_smoothing=0.1).item()

    assert CrossEntropy(smoothing=0.1)(logits, target).item() == pytest.approx(expected)
    assert TopK(share=1, smoothing=0.1)(logits, target).item() == pytest.approx(expected)
