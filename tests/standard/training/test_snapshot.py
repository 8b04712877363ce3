import random

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from nnseg_standard.training.adan import Adan
from nnseg_standard.training.snapshot import RandomStates, Snapshot
from nnseg_standard.training.state import LoopState


def new_state(make_optimizer) -> LoopState:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    return LoopState(
        network=network,
        optimizer=make_optimizer(network.parameters()),
        scaler=GradScaler("cpu", init_scale=64.0, growth_interval=1),
        epochs=1,
    )


def step(state: LoopState, values: torch.Tensor) -> None:
    state.optimizer.zero_grad()
    loss = (state.network(values) ** 3).sum()
    state.scaler.scale(loss).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1, fused=True),
    "radam": lambda parameters: torch.optim.RAdam(parameters, lr=0.1),
    "adan": lambda parameters: Adan(parameters, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_after_restoring_are_those_that_would_have_been(optimizer, steps_before):
    values = torch.linspace(-1, 1, 15).reshape(5, 3) ** 2
    tried, untried = new_state(OPTIMIZERS[optimizer]), new_state(OPTIMIZERS[optimizer])
    for state in (tried, untried):
        for _ in range(steps_before):
            step(state, values)

    before = Snapshot(tried)
    places = [parameter.data_ptr() for parameter in tried.network.parameters()]
    for _ in range(3):
        step(tried, 2 * values)
    before.restore(tried)

    assert places == [parameter.data_ptr() for parameter in tried.network.parameters()]
    assert tried.scaler.get_scale() == untried.scaler.get_scale()
    for _ in range(2):
        step(tried, values)
        step(untried, values)
    for one, other in zip(
        tried.network.state_dict().values(), untried.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_changes_of_the_weights_are_counted_from_the_snapshot():
    state = new_state(OPTIMIZERS["sgd"])
    before = Snapshot(state)

    state.network[0].bias.data += 2

    moved = [change.abs().max().item() for change in before.weight_changes(state)]
    assert moved == [0, 2, 0, 0]


def test_a_scaler_whose_step_was_broken_off_is_replaced():
    state = new_state(OPTIMIZERS["sgd"])
    before = Snapshot(state)
    state.scaler.scale(state.network(torch.rand(5, 3)).sum()).backward()
    state.scaler.unscale_(state.optimizer)  # the next call of which would raise

    before.renew_scaler(state)

    step(state, torch.rand(5, 3))
    assert state.scaler.get_scale() == 128


@pytest.mark.parametrize("draw", [random.random, lambda: torch.rand(1).item()])
def test_what_has_been_drawn_is_noticed_and_drawn_again(draw):
    drawn = RandomStates.now(torch.device("cpu"))
    assert drawn.unchanged()

    first = draw()

    assert not drawn.unchanged()
    drawn.restore()
    assert draw() == first
