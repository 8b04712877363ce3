import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnseg_core.contracts import Callback
from nnseg_core.training import EpochReport
from nnseg_standard.callbacks.csv_log import write_rows
from nnseg_standard.callbacks.watchdog import WARNINGS, Watchdog

MakeReport = Callable[..., EpochReport]

WELL = {
    "sampled": {"liver": 1.0, "cyst": 0.1},
    "reference_voxels": {"liver": 50, "cyst": 5},
    "predicted_voxels": {"liver": 40, "cyst": 0},
}


@pytest.fixture
def watched(task: SimpleNamespace) -> SimpleNamespace:
    options = {"iterations": 100}
    task.configuration = SimpleNamespace(trainer=SimpleNamespace(options=options))
    return task


def watch(
    task: SimpleNamespace, make_report: MakeReport, epochs: int = 8, **changes: object
) -> list[str]:
    """The codes told, in their order, of epochs that all are like this, the loss falling."""
    dog = Watchdog(rounds=3)
    dog.on_fit_start(task)
    for epoch in range(epochs):
        report = make_report(epoch, **{**WELL, "train_loss": 1 - epoch / 10, **changes})
        dog.on_epoch_end(report)
    return codes(task.folder)


def codes(folder: Path) -> list[str]:
    path = folder / WARNINGS
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["code"] for line in lines]


def test_a_training_that_goes_well_is_left_in_peace(
    watched: SimpleNamespace, make_report: MakeReport
):
    assert isinstance(Watchdog(), Callback)
    assert watch(watched, make_report) == []


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"train_loss": 0.7, "mean_dice": 0.01}, "flat_loss", "has stayed at 0.700 for 3 epochs"),
        (
            {"predicted_voxels": {"liver": 0, "cyst": 0}},
            "all_background",
            "nothing but background has been predicted in 3 rounds of validation",
        ),
        (
            {"sampled": {"liver": 1.0, "cyst": 0.0}},
            "never_sampled",
            "no training patch of 3 epochs had cyst",
        ),
        (
            {"reference_voxels": {"liver": 9, "cyst": 0}},
            "never_validated",
            "no validation patch of 3 epochs had cyst",
        ),
        ({"skipped_steps": 10}, "overflows", "at least 10% of the steps overflowed"),
    ],
)
def test_what_goes_wrong_is_told_once_with_what_to_do(
    watched: SimpleNamespace,
    make_report: MakeReport,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    code: str,
    words: str,
):
    assert watch(watched, make_report, **changes) == [code]

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("epoch 3: ")
    assert words in record.getMessage()
    assert "--set " in record.getMessage() or "nnseg " in record.getMessage()


@pytest.mark.parametrize(
    "changes",
    [
        {"train_loss": -0.9, "mean_dice": 0.9},
        {"predicted_voxels": {"liver": 0}, "reference_voxels": {"liver": 0}, "dice": {}},
        {"sampled": {}, "reference_voxels": {}, "predicted_voxels": {}},
        {"skipped_steps": 4},
    ],
)
def test_what_only_looks_like_it_is_not_told(
    watched: SimpleNamespace, make_report: MakeReport, changes: dict[str, object]
):
    told = watch(watched, make_report, **changes)

    assert [code for code in told if code != "never_validated"] == []


def test_two_epochs_tell_nothing(watched: SimpleNamespace, make_report: MakeReport):
    assert watch(watched, make_report, epochs=2, train_loss=0.7, mean_dice=0.0) == []


def test_a_resumed_training_is_not_warned_again_and_remembers_its_epochs(
    watched: SimpleNamespace, make_report: MakeReport
):
    flat = {**WELL, "train_loss": 0.7, "mean_dice": 0.01}
    watch(watched, make_report, **flat)
    rows = [make_report(epoch, **{**flat, "sampled": {"liver": 0.0}}) for epoch in range(2)]
    write_rows(watched.folder, rows)
    resumed = Watchdog(rounds=3)

    resumed.on_fit_start(watched)
    resumed.on_epoch_end(make_report(2, **{**flat, "sampled": {"liver": 0.0}}))

    assert codes(watched.folder) == ["flat_loss", "never_sampled"]


def test_a_training_that_begins_anew_is_warned_anew(
    watched: SimpleNamespace, make_report: MakeReport
):
    for _ in range(2):
        watch(watched, make_report, train_loss=0.7, mean_dice=0.01)

    assert codes(watched.folder) == ["flat_loss"]
