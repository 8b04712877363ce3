from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nnseg_core.errors import Stopped
from nnseg_core.training import TrainingTask
from nnseg_standard.training.averaging import Average
from nnseg_standard.training.checkpoint import LAST, read
from nnseg_standard.training.trainer import StandardTrainer

MakeTask = Callable[..., TrainingTask]

SHORT = StandardTrainer(
    epochs=2, iterations=3, validation_iterations=1, precision="fp32", ema=0.6, checkpoint_every=1
)


def averaged(kept: float, weights: list[float]) -> float:
    network, average = nn.Linear(1, 1, bias=False), Average(kept)
    for weight in weights:
        nn.init.constant_(network.weight, weight)
        average.update(network)
    average.take_over(network)
    return network.weight.item()


def test_the_first_steps_count_alike():
    assert averaged(0.999, [1.0, 2.0, 6.0]) == pytest.approx(3.0)


def test_later_steps_are_averaged_exponentially():
    assert averaged(0.5, [1.0, 2.0, 6.0]) == pytest.approx(0.5 * 1.5 + 0.5 * 6.0)


def test_the_network_gets_its_own_weights_back_whatever_happens():
    network, average = nn.Linear(1, 1, bias=False), Average(0.5)
    average.update(network)
    before = network.weight.item()
    nn.init.constant_(network.weight, 7.0)

    with pytest.raises(KeyboardInterrupt), average.in_place(network):
        assert network.weight.item() == before
        raise KeyboardInterrupt
    assert network.weight.item() == 7.0


@pytest.mark.parametrize("moment", [2, 4, 5])  # after steps, and before a batch of validation
def test_a_stop_changes_nothing(make_task: MakeTask, tmp_path: Path, moment: int):
    asked = iter(["SIGTERM" if number == moment else None for number in range(1, 100)])
    whole = SHORT.fit(make_task(folder=tmp_path / "whole")).state_dict()

    with pytest.raises(Stopped):
        SHORT.fit(make_task(stop=lambda: next(asked)))
    resumed = SHORT.fit(make_task(resume=True)).state_dict()

    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def test_weights_are_learned_as_without_it_and_the_average_is_handed_on(
    make_task: MakeTask, tmp_path: Path
):
    task = make_task()
    network = SHORT.fit(task).state_dict()
    plain = replace(SHORT, ema=0.0).fit(make_task(folder=tmp_path / "plain")).state_dict()
    saved, description = read(task.folder / LAST)

    assert description["averaged_steps"] == 6
    for name, tensor in plain.items():
        assert torch.equal(saved[f"network.{name}"], tensor)
        assert torch.equal(saved[f"average.{name}"], network[name])
    assert any(not torch.equal(plain[name], network[name]) for name in plain)
