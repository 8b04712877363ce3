import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nnseg_core.contracts import Trainer
from nnseg_core.dataset import Labels
from nnseg_core.errors import ModelError, NnsegError
from nnseg_core.splits import Split
from nnseg_core.training import EpochReport, TrainingTask
from nnseg_standard.losses.compound import DiceCE
from nnseg_standard.training.checkpoint import (
    BEST,
    LAST,
    Contents,
    read,
    saved_precision,
    write,
)
from nnseg_standard.training.trainer import StandardTrainer

MakeTask = Callable[..., TrainingTask]

SHORT = StandardTrainer(
    epochs=4, iterations=3, validation_iterations=2, precision="fp32", checkpoint_every=2
)

TIMES = ("seconds", "waiting", "stepping", "validating")


class Recorder:
    """Keeps what it is told; leaves after ``stop_after`` epochs, as a user would."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.task: TrainingTask | None = None
        self.reports: list[EpochReport] = []
        self.final: list[EpochReport] = []

    def on_fit_start(self, task: TrainingTask) -> None:
        self.task = task

    def on_epoch_end(self, report: EpochReport) -> None:
        self.reports.append(report)
        if len(self.reports) == self.stop_after:
            raise KeyboardInterrupt

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        self.final = list(reports)


def fit(trainer: Trainer, task: TrainingTask) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
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


def test_the_same_seed_gives_the_same_weights(make_task: MakeTask):
    first, second = fit(SHORT, make_task()), fit(SHORT, make_task())

    assert_equal(first[0], second[0])
    assert first[1] == second[1]


def test_another_seed_gives_other_weights(make_task: MakeTask):
    first, second = fit(SHORT, make_task()), fit(SHORT, make_task(seed=1))

    assert first[1] != second[1]


def test_threads_beside_the_loop_change_nothing(make_task: MakeTask):
    alone, helped = fit(SHORT, make_task()), fit(SHORT, make_task(workers=2))

    assert_equal(alone[0], helped[0])
    assert alone[1] == helped[1]


def test_processes_beside_the_loop_change_nothing(make_task: MakeTask):
    alone = fit(SHORT, make_task())
    helped = fit(replace(SHORT, feeder="processes"), make_task(workers=1))

    assert_equal(alone[0], helped[0])
    assert alone[1] == helped[1]


def test_a_resumed_training_keeps_the_transforms_that_it_began_with(
    make_task: MakeTask, tmp_path: Path
):
    trainer = replace(SHORT, feeder="batchgenerators")
    whole = fit(trainer, make_task(folder=tmp_path / "whole"))

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(make_task(), [Recorder(stop_after=2)])
    resumed = fit(SHORT, make_task(resume=True))

    assert_equal(whole[0], resumed[0])
    assert whole[1] == resumed[1] != fit(SHORT, make_task(folder=tmp_path / "own"))[1]


def test_a_checkpoint_from_before_an_option_was_there_resumes_at_its_default(
    make_task: MakeTask, tmp_path: Path
):
    whole = fit(SHORT, make_task(folder=tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        SHORT.fit(make_task(), [Recorder(stop_after=2)])
    path = make_task().folder / LAST
    tensors, description = read(path)
    for option in ("amsgrad", "frozen", "betas", "layer_decay"):
        del description["run"][option]
    write(path, Contents(tensors=tensors, header=json.dumps(description)))

    with pytest.raises(ModelError, match="training: layer_decay was 1.0 and is now 0.5. Go on"):
        replace(SHORT, layer_decay=0.5).fit(make_task(resume=True))
    assert_equal(whole[0], fit(SHORT, make_task(resume=True))[0])


def test_other_transforms_do_not_resume(make_task: MakeTask):
    replace(SHORT, feeder="batchgenerators").fit(make_task())

    with pytest.raises(ModelError, match="feeder was 'batchgenerators' and is now None"):
        replace(SHORT, feeder="threads").fit(make_task(resume=True))


def test_a_checkpoint_that_cannot_be_written_ends_the_training(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
):
    def disk_full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("nnseg_standard.training.checkpoint.save_file", disk_full)

    with pytest.raises(OSError, match="no space left"):
        SHORT.fit(make_task())


def test_training_learns(make_task: MakeTask):
    trainer = replace(SHORT, epochs=8, iterations=10)

    _, reports = fit(trainer, make_task())

    assert reports[-1]["train_loss"] < reports[0]["train_loss"] - 0.3  # type: ignore[operator]


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "schedule": "cosine"}])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_resume_equals_uninterrupted(
    make_task: MakeTask, tmp_path: Path, changes: dict[str, str], stop_after: int
):
    trainer = replace(SHORT, **changes)  # type: ignore[arg-type]
    whole = fit(trainer, make_task(folder=tmp_path / "whole"))

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(make_task(), [Recorder(stop_after)])
    resumed = fit(trainer, make_task(resume=True))

    assert_equal(whole[0], resumed[0])
    assert whole[1] == resumed[1]


def test_resume_equals_uninterrupted_with_dropout(make_task: MakeTask, tmp_path: Path):
    def forgetful() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(4, 3, 1))

    torch.manual_seed(1)
    first = forgetful().state_dict()
    tasks = []
    for folder in ("whole", "cut", "cut"):
        network = forgetful()
        network.load_state_dict(first)
        tasks.append(make_task(network=network, folder=tmp_path / folder, resume=True))
    whole = fit(SHORT, tasks[0])

    with pytest.raises(KeyboardInterrupt):
        SHORT.fit(tasks[1], [Recorder(stop_after=3)])
    resumed = fit(SHORT, tasks[2])

    assert_equal(whole[0], resumed[0])


def test_a_finished_training_is_only_loaded(make_task: MakeTask):
    weights, reports = fit(SHORT, make_task())
    recorder = Recorder()

    again = SHORT.fit(make_task(resume=True), [recorder])

    assert_equal(weights, again.state_dict())
    assert (recorder.reports, len(recorder.final)) == ([], len(reports))


def test_other_options_do_not_resume(make_task: MakeTask):
    SHORT.fit(make_task())

    with pytest.raises(ModelError) as caught:
        replace(SHORT, epochs=9, learning_rate=0.1).fit(make_task(resume=True, seed=3))

    assert (
        "epochs was 4 and is now 9; learning_rate was 0.01 and is now 0.1; seed was 0 and is now 3"
        in str(caught.value)
    )


def test_precision_and_checkpoints_may_change_on_resume(make_task: MakeTask):
    with pytest.raises(KeyboardInterrupt):
        SHORT.fit(make_task(), [Recorder(stop_after=2)])

    other = replace(SHORT, precision="bf16", checkpoint_every=1)
    _, reports = fit(other, make_task(resume=True))

    assert len(reports) == 4


def test_a_resumed_training_keeps_the_precision_it_began_with(make_task: MakeTask):
    with pytest.raises(KeyboardInterrupt):
        replace(SHORT, precision="bf16").fit(make_task(), [Recorder(stop_after=2)])

    replace(SHORT, precision="auto").fit(make_task(resume=True))

    assert saved_precision(make_task().folder) == "bf16"


def test_the_best_checkpoint_is_that_of_the_highest_moving_average(make_task: MakeTask):
    trainer = replace(SHORT, epochs=6, learning_rate=0.05)
    task = make_task()

    _, reports = fit(trainer, task)

    smoothed = [report["smoothed_dice"] for report in reports]
    best = smoothed.index(max(smoothed))  # type: ignore[type-var]
    assert len(read(task.folder / BEST)[1]["reports"]) == best + 1
    assert len(read(task.folder / LAST)[1]["reports"]) == 6


def test_a_budget_of_minutes_is_met_and_the_schedule_ends(make_task: MakeTask):
    trainer = replace(SHORT, epochs=100_000, iterations=1, max_minutes=1 / 60)
    recorder = Recorder()

    trainer.fit(make_task(), [recorder])

    seconds = [report.seconds for report in recorder.final]
    assert 1 - 4 * max(seconds) < sum(seconds) < 1 + max(seconds)
    assert recorder.final[-1].progress == 1
    assert len(seconds) < 100_000


def test_callbacks_hear_of_the_start_the_epochs_and_the_end(make_task: MakeTask):
    recorder, task = Recorder(), make_task()

    SHORT.fit(task, [recorder])

    assert recorder.task is task
    assert [report.epoch for report in recorder.reports] == [0, 1, 2, 3]
    assert recorder.final == recorder.reports
    assert set(recorder.final[0].dice) == {"cell", "nucleus"}


def test_without_validation_cases_the_training_runs_unjudged(make_task: MakeTask):
    task = make_task(split=Split(train=("a",), validation=()))

    _, reports = fit(SHORT, task)

    assert [report["mean_dice"] for report in reports] == [None] * 4
    assert not (task.folder / BEST).exists()


def test_regions_are_trained_and_judged(make_task: MakeTask):
    labels = Labels(values={"cell": (1, 2), "nucleus": (2,)}, paint_order=(1, 2))
    network = nn.Conv2d(1, 2, 3, padding=1)
    task = make_task(labels=labels, loss=DiceCE(regions=True), network=network)

    _, reports = fit(SHORT, task)

    dice = reports[-1]["dice"]
    assert isinstance(dice, dict)
    assert all(0 <= dice[name] <= 1 for name in ("cell", "nucleus"))


def test_a_broken_loss_stops_the_training(make_task: MakeTask):
    def broken(logits: Tensor, target: Tensor) -> Tensor:
        return logits.mean() * torch.nan

    with pytest.raises(NnsegError, match="the loss is not a number any more in epoch 1"):
        SHORT.fit(make_task(loss=broken))


def test_the_batch_size_of_the_plan_holds_unless_another_is_given(make_task: MakeTask):
    seen: list[int] = []

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        seen.append(len(logits))
        return DiceCE()(logits, target)

    SHORT.fit(make_task(loss=loss))
    replace(SHORT, batch_size=3).fit(make_task(loss=loss))

    assert set(seen) == {2, 3}


@dataclass(frozen=True, kw_only=True)
class FancyTrainer(StandardTrainer):
    """Another optimizer, another schedule, another loss."""

    softness: float = 0.5

    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(network.parameters(), lr=self.learning_rate)

    def learning_rate_at(self, progress: float) -> float:
        return self.learning_rate if progress < 0.5 else self.learning_rate / 10

    def fit(self, task: TrainingTask, callbacks: Sequence[object] = ()) -> nn.Module:  # type: ignore[override]
        def loss(logits: Tensor, target: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits, target, label_smoothing=self.softness)

        return super().fit(replace(task, loss=loss), callbacks)  # type: ignore[arg-type]


def test_a_subclass_changes_optimizer_schedule_and_loss(make_task: MakeTask):
    trainer = FancyTrainer(epochs=4, iterations=3, validation_iterations=1, learning_rate=0.001)
    task = make_task()

    _, reports = fit(trainer, task)

    assert [report["learning_rate"] for report in reports] == [0.001, 0.001, 0.0001, 0.0001]
    assert all(report["train_loss"] > 0 for report in reports)  # type: ignore[operator]
    tensors, description = read(task.folder / LAST)
    assert any(name.endswith("square_avg") for name in tensors)  # RMSprop's
    assert description["run"]["softness"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lion"}, "optimizer is 'lion'; it can be sgd, adamw, adam, radam, adan"),
        (
            {"schedule": "step"},
            "schedule is 'step'; it can be poly, cosine, constant, steps, step_poly, "
            "poly_cycle, poly_high_cycle",
        ),
        (
            {"feeder": "dog"},
            "feeder is 'dog'; it can be auto, threads, processes, batchgenerators",
        ),
        ({"epochs": 0}, "epochs must be above 0, not 0"),
        ({"ema": 1.0}, "ema must be from 0 to below 1, not 1.0"),
        ({"warm_up": 1.0}, "warm_up must be from 0 to below 1, not 1.0"),
        ({"max_minutes": 0.0}, "max_minutes must be above 0, not 0.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str):
    with pytest.raises(ValueError) as caught:
        StandardTrainer(**options)  # type: ignore[arg-type]

    assert str(caught.value) == message


def test_the_defaults_are_nnunets():
    trainer = StandardTrainer()
    (group,) = trainer.make_optimizer(nn.Linear(1, 1)).param_groups

    assert (trainer.epochs, trainer.iterations, trainer.validation_iterations) == (1000, 250, 50)
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.01, 0.99, True)
    assert (group["weight_decay"], trainer.clip_norm) == (3e-5, 12.0)
    assert trainer.learning_rate_at(0.5) == pytest.approx(0.01 * 0.5**0.9)
    assert isinstance(trainer, Trainer)
