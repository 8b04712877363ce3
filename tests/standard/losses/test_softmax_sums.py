import pytest
import torch
from torch.nn import functional

from nnseg_core.contracts import IGNORED
from nnseg_standard.losses.softmax_sums import _in_parallel, _one_by_one, softmax_sums


def by_autograd(logits, target):
    """The same sums, spelled out."""
    probability = logits.softmax(dim=1)
    counted = (target != IGNORED)[:, None]
    truth = functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1) * counted
    sums = (probability * truth, probability * counted, truth)
    entropy = functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
    return *(each.flatten(2).sum(dim=2) for each in sums), entropy


def example(*space, classes=4, ignored=0.3, dtype=torch.float64):
    torch.manual_seed(0)
    logits = torch.randn(3, classes, *space, dtype=dtype)
    target = torch.randint(0, classes, (3, *space))
    return logits, target.masked_fill(torch.rand(3, *space) < ignored, IGNORED)


@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("space", [(7,), (5, 4), (3, 4, 5)])
def test_sums_are_those_spelled_out(space, ignored):
    logits, target = example(*space, ignored=ignored)

    for ours, expected in zip(
        softmax_sums(logits, target), by_autograd(logits, target), strict=True
    ):
        torch.testing.assert_close(ours, expected.float())


@pytest.mark.parametrize("place", range(3))
def test_each_sum_has_the_gradient_that_autograd_finds(place):
    logits, target = example(5, 4)
    weight = torch.randn(3, 4) if place < 2 else torch.tensor(1.5)
    gradients = []
    for sums in (softmax_sums, by_autograd):
        leaf = logits.clone().requires_grad_()
        intersection, predicted, _, entropy = sums(leaf, target)
        ((intersection, predicted, entropy)[place] * weight).sum().backward()
        gradients.append(leaf.grad)

    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


def test_all_gradients_add_up():
    logits, target = example(5, 4)
    gradients = []
    for sums in (softmax_sums, by_autograd):
        leaf = logits.clone().requires_grad_()
        intersection, predicted, truth, entropy = sums(leaf, target)
        (intersection / (predicted + truth) + entropy).sum().backward()
        gradients.append(leaf.grad)

    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_gpus_sum_the_same_in_another_way():
    torch.manual_seed(0)
    values, index = torch.rand(2, 50), torch.randint(0, 3, (2, 50))

    torch.testing.assert_close(_in_parallel(values, index, 4), _one_by_one(values, index, 4))


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[[500.0, -500.0], [-500.0, 500.0]]], requires_grad=True)

    sums = softmax_sums(logits, torch.tensor([[0, 0]]))

    assert sums.entropy == 1000
    sums.entropy.backward()
    assert logits.grad.isfinite().all()


def test_half_precision_is_summed_in_single():
    logits, target = example(40, 40, dtype=torch.bfloat16)

    sums = softmax_sums(logits.requires_grad_(), target)

    assert all(each.dtype == torch.float32 for each in sums)
    assert torch.autograd.grad(sums.entropy, logits)[0].dtype == torch.bfloat16
