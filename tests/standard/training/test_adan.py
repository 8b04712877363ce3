"""Adan, by the formulas of its paper in numpy."""

import numpy as np
import pytest
import torch

from nnseg_standard.training.adan import Adan


def by_hand(gradients, start, rate, decay, eps=1e-8):
    """Algorithm 1 of the paper, whose betas say what is forgotten."""
    b1, b2, b3 = 0.02, 0.08, 0.01
    weight, before = start, gradients[0]
    mean, change, square = gradients[0], np.zeros_like(start), gradients[0] ** 2
    for number, gradient in enumerate(gradients):
        if number:
            difference = gradient - before
            mean = (1 - b1) * mean + b1 * gradient
            change = (1 - b2) * change + b2 * difference
            square = (1 - b3) * square + b3 * (gradient + (1 - b2) * difference) ** 2
        step = rate / (np.sqrt(square) + eps) * (mean + (1 - b2) * change)
        weight = (weight - step) / (1 + rate * decay)
        before = gradient
    return weight


def test_steps_are_those_of_the_paper():
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=5), random.normal(size=(7, 5))
    parameter = torch.nn.Parameter(torch.tensor(start))
    adan = Adan([parameter], lr=0.1, weight_decay=0.3)

    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        adan.step()

    expected = by_hand(gradients, start, 0.1, 0.3)
    assert parameter.detach().numpy() == pytest.approx(expected, rel=1e-10)


def test_it_finds_a_minimum():
    parameter = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    adan = Adan([parameter], lr=0.05)

    for _ in range(1500):
        loss = adan.step(lambda: _valley(parameter))

    assert loss < 1e-3


def _valley(parameter):
    parameter.grad = None
    loss = (parameter * torch.tensor([1.0, 10.0])).square().sum()
    loss.backward()
    return loss.item()
