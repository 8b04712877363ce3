"""Which parameters learn how fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import SGD

from nnseg_core.errors import PlanError
from nnseg_core.training import TrainingTask
from nnseg_standard.networks.residual_unet import ResidualUnet
from nnseg_standard.training.groups import (
    Pace,
    layers_of,
    parameter_groups,
    set_learning_rates,
)
from nnseg_standard.training.trainer import StandardTrainer

TINY = StandardTrainer(
    epochs=4, iterations=2, validation_iterations=1, precision="fp32", checkpoint_every=1
)


class Chain(nn.Module):
    """A network whose author has never heard of us."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])
        self.head = nn.Linear(2, 1)


def rates(network: nn.Module, pace: Pace, progress: float = 0.0) -> dict[str, float]:
    """The learning rate of each parameter, of 1."""
    optimizer = SGD(parameter_groups(network, pace), lr=1.0)
    set_learning_rates(optimizer, 1.0, progress)
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


def test_by_default_all_learn_alike_in_one_group():
    network = Chain()

    optimizer = SGD(parameter_groups(network, Pace()), lr=1.0)

    (group,) = optimizer.param_groups
    assert group["params"] == list(network.parameters())
    assert "share" not in group


def test_each_layer_learns_slower_than_the_one_after_it():
    assert rates(Chain(), Pace(layer_decay=0.5)) == {
        **{"blocks.0.weight": 0.25, "blocks.0.bias": 0.25},
        **{"blocks.1.weight": 0.5, "blocks.1.bias": 0.5},
        **{"head.weight": 1.0, "head.bias": 1.0},
    }


def test_a_network_may_tell_its_layers(make_task: Callable[..., TrainingTask]):
    topology = make_task().configuration.topology
    network = ResidualUnet().build(topology, 1, 3)

    assert layers_of(network) == [
        ("encoder.stem",),
        ("encoder.stages.0",),
        ("encoder.stages.1",),
        ("decoder.upsamplings.0", "decoder.stages.0"),
        ("heads",),
    ]
    learned = rates(network, Pace(layer_decay=0.5))
    assert learned["encoder.stem.convolution.weight"] == 0.5**4
    assert learned["decoder.upsamplings.0.weight"] == learned["decoder.stages.0.0.norm.bias"] == 0.5


def test_frozen_parts_need_no_gradient_and_no_optimizer():
    network = Chain()

    assert set(rates(network, Pace(frozen=("blocks",)))) == {"head.weight", "head.bias"}
    assert not network.blocks[0].weight.requires_grad
    assert network.head.weight.requires_grad


def test_parts_frozen_for_a_while_learn_later():
    pace = Pace(frozen=("blocks.0",), frozen_until=0.5)

    early, late = rates(Chain(), pace, 0.25), rates(Chain(), pace, 0.5)

    assert early["blocks.0.weight"] == 0
    assert early["blocks.1.weight"] == 1
    assert set(late.values()) == {1.0}


def test_a_name_means_whole_parts_of_names():
    with pytest.raises(PlanError, match="names 'block', which the network does not have. It has:"):
        parameter_groups(Chain(), Pace(frozen=("block",)))


def test_something_must_be_left_to_learn():
    with pytest.raises(PlanError, match="leaves nothing to train"):
        parameter_groups(Chain(), Pace(frozen=("blocks", "head")))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adan"])
def test_frozen_weights_stay_and_others_learn(
    make_task: Callable[..., TrainingTask], optimizer: str
):
    task = make_task()
    before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    trainer = replace(TINY, frozen=("encoder",), optimizer=optimizer, epochs=1)

    after = trainer.fit(task).state_dict()

    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("encoder"), name


@pytest.mark.parametrize(
    "changes",
    [
        {"frozen": ("encoder",), "frozen_until": 0.5},
        {"frozen": ("heads",), "layer_decay": 0.7, "optimizer": "adamw"},
    ],
)
def test_a_resumed_training_keeps_its_pace(
    make_task: Callable[..., TrainingTask], tmp_path, changes: dict[str, object]
):
    trainer = replace(TINY, **changes)  # type: ignore[arg-type]
    whole = trainer.fit(make_task(folder=tmp_path / "whole")).state_dict()

    with pytest.raises(InterruptedError):
        trainer.fit(make_task(), [StopsAfter(2)])
    resumed = trainer.fit(make_task(resume=True)).state_dict()

    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"layer_decay": 0.0}, "layer_decay must be above 0 and at most 1, not 0.0"),
        ({"frozen_until": 2.0}, "frozen_until must be from 0 to 1, not 2.0"),
    ],
)
def test_wrong_options_are_named(option: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **option)  # type: ignore[arg-type]


class StopsAfter:
    """A callback after which nothing comes, from epoch ``count`` on."""

    def __init__(self, count: int) -> None:
        self.count = count

    def on_fit_start(self, task: TrainingTask) -> None:
        pass

    def on_epoch_end(self, report: object) -> None:
        self.count -= 1
        if not self.count:
            raise InterruptedError

    def on_fit_end(self, reports: object) -> None:
        pass
