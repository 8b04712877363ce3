"""Trackers told of a training, and read back from what they have written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from nnseg_core.errors import PluginError
from nnseg_core.plan import ComponentRef
from nnseg_core.splits import Split
from nnseg_core.training import EpochReport
from nnseg_track import following
from nnseg_track.memory import remembered
from nnseg_track.numbers import facts_of, of_epoch
from nnseg_track.scored import add_scores, last_epoch

pytestmark = pytest.mark.filterwarnings("default")  # theirs are no business of these tests

REPORT = EpochReport(
    epoch=0,
    progress=0.5,
    learning_rate=0.01,
    train_loss=0.5,
    validation_loss=None,
    dice={"liver": 0.75, "cyst": None},
    mean_dice=0.75,
    smoothed_dice=0.7,
    seconds=40.0,
    waiting=1.0,
    stepping=36.0,
    validating=2.0,
    epochs=2,
    sampled={"liver": 1.0, "cyst": 0.25},
)


def report(epoch: int, loss: float) -> EpochReport:
    return replace(REPORT, epoch=epoch, train_loss=loss)


@pytest.fixture
def task(tmp_path: Path) -> Any:
    part = ComponentRef(name="standard", options={"epochs": 2})
    return SimpleNamespace(
        folder=tmp_path / "models" / "Dataset001_Cells" / "2d-standard" / "fold_0",
        name="2d",
        seed=0,
        split=Split(train=("a", "b"), validation=("c",)),
        configuration=SimpleNamespace(
            patch_size=(16, 16), batch_size=2, spacing=(1.0, 0.5), trainer=part
        ),
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder of its own, and no server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield tmp_path


def summary(dice: float | None) -> Any:
    def mean(value: float | None) -> Any:
        return SimpleNamespace(mean=value)

    return SimpleNamespace(
        dice=mean(dice), iou=mean(None), surface_dice=mean(0.5), hd95_pooled=mean(3.0)
    )


SCORES: Any = SimpleNamespace(foreground=summary(0.9), labels={"liver": summary(0.9)})


def validation(task: Any) -> Path:
    """The folder of a validation, with one picture."""
    folder: Path = task.folder / "validation"
    folder.mkdir(parents=True)
    pixels = np.full((8, 12, 3), 200, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "case_1_overlay.png")
    (task.folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1}) + "\n")
    return folder


def follow(callback: Any, task: Any, losses: dict[int, float]) -> None:
    callback.on_fit_start(task)
    for epoch, loss in losses.items():
        callback.on_epoch_end(report(epoch, loss))
    callback.on_fit_end([])


def test_numbers_that_are_not_known_are_left_out() -> None:
    numbers = of_epoch(REPORT)

    assert numbers["online_dice/label/liver"] == 0.75
    assert numbers["sampled/cyst"] == 0.25
    assert not {"loss/validation", "online_dice/label/cyst"} & set(numbers)


def test_facts_tell_parts_and_their_options(task: Any) -> None:
    facts = facts_of(task)

    assert (facts["trainer"], facts["trainer.epochs"]) == ("standard", "2")
    assert (facts["patch_size"], facts["training_cases"]) == ("16 x 16", "2")


def test_a_missing_package_is_named_before_the_training(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnseg_track.wandb import WandB

    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(following, "import_module", missing)

    with pytest.raises(PluginError, match="wandb is not installed") as caught:
        WandB().on_fit_start(task)
    assert 'pip install "nnseg[track]"' in str(caught.value)


def test_tensorboard_has_numbers_facts_scores_and_overlays(task: Any, here: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from nnseg_track.tensorboard import TensorBoard

    follow(TensorBoard(), task, {0: 0.5, 1: 0.6})
    follow(TensorBoard(), task, {1: 0.4})  # resumed from the end of the first epoch
    add_scores(SCORES, validation(task))

    events = EventAccumulator(str(task.folder / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("loss/training")]
    assert losses == [(1, 0.5), (2, pytest.approx(0.4))]
    assert events.Scalars("scores/dice/liver")[0].value == pytest.approx(0.9)
    assert (events.Images("overlays/case_1_overlay")[0].height) == 8
    assert "training/text_summary" in events.Tags()["tensors"]


def test_mlflow_has_numbers_facts_scores_and_overlays(task: Any, here: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from nnseg_track.mlflow import MLflow

    uri = f"sqlite:///{(here / 'mlflow.db').as_posix()}"
    follow(MLflow(uri=uri), task, {0: 0.5})
    follow(MLflow(uri=uri), task, {1: 0.4})
    add_scores(SCORES, validation(task))

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("Dataset001_Cells")
    (run,) = client.search_runs([experiment.experiment_id])  # the resumed one is the same
    history = client.get_metric_history(run.info.run_id, "loss/training")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.4)]
    assert run.data.metrics["scores/dice/mean"] == 0.9
    assert run.data.params["trainer.epochs"] == "2"
    assert run.info.status == "FINISHED"
    artifacts = client.list_artifacts(run.info.run_id, "overlays")
    assert [artifact.path for artifact in artifacts] == ["overlays/case_1_overlay.png"]


@pytest.fixture
def wandb() -> Iterator[Any]:
    """The package; the process that it keeps for all its runs ends with the test."""
    package = pytest.importorskip("wandb")
    yield package
    package.teardown()


def test_wandb_is_offline_and_goes_on_with_its_run(task: Any, here: Path, wandb: Any) -> None:
    from nnseg_track.wandb import WandB

    follow(WandB(), task, {0: 0.5})
    follow(WandB(), task, {1: 0.4})
    add_scores(SCORES, validation(task))

    known = remembered(task.folder)["wandb"]
    runs = sorted((task.folder / "wandb").glob(f"offline-run-*-{known['id']}"))
    assert runs and known["mode"] == "offline"
    assert list(task.folder.glob(f"wandb/offline-run-*/run-{known['id']}.wandb"))
    assert list(task.folder.glob("wandb/offline-run-*/files/media/images/**/*.png"))


def test_a_tracker_that_is_lost_costs_no_training(
    task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Lost:
        known: ClassVar = {"run": "1"}

        def log(self, numbers: object, epoch: int) -> None:
            if epoch == 2:
                raise ConnectionError("no answer")

        def close(self, *, finished: bool) -> None:
            raise ConnectionError("no answer")

    class Follower(following.Following):
        tracker = "json"  # a package that is there

        def open(self, *_: object) -> Any:
            return Lost()

        def describe(self, *_: object) -> None: ...

    follow(Follower(), task, {0: 0.5, 1: 0.4, 2: 0.3})

    assert [record.getMessage() for record in caplog.records] == [
        "json was not told of epoch 2: no answer",
        "json was not told that the training has ended: no answer",
    ]


def test_a_log_that_was_cut_short_is_no_reason_to_lose_a_validation(task: Any) -> None:
    validation(task)
    with (task.folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "prog')

    assert last_epoch(task.folder) == 2


def test_a_tracker_that_cannot_be_reached_costs_no_validation(
    task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = validation(task)
    (task.folder / "track.json").write_text('{"mlflow": {"uri": "nowhere://", "run": "1"}}')

    add_scores(SCORES, folder)

    assert "mlflow was not told of the scores" in caplog.text
