"""The logic around CUDA graphs, with a recorder that replays by calling the function."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from nnseg_standard.data.feed import Batch
from nnseg_standard.training.graphs import GraphedStep, graphed, learning_rates_on
from nnseg_standard.training.objective import Objective
from nnseg_standard.training.snapshot import Snapshot
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.step import (
    TrainStep,
    ValidationStep,
    begin_momentum,
)

SEED = 3


def new_state(network: nn.Module | None = None, optimizer: str = "SGD") -> LoopState:
    torch.manual_seed(SEED)
    network = network or nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Conv1d(4, 1, 1))
    options = {"momentum": 0.9, "nesterov": True} if optimizer == "SGD" else {}
    built = getattr(torch.optim, optimizer)(network.parameters(), lr=0.1, fused=True, **options)
    begin_momentum(built)
    return LoopState(
        network=network,
        optimizer=built,
        scaler=GradScaler("cpu", init_scale=2.0**127, growth_interval=2),  # overflows at first
        epochs=1,
    )


def batches(count: int, length: int = 9) -> Iterator[Batch]:
    random = torch.Generator().manual_seed(SEED)
    for _ in range(count):
        yield Batch(
            image=torch.randn(2, 1, length, generator=random),
            label=torch.randint(0, 2, (2, length - 2), generator=random, dtype=torch.int16),
        )


def squared_error(outputs: Any, target: Tensor) -> Tensor:
    return 8 * ((outputs - target[:, None]) ** 2).mean()


OBJECTIVE = Objective(loss=squared_error, encode=Tensor.float, precision=torch.float32)
LEARN = TrainStep(objective=OBJECTIVE, clip_norm=12.0)
CHECK = ValidationStep(
    objective=OBJECTIVE, count=lambda logits, target: (logits[:, 0] > target).sum().reshape(1)
)


class Replays:
    """Replays by calling the work again, with what was on the device when it was recorded."""

    def __init__(self, state: LoopState, replayed: float = 1.0, wrong: float = 0.0) -> None:
        self.state = state
        self.replayed = replayed
        self.wrong = wrong
        self.replays = 0

    def rehearse(self, work: Callable[[], Any]) -> Any:
        return work()

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        rates = [group["lr"] for group in self.state.optimizer.param_groups]
        before = Snapshot(self.state)
        result = work()
        before.restore(self.state)

        def replay() -> None:
            self.replays += 1
            groups = self.state.optimizer.param_groups
            known = [group["lr"] for group in groups]
            self._set(rates)
            again = work()
            self._set(known)
            for place, value in zip(tensors(result), tensors(again), strict=True):
                with torch.inference_mode():
                    place.copy_(value + self.wrong)

        return result, replay

    def seconds(self, work: Callable[[], object]) -> float:
        before = self.replays
        work()
        return self.replayed if self.replays > before else 2.0

    def _set(self, rates: list[Any]) -> None:
        for group, rate in zip(self.state.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def tensors(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result


def train(step: Callable[[LoopState, Batch], Tensor], state: LoopState) -> list[float]:
    """Six steps, with a new learning rate after every second one; the losses."""
    losses = []
    for number, batch in enumerate(batches(6)):
        for group in state.optimizer.param_groups:
            group["lr"] = 0.1 / (1 + number // 2)
        losses.append(step(state, batch))
    return [loss.item() for loss in losses]


def assert_same_state(one: LoopState, other: LoopState) -> None:
    for ours, expected in zip(
        one.network.state_dict().values(), other.network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-7)
    assert one.scaler.state_dict() == other.scaler.state_dict()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_replayed_steps_are_the_steps(optimizer, caplog):
    caplog.set_level("INFO")
    launched, recorded = new_state(optimizer=optimizer), new_state(optimizer=optimizer)
    recorder = Replays(recorded)

    losses = train(GraphedStep(step=LEARN, recorder=recorder, name="training step"), recorded)

    assert losses == pytest.approx(train(LEARN, launched), rel=1e-6)
    assert len(set(losses)) == 6  # each has memory of its own
    assert_same_state(recorded, launched)
    assert recorded.scaler.get_scale() < 2.0**127  # so a first step was skipped
    assert recorder.replays == 6 + 3  # one to compare and two to time
    assert caplog.messages == [
        "each training step is replayed as one CUDA graph: 1000.0 ms, launched 2000.0 ms"
    ]


def test_validation_is_replayed_too_and_learns_nothing():
    launched, recorded = new_state(), new_state()
    recorder = Replays(recorded)
    step = GraphedStep(step=CHECK, recorder=recorder)

    for batch in batches(3):
        for ours, expected in zip(step(recorded, batch), CHECK(launched, batch), strict=True):
            assert torch.equal(ours, expected)
    assert_same_state(recorded, launched)
    assert recorder.replays == 3 + 3


def falls_back(step: Any, recorder: Replays, state: LoopState, other: LoopState, caplog) -> str:
    """Train both; the losses are those of the plain step. What the log says."""
    caplog.set_level("INFO")
    graph = GraphedStep(step=step, recorder=recorder)
    assert train(graph, state) == pytest.approx(train(step, other), rel=1e-6)
    assert_same_state(state, other)
    (message,) = caplog.messages
    prefix, _, reason = message.partition(": ")
    assert prefix == "each step is launched kernel by kernel"
    return reason


def test_a_graph_that_is_not_faster_is_not_used(caplog):
    state = new_state()

    reason = falls_back(LEARN, Replays(state, replayed=2.0), state, new_state(), caplog)

    assert reason == "replayed it takes 2000.0 ms, launched 2000.0 ms"


def test_a_graph_that_computes_something_else_is_not_used(caplog):
    state = new_state()

    reason = falls_back(LEARN, Replays(state, wrong=1.0), state, new_state(), caplog)

    assert "a replay differs by" in reason


def test_weights_are_compared_though_a_first_step_would_be_skipped(caplog):
    class Lazy(Replays):
        """Returns the right loss, but moves no weight."""

        def record(self, work: Callable[[], Any]) -> Any:
            result, replay = super().record(work)

            def idle() -> None:
                before = Snapshot(self.state)
                replay()
                before.restore(self.state)

            return result, idle

    state = new_state()

    reason = falls_back(LEARN, Lazy(state), state, new_state(), caplog)

    assert reason == "a replay differs by 100.0% from the step"


def test_a_recording_that_fails_is_not_used(caplog):
    class Fails(Replays):
        def record(self, work: Callable[[], Any]) -> Any:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")

    state = new_state()

    reason = falls_back(LEARN, Fails(state), state, new_state(), caplog)

    assert reason == "operation not permitted"


def test_a_loss_that_reads_a_number_is_not_recorded(caplog):
    def reading(outputs: Any, target: Tensor) -> Tensor:
        return squared_error(outputs, target) * (2 if target.sum().item() > 0 else 1)

    step = TrainStep(objective=replace(OBJECTIVE, loss=reading), clip_norm=12.0)
    state = new_state()

    reason = falls_back(step, Replays(state), state, new_state(), caplog)

    assert "it waits for the device" in reason


def test_a_network_with_dropout_is_not_recorded_and_drops_the_same(caplog):
    def network() -> nn.Module:
        torch.manual_seed(SEED)
        return nn.Sequential(nn.Conv1d(1, 4, 3), nn.Dropout(0.5), nn.Conv1d(4, 1, 1))

    caplog.set_level("INFO")
    recorded, launched = new_state(network()), new_state(network())
    torch.manual_seed(SEED)
    losses = train(GraphedStep(step=LEARN, recorder=Replays(recorded)), recorded)
    torch.manual_seed(SEED)

    assert losses == train(LEARN, launched)
    assert caplog.messages == [
        "each step is launched kernel by kernel: it draws random numbers, as dropout does"
    ]


def test_a_step_that_breaks_raises_what_it_raises():
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, image: Tensor) -> Tensor:
            raise ValueError("this network is broken")

    state = new_state(Broken())

    with pytest.raises(ValueError, match="this network is broken"):
        train(GraphedStep(step=LEARN, recorder=Replays(state)), state)


def test_a_batch_of_another_shape_is_launched():
    recorded, launched = new_state(), new_state()
    recorder = Replays(recorded)
    step = GraphedStep(step=LEARN, recorder=recorder)
    shapes = [*batches(1), *batches(1, length=12), *batches(1)]

    for batch in shapes:
        assert step(recorded, batch).item() == pytest.approx(LEARN(launched, batch).item())
    assert recorder.replays == 2 + 3
    assert_same_state(recorded, launched)


def test_learning_rates_are_on_the_device_only_while_recording():
    optimizer = torch.optim.Adam([torch.ones(1, requires_grad=True)], lr=0.1, fused=True)
    (group,) = optimizer.param_groups

    with learning_rates_on(torch.device("cpu"), optimizer) as (rate,):
        assert group["lr"] is rate
        assert rate.dtype == torch.float32
        assert group["capturable"]

    assert group["lr"] == 0.1
    assert not group["capturable"]


def test_a_cpu_records_nothing():
    assert graphed(LEARN, CHECK, torch.device("cpu")) == (LEARN, CHECK)
