"""What is measured, on a trainer that pretends; and the whole command on small pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nnseg_core.files import read_json
from nnseg_core.pipeline.benching import Bench, StepTimes, _Enough, _Timer, as_record
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom
from nnseg_core.training import EpochReport

EPOCH = EpochReport(
    epoch=0,
    progress=0.1,
    learning_rate=0.01,
    train_loss=1.0,
    validation_loss=None,
    dice={},
    mean_dice=None,
    smoothed_dice=None,
    seconds=9.0,
    waiting=0.5,
    stepping=1.5,
    validating=3.0,
)

FAST = Bench(
    device="cpu, 2 threads",
    precision="bf16",
    batch_size=2,
    real=StepTimes(steps=10, seconds=5.0, waiting=0.1),
    dummy=StepTimes(steps=10, seconds=4.8, waiting=0.0),
    flops=int(50e9),
    peak=400e9,
    memory=int(1.5e9),
    stage_case="a",
    stages={"read": 0.1},
)


def test_a_timer_leaves_the_warm_up_out_and_ends_the_training_when_it_has_enough():
    timer = _Timer(steps=10, seconds=3.0, per_epoch=5, warm_up=1)

    timer.on_epoch_end(replace(EPOCH, stepping=99.0))
    timer.on_epoch_end(EPOCH)
    with pytest.raises(_Enough):
        timer.on_epoch_end(EPOCH)

    assert timer.times == StepTimes(steps=10, seconds=4.0, waiting=1.0)
    assert timer.times.milliseconds == 400


def test_a_timer_goes_on_until_both_steps_and_seconds_are_enough():
    timer = _Timer(steps=10, seconds=7.0, per_epoch=5, warm_up=0)

    for _ in range(3):
        timer.on_epoch_end(EPOCH)
    with pytest.raises(_Enough):
        timer.on_epoch_end(EPOCH)


def test_figures_follow_from_times_and_operations():
    assert FAST.samples_per_second == 4
    assert FAST.peak_share == pytest.approx(0.5)
    assert FAST.waiting_share == pytest.approx(0.02)
    assert as_record(FAST)["milliseconds_per_step"] == 500
    assert as_record(FAST)["memory_gb"] == 1.5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "The network, which the device computes about as fast as it can."),
        ({"flops": int(10e9)}, "The network, at 10% of what the device reaches"),
        ({"flops": None}, "The network, which the device computes about as fast as it can."),
        (
            {"dummy": StepTimes(steps=10, seconds=4.0, waiting=0.0)},
            "The processor cores: a step takes 500 ms while batches are made beside it, 400 ms",
        ),
        (
            {"real": StepTimes(steps=10, seconds=8.0, waiting=2.0)},
            "The data: 25% of the time the training waits for its next batch.",
        ),
    ],
)
def test_one_sentence_names_what_limits_the_training(changes, sentence):
    assert replace(FAST, **changes).bottleneck.startswith(sentence)


def test_the_command_measures_remembers_and_leaves_no_model(tmp_path: Path, capsys, monkeypatch):
    dataset, workspace = tmp_path / "Dataset001_Cells", tmp_path / "workspace"
    write_planar_phantom(dataset, cases=6, test_cases=0)
    settings = ("trainer.batch_size=2", "trainer.precision=fp32", "planner.patch_size=[32,32]")
    monkeypatch.setattr("nnseg_core.pipeline.benching.SECONDS", 0.0)

    code = run(
        *("bench", dataset, "2d", "--workspace", workspace, "--json"),
        *("--workers", 0, "--device", "cpu", "--steps", 5),
        *(part for setting in settings for part in ("--set", setting)),
    )

    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["batch_size"] == 2
    assert printed["precision"] == "fp32"
    assert 0 < printed["peak_share"] < 2
    assert printed["memory_gb"] > 0
    assert list(printed["stage_seconds"]) == ["read", "preprocess", "predict", "export"]
    assert read_json(workspace / "bench.json") == {
        printed["device"]: {"Dataset001_Cells/standard/2d": printed}
    }
    assert not (workspace / "models").exists()
