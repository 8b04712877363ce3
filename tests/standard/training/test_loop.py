from collections.abc import Iterable
from itertools import repeat

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from nnseg_core.errors import NnsegError
from nnseg_core.training import EpochReport
from nnseg_standard.data.feed import Batch
from nnseg_standard.training.loop import Loop, mean_loss, run, skipped_steps
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.streams import Stream

BATCH = Batch(image=torch.zeros(1), label=torch.zeros(1))


class Clock:
    """Time that passes only when something is done."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Steps:
    """Stands for both steps: a step of training takes 2 seconds, one of validation 1."""

    def __init__(self, clock: Clock, losses: Iterable[float] | None = None) -> None:
        self.clock = clock
        self.losses = iter(losses or repeat(0.5))
        self.rates: list[float] = []
        self.modes: list[bool] = []

    def train(self, state: LoopState, batch: Batch) -> Tensor:
        self.clock.now += 2
        self.rates.append(state.optimizer.param_groups[0]["lr"])
        self.modes.append(state.network.training)
        return torch.tensor(next(self.losses))

    def validate(self, state: LoopState, batch: Batch) -> tuple[Tensor, Tensor]:
        self.clock.now += 1
        self.modes.append(state.network.training)
        hits = state.epoch + 1
        return torch.tensor(0.25), torch.tensor([[hits], [0], [10 - hits]])


def new_state(epochs: int) -> LoopState:
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    scaler = GradScaler("cpu", enabled=False)
    return LoopState(network=network, optimizer=optimizer, scaler=scaler, epochs=epochs)


def new_loop(steps: Steps, validation: int = 1, budget: float | None = None) -> Loop:
    return Loop(
        training=Stream(batches=repeat(BATCH), size=3),
        validation=Stream(batches=repeat(BATCH), size=validation),
        train_step=steps.train,  # type: ignore[arg-type]
        validation_step=steps.validate,  # type: ignore[arg-type]
        learning_rate_at=lambda progress: 1 - progress,
        label_names=("liver",),
        budget=budget,
        clock=steps.clock,
    )


class Witness:
    """Remembers what it was told, and when it was."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def on_fit_start(self, task: object) -> None: ...

    def on_epoch_end(self, report: EpochReport) -> None:
        self.events.append(f"told of {report.epoch}")

    def on_fit_end(self, reports: object) -> None: ...


def test_an_epoch_is_saved_before_anyone_is_told():
    events: list[str] = []

    run(
        new_loop(Steps(Clock())),
        new_state(2),
        lambda state: events.append(f"saved {state.epoch}"),
        [Witness(events)],
    )

    assert events == ["saved 1", "told of 0", "saved 2", "told of 1"]


def test_a_report_tells_of_its_epoch():
    state = new_state(2)

    run(new_loop(Steps(Clock())), state, lambda state: None)

    first, second = state.reports
    assert (first.epoch, first.epochs, first.progress, first.learning_rate) == (0, 2, 0.5, 1.0)
    assert (second.epoch, second.epochs, second.progress, second.learning_rate) == (1, 2, 1.0, 0.5)
    assert (first.train_loss, first.validation_loss) == (0.5, 0.25)
    assert first.dice == {"liver": pytest.approx(2 / 11)}
    assert second.mean_dice == pytest.approx(4 / 12)
    assert second.smoothed_dice == pytest.approx(0.9 * 2 / 11 + 0.1 * 4 / 12)
    assert first.seconds == 7
    assert first.stepping == pytest.approx(6, abs=0.1)
    assert first.validating == pytest.approx(1, abs=0.1)


def test_the_learning_rate_is_set_for_all_steps_of_an_epoch():
    steps = Steps(Clock())

    run(new_loop(steps), new_state(2), lambda state: None)

    assert steps.rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]


def test_the_network_knows_whether_it_is_trained_or_validated():
    steps = Steps(Clock())

    run(new_loop(steps), new_state(1), lambda state: None)

    assert steps.modes == [True, True, True, False]


def test_the_budget_includes_what_saving_takes():
    clock = Clock()
    state = new_state(1000)

    def save(state: LoopState) -> None:
        clock.now += 3

    run(new_loop(Steps(clock), budget=100.0), state, save)

    assert [report.seconds for report in state.reports] == [7.0, *[10.0] * 9]
    assert state.progress == 1


def test_time_used_before_a_resume_counts():
    state = new_state(1000)
    loop = new_loop(Steps(Clock()), budget=70.0)
    run(loop, state, lambda state: None)
    resumed = new_state(1000)
    resumed.reports = state.reports[:4]

    run(new_loop(Steps(Clock()), budget=70.0), resumed, lambda state: None)

    assert len(resumed.reports) == len(state.reports) == 10
    assert resumed.progress == 1


def test_a_finished_training_runs_no_epoch():
    state = new_state(1)
    run(new_loop(Steps(Clock())), state, lambda state: None)

    run(new_loop(Steps(Clock())), state, lambda state: pytest.fail("an epoch was run"))


def test_without_validation_the_reports_say_so():
    state = new_state(1)

    run(new_loop(Steps(Clock()), validation=0), state, lambda state: None)

    (report,) = state.reports
    assert (report.validation_loss, report.mean_dice, report.smoothed_dice) == (None, None, None)
    assert report.dice == {"liver": None}


def test_a_loss_that_is_no_number_stops_the_training_before_it_is_saved():
    steps = Steps(Clock(), [0.5] * 5 + [float("nan")])
    saved: list[int] = []

    with pytest.raises(NnsegError) as caught:
        run(new_loop(steps), new_state(9), lambda state: saved.append(state.epoch))

    assert saved == [1]
    assert str(caught.value) == (
        "the loss is not a number any more in epoch 2 (training nan, validation 0.25). Most often "
        "the learning rate is too high: look for one with nnseg find-lr, or begin anew with --set "
        "trainer.learning_rate=0.001 --restart. Or go on with --set trainer.precision=fp32. "
        "Checkpoints of earlier epochs are kept."
    )


def test_in_float16_a_broken_loss_is_laid_to_that():
    state = new_state(9)
    state.scaler = GradScaler("cpu", enabled=True)

    with pytest.raises(NnsegError, match="too large for float16 .* trainer.precision=bf16"):
        run(new_loop(Steps(Clock(), [float("nan")] * 3)), state, lambda state: None)


@pytest.mark.parametrize(
    ("before", "after", "skipped"),
    [(65536.0, 65536.0, 0), (65536.0, 8192.0, 3), (1.0, 2.0, 0), (None, None, 0)],
)
def test_skipped_steps_are_told_by_the_scale(
    before: float | None, after: float | None, skipped: int
):
    assert skipped_steps(before, after) == skipped


@pytest.mark.parametrize("pace", [2.0, 0.3, 7.0])
def test_a_budget_is_met_within_a_tenth_at_the_end_of_the_schedule(pace: float):
    """Three minutes, with a machine that is half as fast at times."""
    clock = Clock()

    class Uneven(Steps):
        def train(self, state: LoopState, batch: Batch) -> Tensor:
            clock.now += pace * (state.epoch % 7 == 3)
            clock.now += pace - 2
            return super().train(state, batch)

    state = new_state(1000)
    began = clock.now
    run(new_loop(Uneven(clock), budget=180.0), state, lambda state: None)

    assert abs(clock.now - began - 180) <= 18
    assert state.progress == 1
    assert state.reports[-1].learning_rate < 0.2


def test_steps_that_a_scaler_skips_do_not_count_to_the_mean():
    losses = [torch.tensor(1.0), torch.tensor(torch.inf), torch.tensor(3.0)]

    assert mean_loss(losses, scaled=True) == 2
    assert mean_loss(losses, scaled=False) == torch.inf
