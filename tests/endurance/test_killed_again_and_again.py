"""A run that is killed without warning, fifty times, ends as the run that was left alone."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nnseg_core.store import CaseStore
from nnseg_core.testing.phantoms import write_planar_phantom

KILLS = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]


def command(dataset: Path, workspace: Path) -> list[str]:
    """A short training whose epochs all end in a checkpoint; preprocessing in two processes."""
    settings = (
        "trainer.epochs=600",
        "trainer.iterations=2",
        "trainer.validation_iterations=1",
        "trainer.checkpoint_every=1",
        "trainer.precision=fp32",
        "planner.patch_size=[32,32]",
        "batch_size=2",
    )
    return [
        *(sys.executable, "-m", "nnseg_core", "train", str(dataset), "2d"),
        *("--workspace", str(workspace), "--name", "killed", "--device", "cpu", "--workers", "2"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def run_to_the_end(arguments: list[str]) -> None:
    subprocess.run(arguments, check=True, capture_output=True, timeout=1200)


def run_and_kill(arguments: list[str], seconds: float) -> bool:
    """Kill the run and all its processes after ``seconds``; whether it was still at work."""
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    assert process.returncode == 0
    return False


def losses(workspace: Path) -> list[tuple[str, ...]]:
    """Epoch, training loss, validation loss and Dice of every epoch; not the times."""
    (log,) = workspace.glob("models/*/killed/fold_0/*.csv")
    with log.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        (row["epoch"], row["train_loss"], row["validation_loss"], row["mean_dice"]) for row in rows
    ]


def stored(workspace: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    (folder,) = workspace.glob("datasets/*/*/2d")
    store = CaseStore(folder=folder)
    for name in store.identifiers():
        case = store.read(name)
        yield name, case.image, case.label


def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    dataset = tmp_path / "Dataset001_Cells"
    write_planar_phantom(dataset, cases=12, test_cases=2)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    run_to_the_end(command(dataset, undisturbed))
    moments = random.Random(0)
    deaths = sum(
        run_and_kill(command(dataset, killed), moments.uniform(0.3, 7)) for _ in range(KILLS)
    )
    run_to_the_end(command(dataset, killed))

    assert deaths == KILLS, "the run ended too soon to be killed every time"
    assert losses(killed) == losses(undisturbed)
    for (name, image, label), (other, image2, label2) in zip(
        stored(killed), stored(undisturbed), strict=True
    ):
        assert name == other
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(label, label2)
    (weights,) = killed.glob("models/*/killed/fold_0/weights.safetensors")
    same = undisturbed / weights.relative_to(killed)
    for key, value in load_file(weights).items():
        np.testing.assert_array_equal(value, load_file(same)[key])
