"""Stops in the middle of an epoch, budgets and extensions: what a user may do to a training."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nnseg_core.contracts import Extends, TriesLearningRates
from nnseg_core.errors import ModelError, NnsegError, Stopped
from nnseg_core.learning_rates import ramp
from nnseg_core.training import EpochReport, TrainingTask
from nnseg_standard.training.checkpoint import BEST, LAST, read
from nnseg_standard.training.extension import ENDED
from nnseg_standard.training.trainer import StandardTrainer

MakeTask = Callable[..., TrainingTask]

SHORT = StandardTrainer(
    epochs=3, iterations=3, validation_iterations=2, precision="fp32", checkpoint_every=2
)
TIMES = ("seconds", "waiting", "stepping", "validating")


class Recorder:
    def __init__(self) -> None:
        self.reports: list[EpochReport] = []
        self.final: list[EpochReport] = []

    def on_fit_start(self, task: TrainingTask) -> None: ...

    def on_epoch_end(self, report: EpochReport) -> None:
        self.reports.append(report)

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        self.final = list(reports)


class StopAt:
    """A request to stop when it is asked for the ``moment``-th time; it is, after each step, and
    before each batch of validation."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def __call__(self) -> str | None:
        self.left -= 1
        return "SIGTERM" if self.left == 0 else None


def fit(
    trainer: StandardTrainer, task: TrainingTask
) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    """Weights, and reports without times."""
    recorder = Recorder()
    network = trainer.fit(task, [recorder])
    numbers = [
        {name: value for name, value in asdict(report).items() if name not in TIMES}
        for report in recorder.final
    ]
    return network.state_dict(), numbers


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("moment", [1, 2, 3, 4, 5, 6, 8, 15])
def test_a_stop_in_mid_epoch_loses_nothing(
    make_task: MakeTask, tmp_path: Path, moment: int, workers: int
):
    whole = fit(SHORT, make_task(folder=tmp_path / "whole"))

    with pytest.raises(Stopped):
        SHORT.fit(make_task(stop=StopAt(moment), workers=workers))
    resumed = fit(SHORT, make_task(resume=True, workers=workers))

    assert_equal(whole[0], resumed[0])
    assert whole[1] == resumed[1]


def test_a_training_that_is_stopped_at_every_step_comes_to_the_same_end(
    make_task: MakeTask, tmp_path: Path
):
    def forgetful() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5)),
            nn.Conv2d(4, 3, 1),
        )

    trainer = replace(SHORT, epochs=2, optimizer="adamw", learning_rate=0.001)
    whole = fit(trainer, make_task(folder=tmp_path / "whole", network=forgetful()))

    for moment in (1, 1, 1, 3, 1, 1):  # the fourth is after two batches of validation
        torch.manual_seed(moment)  # whatever this process has drawn meanwhile
        with pytest.raises(Stopped):
            trainer.fit(make_task(resume=True, network=forgetful(), stop=StopAt(moment)))
    weights, reports = fit(trainer, make_task(resume=True, network=forgetful()))

    assert_equal(whole[0], weights)
    assert whole[1] == reports


def test_a_stop_says_when_and_why(make_task: MakeTask):
    with pytest.raises(Stopped) as caught:
        SHORT.fit(make_task(stop=StopAt(7)))

    assert str(caught.value) == (
        "stopped by SIGTERM after step 2 of epoch 2. Nothing is lost: the same command goes on "
        "from there."
    )
    assert caught.value.exit_code == 75


def test_a_stop_in_mid_epoch_is_no_best_epoch(make_task: MakeTask):
    task = make_task(stop=StopAt(7))

    with pytest.raises(Stopped):
        SHORT.fit(task)

    (tensors, last), (_, best) = read(task.folder / LAST), read(task.folder / BEST)
    assert len(tensors["epoch.losses"]) == 2
    assert (last["under_way"] is None, best["under_way"]) == (False, None)


def test_weights_that_are_no_numbers_replace_no_checkpoint_on_a_stop(make_task: MakeTask):
    def broken(logits: Tensor, target: Tensor) -> Tensor:
        return logits.mean() * torch.nan

    task = make_task(loss=broken, stop=StopAt(1))
    with pytest.raises(NnsegError, match="the loss is not a number any more in epoch 1"):
        SHORT.fit(task)

    assert not (task.folder / LAST).exists()


def test_time_before_a_stop_counts_to_its_epoch(make_task: MakeTask):
    class Slow(StopAt):
        def __call__(self) -> str | None:
            import time

            time.sleep(0.05)
            return super().__call__()

    with pytest.raises(Stopped):
        SHORT.fit(make_task(stop=Slow(2)))
    recorder = Recorder()
    SHORT.fit(make_task(resume=True), [recorder])

    assert recorder.final[0].seconds > 0.1
    assert recorder.final[0].stepping > 0.1
    assert recorder.final[1].seconds < recorder.final[0].seconds


@pytest.mark.parametrize(
    ("in_all", "lengths"),
    [(1, [1]), (3, [1, 1, 1]), (10, [2, 3, 2, 3]), (14, [2, 3, 3, 3, 3])],
)
def test_a_budget_of_iterations_is_met_exactly_and_the_schedule_ends(
    make_task: MakeTask, in_all: int, lengths: list[int]
):
    steps: list[float] = []

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            steps.append(1)
        return logits.square().mean()

    trainer = replace(SHORT, max_iterations=in_all, validation_iterations=0)
    task = make_task(loss=loss, network=nn.Conv2d(1, 3, 1))

    _, reports = fit(trainer, task)

    assert len(steps) == in_all
    assert [report["progress"] for report in reports][-1] == 1
    assert [trainer._length.steps_in(epoch) for epoch in range(len(reports))] == lengths


def test_a_stop_loses_nothing_of_a_budget_of_iterations(make_task: MakeTask, tmp_path: Path):
    trainer = replace(SHORT, max_iterations=10)
    whole = fit(trainer, make_task(folder=tmp_path / "whole"))

    with pytest.raises(Stopped):
        trainer.fit(make_task(stop=StopAt(6)))
    resumed = fit(trainer, make_task(resume=True))

    assert_equal(whole[0], resumed[0])
    assert whole[1] == resumed[1]


def test_an_extension_goes_on_at_the_learning_rate_of_a_run_of_that_length(make_task: MakeTask):
    fit(SHORT, make_task())

    _, reports = fit(SHORT, make_task(resume=True, extend_to=5))

    rates = [0.01 * (1 - epoch / 5) ** 0.9 for epoch in (3, 4)]
    assert [report["learning_rate"] for report in reports[3:]] == pytest.approx(rates)
    assert [report["epochs"] for report in reports] == [3, 3, 5, 5, 5]
    assert reports[-1]["progress"] == 1


def test_an_extension_that_is_stopped_goes_on(make_task: MakeTask, tmp_path: Path):
    for folder in ("whole", "cut"):
        fit(SHORT, make_task(folder=tmp_path / folder))
    whole = fit(SHORT, make_task(folder=tmp_path / "whole", resume=True, extend_to=5))

    extended = {"folder": tmp_path / "cut", "resume": True, "extend_to": 5}
    with pytest.raises(Stopped):
        SHORT.fit(make_task(**extended, stop=StopAt(4)))
    resumed = fit(SHORT, make_task(**extended))

    assert_equal(whole[0], resumed[0])
    assert whole[1] == resumed[1]


def test_the_checkpoint_of_the_finished_training_stays_until_the_new_end(make_task: MakeTask):
    task = make_task()
    SHORT.fit(task)
    ended = (task.folder / LAST).read_bytes()

    with pytest.raises(Stopped):
        SHORT.fit(make_task(resume=True, extend_to=9, stop=StopAt(9)))

    assert (task.folder / ENDED).read_bytes() == ended != (task.folder / LAST).read_bytes()
    SHORT.fit(make_task(resume=True, extend_to=9))
    assert not (task.folder / ENDED).exists()


def test_an_extension_has_no_budget_of_time(make_task: MakeTask):
    trainer = replace(SHORT, max_minutes=1e-9, epochs=4)
    fit(trainer, make_task())

    _, reports = fit(trainer, make_task(resume=True, extend_to=7))

    assert len(reports) == 7


def test_only_what_was_trained_can_be_extended(make_task: MakeTask):
    task = make_task()
    assert isinstance(SHORT, Extends)

    with pytest.raises(ModelError, match="is missing, so this training cannot be extended"):
        SHORT.check_extension(task.folder, 5)
    SHORT.fit(task)
    SHORT.check_extension(task.folder, 3)
    with pytest.raises(ModelError) as caught:
        SHORT.check_extension(task.folder, 2)

    assert str(caught.value) == (
        f"{task.folder} was trained for 3 epochs; --extend gives the epochs in all, so it must "
        "be more than that, not 2."
    )


def test_reports_tell_what_was_sampled_and_predicted(make_task: MakeTask):
    _, reports = fit(SHORT, make_task())

    for report in reports:
        sampled, reference = report["sampled"], report["reference_voxels"]
        assert isinstance(sampled, dict) and isinstance(reference, dict)
        assert list(sampled) == list(reference) == ["cell", "nucleus"]
        assert all(0 < share <= 1 for share in sampled.values())
        assert all(voxels > 0 for voxels in reference.values())
    assert reports[0]["skipped_steps"] == 0


def test_learning_rates_are_tried_until_the_loss_breaks(make_task: MakeTask):
    rates = ramp(1e-4, 1e4, 40)

    losses = SHORT.try_learning_rates(make_task(), rates)

    assert isinstance(SHORT, TriesLearningRates)
    assert 15 < len(losses) < 40
    assert min(losses) < losses[0] - 0.3
    assert not make_task().folder.exists()
