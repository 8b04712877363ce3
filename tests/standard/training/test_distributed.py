"""Real processes that sum by gloo. No GPU is needed, so nothing here has seen NCCL."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from nnseg_core.errors import PlanError
from nnseg_core.ranks import Ranks
from nnseg_core.testing.launching import ended, launch
from nnseg_core.testing.phantoms import write_planar_phantom
from nnseg_standard.device import of_this_rank
from nnseg_standard.training.distributed import (
    main_process,
    over_ranks,
    require_shareable,
    sum_gradients,
    summed,
)

PROGRAM = Path(__file__).with_name("curves_of_ranks.py")

CASES = [
    {"axes": axes, "batch_size": 3, "batch_dice": batch_dice}
    for axes, batch_dice in itertools.product((2, 3), (True, False))
]
OTHERS = [
    {"axes": 2, "batch_size": 2, "batch_dice": True, "loss": "tversky"},
    {"axes": 2, "batch_size": 3, "batch_dice": False, "loss": "focal"},
    {"axes": 2, "batch_size": 3, "batch_dice": True, "trainer": {"ema": 0.9}},
]

needs_gloo = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()),
    reason="this torch has no gloo",
)


def test_a_process_by_itself_is_the_main_one():
    assert main_process()


def test_a_process_by_itself_sums_nothing():
    (value,) = over_ranks(torch.tensor([1.0, 2.0]), samples=3)
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.full((1,), 5.0)

    assert value.tolist() == [1, 2]
    assert summed(value) is value
    assert sum_gradients([weight], torch.tensor(0.5)) == 0.5
    assert weight.grad.item() == 5


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """What one process alone, and ranks 0 and 1 of two, have written down."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    processes = [
        process
        for count, folder in enumerate(folders, start=1)
        for process in launch([PROGRAM, folder, json.dumps(CASES + OTHERS)], count, folder)
    ]
    codes = ended(processes, 240)
    assert codes == [0, 0, 0], (folders[1] / "0.err").read_text()
    files = (folders[0] / "rank_0.json", folders[1] / "rank_0.json", folders[1] / "rank_1.json")
    one, first, second = (json.loads(file.read_text()) for file in files)
    return one, first, second


@needs_gloo
@pytest.mark.parametrize("case", range(len(CASES + OTHERS)))
def test_two_ranks_give_the_curve_of_one_process_with_the_joint_batch(told: Any, case: int):
    alone, shared, beside = (each["curves"][case] for each in told)

    assert len(shared["train"]) == 20
    assert shared["train"][-1] < shared["train"][0]
    for part in ("train", "validation", "dice"):
        assert shared[part] == pytest.approx(alone[part], abs=1e-4)
    assert shared["sampled"] == alone["sampled"]
    assert shared["weights"] == beside["weights"]
    assert not beside["train"]  # callbacks are told on rank 0 only


@needs_gloo
def test_a_gradient_that_overflows_on_one_rank_is_skipped_on_all(told: Any):
    _, first, second = told

    assert first["overflow"] == second["overflow"] == [1.0, 2.0]


@needs_gloo
def test_batch_norms_are_refused_on_a_cpu(told: Any):
    assert "batch norms" in told[1]["refused"]
    assert "--set architecture.norm=instance" in told[2]["refused"]


def test_a_device_that_nobody_sums_on_is_refused():
    with pytest.raises(PlanError, match="several processes cannot train on mps"):
        require_shareable(nn.Linear(1, 1), torch.device("mps"))


@needs_gloo
def test_ranks_that_see_different_checkpoints_are_refused(told: Any):
    assert "different epochs (0, 1)" in told[1]["other_checkpoint"]
    assert "a disk that all nodes share" in told[2]["other_checkpoint"]


@pytest.mark.parametrize(
    ("name", "gpus", "bound", "device"),
    [
        ("auto", 4, False, "cuda:1"),
        ("cuda", 2, True, "cuda:1"),
        ("auto", 1, True, "auto"),  # the scheduler shows each process its own
        ("auto", 0, False, "auto"),
        ("cpu", 4, False, "cpu"),
    ],
)
def test_each_rank_has_a_gpu_of_its_own(name: str, gpus: int, bound: bool, device: str):
    ranks = Ranks(rank=3, count=4, local=1, beside=2, bound=bound)

    assert of_this_rank(name, ranks, gpus) == device


def test_ranks_that_would_share_a_gpu_are_refused():
    ranks = Ranks(rank=3, count=4, local=3, beside=4)

    with pytest.raises(PlanError, match="4 processes were launched .* but it has 2 GPUs"):
        of_this_rank("auto", ranks, 2)
    with pytest.raises(PlanError, match="4 processes cannot share cuda:0. Use --device cuda"):
        of_this_rank("cuda:0", ranks, 2)
    assert of_this_rank("cuda:0", Ranks(), 2) == "cuda:0"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "Dataset001_Cells"
    write_planar_phantom(folder, cases=6, test_cases=3)
    return folder


def command(dataset: Path, name: str, **trainer: object) -> list[object]:
    settings = {"epochs": 2, "iterations": 2, "validation_iterations": 1, "precision": "fp32"}
    return [
        *("-m", "nnseg_core", "train", dataset, "2d", "--device", "cpu", "--workers", 0),
        *("--workspace", dataset.parent / "workspace", "--name", name, "--set", "batch_size=3"),
        *("--set", "planner.patch_size=[32,32]"),
        *(part for k, v in (settings | trainer).items() for part in ("--set", f"trainer.{k}={v}")),
    ]


@needs_gloo
def test_two_ranks_train_and_predict_from_the_command_line(dataset: Path, tmp_path: Path):
    codes = ended(launch(command(dataset, "two"), 2, tmp_path), 240)

    assert codes == [0, 0], (tmp_path / "0.err").read_text()
    fold = dataset.parent / "workspace" / "models" / dataset.name / "two" / "fold_0"
    assert (tmp_path / "0.out").read_text().splitlines()[-1] == str(fold.parent)
    assert (tmp_path / "1.out").read_text() == (tmp_path / "1.err").read_text() == ""
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2
    assert len(list((fold / "validation").glob("phantom_???.png"))) == 2
    assert len((fold / "metrics.jsonl").read_text().splitlines()) == 2

    masks = tmp_path / "masks"
    images = dataset / "imagesTs"
    arguments = ["-m", "nnseg_core", "predict", fold.parent, images, masks, "--device", "cpu"]
    codes = ended(launch(arguments, 2, tmp_path), 240)

    assert codes == [0, 0], (tmp_path / "0.err").read_text()
    assert len(list(masks.iterdir())) == 3
    assert "masks written: 3" in (tmp_path / "0.err").read_text()


@needs_gloo
def test_a_rank_that_is_killed_in_the_middle_of_training_ends_the_run(
    dataset: Path, tmp_path: Path
):
    processes = launch(command(dataset, "killed", epochs=1000), 2, tmp_path)
    while "epoch 2/" not in (tmp_path / "0.err").read_text():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)

    os.kill(processes[1].pid, signal.SIGKILL)
    began = time.monotonic()
    codes = ended(processes, 240)

    assert codes == [1, -signal.SIGKILL]
    assert time.monotonic() - began < 60
    last = (tmp_path / "0.err").read_text().splitlines()[-1]
    assert last.startswith(f"error: rank 1 (process {processes[1].pid} on ")
    assert "killed by the system" in last


@needs_gloo
def test_a_request_to_stop_that_one_rank_hears_stops_all_at_the_same_step(
    dataset: Path, tmp_path: Path
):
    processes = launch(command(dataset, "stopped", epochs=1000), 2, tmp_path)
    while "epoch 2/" not in (tmp_path / "0.err").read_text():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)

    os.kill(processes[1].pid, signal.SIGTERM)

    assert ended(processes, 60) == [75, 75]
    assert "stopped by SIGTERM after step" in (tmp_path / "0.err").read_text()


def test_more_processes_than_samples_are_refused_before_any_work(dataset: Path, tmp_path: Path):
    arguments = [*command(dataset, "many"), "--plan", "many"]
    codes = ended(launch(arguments, 4, tmp_path), 240)

    assert codes == [2, 2, 2, 2]
    said = (tmp_path / "0.err").read_text()
    assert "4 processes cannot share batches of 3: each" in said.splitlines()[-1]
    assert "preprocess" not in said
    assert "Traceback" not in said
