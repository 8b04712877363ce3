import pytest
import torch
from torch import nn

from nnseg_core.errors import PlanError
from nnseg_standard.training.optimizers import OPTIMIZERS, OptimizerOptions


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_downhill(name):
    parameter = nn.Parameter(torch.tensor([2.0]))
    options = OptimizerOptions(learning_rate=0.01, weight_decay=1e-4)
    optimizer = OPTIMIZERS[name]([parameter], options)

    for _ in range(10):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()

    assert 0 < parameter.item() < 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_groups_with_rates_of_their_own(name):
    slow, fast = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups = [{"params": [slow], "lr": 1e-5}, {"params": [fast]}]

    optimizer = OPTIMIZERS[name](groups, OptimizerOptions(learning_rate=0.1))

    assert [group["lr"] for group in optimizer.param_groups] == [1e-5, 0.1]


def test_options_reach_the_optimizer():
    options = OptimizerOptions(learning_rate=0.1, betas=(0.8, 0.98), amsgrad=True)

    (group,) = OPTIMIZERS["adamw"]([nn.Parameter(torch.ones(1))], options).param_groups

    assert (group["betas"], group["amsgrad"]) == ((0.8, 0.98), True)


@pytest.mark.parametrize(
    ("name", "betas", "message"),
    [
        ("adam", (0.9,), r"betas of Adam must be two numbers, got \[0.9\]"),
        ("adan", (0.9, 0.99), r"betas of adan must be three numbers, got \[0.9, 0.99\]"),
    ],
)
def test_a_wrong_number_of_betas_is_refused(name, betas, message):
    options = OptimizerOptions(learning_rate=0.1, betas=betas)

    with pytest.raises(PlanError, match=message):
        OPTIMIZERS[name]([nn.Parameter(torch.ones(1))], options)
