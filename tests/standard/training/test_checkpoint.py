import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.amp import GradScaler
from torch.optim import SGD, Adam, AdamW, Optimizer

from nnseg_core.errors import DiskFull, ModelError
from nnseg_core.training import EpochReport
from nnseg_standard.beside import Beside
from nnseg_standard.training import checkpoint
from nnseg_standard.training.adan import Adan
from nnseg_standard.training.checkpoint import (
    BEST,
    LAST,
    Checkpoints,
    contents_of,
    is_due,
    read,
    write,
)
from nnseg_standard.training.state import LoopState

REPORT = EpochReport(
    epoch=0,
    progress=0.1,
    learning_rate=0.1,
    train_loss=0.5,
    validation_loss=None,
    dice={"liver": 0.5, "cyst": None},
    mean_dice=0.5,
    smoothed_dice=0.5,
    seconds=1.0,
    waiting=0.0,
    stepping=1.0,
    validating=0.0,
    epochs=10,
)

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda network: SGD(network.parameters(), 0.1, momentum=0.9, fused=True),
    "sgd without momentum": lambda network: SGD(network.parameters(), 0.1),
    "adam": lambda network: Adam(network.parameters(), 0.1),
    "adamw, fused, amsgrad": lambda network: AdamW(
        network.parameters(), 0.1, fused=True, amsgrad=True
    ),
    "adan": lambda network: Adan(network.parameters(), 0.1),
    "two groups": lambda network: SGD(
        [{"params": [network[0].weight], "lr": 0.01}, {"params": [network[1].weight]}],  # type: ignore[index]
        0.1,
        momentum=0.9,
    ),
}


def new_state(seed: int = 0, optimizer: str = "sgd") -> LoopState:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.BatchNorm1d(2))
    return LoopState(
        network=network,
        optimizer=OPTIMIZERS[optimizer](network),
        scaler=GradScaler("cpu", enabled=False),
        epochs=10,
    )


def train(state: LoopState, smoothed: float | None = 0.5, seconds: float = 1.0) -> LoopState:
    """An epoch of one step."""
    state.optimizer.zero_grad()
    state.network(torch.arange(6.0).reshape(2, 3)).square().sum().backward()
    state.optimizer.step()
    state.reports.append(
        replace(REPORT, epoch=state.epoch, smoothed_dice=smoothed, seconds=seconds)
    )
    return state


def weights(state: LoopState) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in state.network.state_dict().items()}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(folder=tmp_path / "fold_0", precision="fp32", run={"epochs": 10}, every=1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_restored_state_goes_on_as_the_saved_one(checkpoints: Checkpoints, optimizer: str):
    saved, restored = train(train(new_state(0, optimizer))), new_state(1, optimizer)
    checkpoints.save(saved)

    checkpoints.resume(restored)

    assert restored.reports == saved.reports
    assert weights(restored) == weights(saved)
    assert weights(train(restored)) == weights(train(saved))


def test_the_last_state_is_saved_when_due_and_the_best_when_it_is_best(tmp_path: Path):
    checkpoints = Checkpoints(folder=tmp_path, precision="fp32", run={}, every=2)
    state, saved = new_state(), []
    for smoothed in (0.1, 0.3, 0.2, 0.25):
        checkpoints.save(train(state, smoothed))
        saved.append({path.name: epochs_in(path) for path in sorted(tmp_path.iterdir())})

    assert saved == [{BEST: 1}, {BEST: 2, LAST: 2}, {BEST: 2, LAST: 2}, {BEST: 2, LAST: 4}]


def epochs_in(path: Path) -> int:
    return len(read(path)[1]["reports"])


@pytest.mark.parametrize(
    ("epochs", "seconds", "due"),
    [(49, 1.0, False), (50, 1.0, True), (49, 61.0, True), (29, 2.0, False), (30, 2.0, True)],
)
def test_a_save_is_due_every_so_often_and_once_a_minute(epochs: int, seconds: float, due: bool):
    state = new_state()
    state.reports = [replace(REPORT, seconds=seconds, epochs=1000)] * epochs

    assert is_due(state, every=50) == due


def test_the_last_epoch_is_always_saved():
    state = new_state()
    state.reports = [REPORT] * 10

    assert is_due(state, every=50)


def test_only_the_main_process_writes(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint, "main_process", lambda: False)

    checkpoints.save(train(new_state()))

    assert not checkpoints.folder.exists()


@pytest.mark.parametrize("moment", ["save_file", "fsync", "replace"])
def test_a_save_that_is_cut_short_leaves_the_old_checkpoint(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, moment: str
):
    state, restored = train(new_state()), new_state(1)
    checkpoints.save(state)
    before = weights(state)

    def cut_short(tensors: object, path: Path, **_: object) -> None:
        path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
        raise KeyboardInterrupt

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save_file", cut_short) if moment == "save_file" else None
        patch.setattr(os, "fsync", stop) if moment == "fsync" else None
        patch.setattr(Path, "replace", stop) if moment == "replace" else None
        checkpoints.save(train(state))
    checkpoints.resume(restored)

    assert weights(restored) == before
    checkpoints.save(state)  # what was left over is in nobody's way
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [BEST, LAST]


def test_a_save_beside_the_training_holds_the_state_of_its_moment(tmp_path: Path):
    """It is written late here, after the training has gone on."""
    later: list[Callable[[], None]] = []
    checkpoints = Checkpoints(
        folder=tmp_path, precision="fp32", run={}, every=1, begin=later.append
    )
    state, restored = train(new_state()), new_state(1)
    before = weights(state)
    checkpoints.save(state)
    train(state)

    (write_it,) = later
    write_it()
    checkpoints.resume(restored)

    assert weights(restored) == before != weights(state)
    assert restored.epoch == 1


def test_a_save_that_failed_beside_the_training_is_told_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def disk_full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint, "save_file", disk_full)
    beside = Beside()
    checkpoints = Checkpoints(
        folder=tmp_path, precision="fp32", run={}, every=1, begin=beside.start
    )
    checkpoints.save(train(new_state()))

    with pytest.raises(OSError, match="no space left"):
        checkpoints.save(train(new_state()))


WRITES_FOR_EVER = """
import sys, torch
from pathlib import Path
from nnseg_standard.training.checkpoint import contents_of, write
from nnseg_standard.training.state import LoopState
from torch.amp import GradScaler
network = torch.nn.Linear(500, 500)
optimizer = torch.optim.SGD(network.parameters(), 0.1)
state = LoopState(network=network, optimizer=optimizer, scaler=GradScaler(enabled=False), epochs=1)
for number in range(10**9):
    torch.nn.init.constant_(network.weight, number)
    write(Path(sys.argv[1]), contents_of(state, {"number": number}, "fp32"))
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
@pytest.mark.parametrize("milliseconds", [1, 7, 20, 50])
def test_a_killed_process_leaves_a_whole_checkpoint(tmp_path: Path, milliseconds: int):
    path = tmp_path / LAST
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGKILL)

    tensors, description = read(path)

    assert tensors["network.weight"].unique().tolist() == [description["run"]["number"]]


def test_without_a_checkpoint_the_training_begins(checkpoints: Checkpoints):
    state = new_state()
    before = weights(state)

    checkpoints.resume(state)

    assert weights(state) == before


def test_another_training_is_refused_with_all_differences(tmp_path: Path):
    run = {"epochs": 10, "learning_rate": 0.01, "patch_size": (8, 8), "seed": 0}
    Checkpoints(folder=tmp_path, precision="fp32", run=run, every=1).save(train(new_state()))
    other = Checkpoints(
        folder=tmp_path, precision="fp32", run={**run, "epochs": 20, "mu": 0.9}, every=1
    )

    with pytest.raises(ModelError) as caught:
        other.resume(new_state())

    assert str(caught.value) == (
        f"{tmp_path / LAST} is of another training: epochs was 10 and is now 20; mu was None and "
        "is now 0.9. Go on with the options it was started with, or start anew with --restart."
    )


def test_another_network_is_refused(checkpoints: Checkpoints):
    checkpoints.save(train(new_state()))
    other = new_state()
    other.network = nn.Linear(3, 5)

    with pytest.raises(ModelError, match="does not fit this network or optimizer"):
        checkpoints.resume(other)


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_file_that_is_no_checkpoint_is_named(checkpoints: Checkpoints, damage: str):
    checkpoints.save(train(new_state()))
    path = checkpoints.folder / LAST
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        save_file({"network.weight": torch.ones(1)}, path)

    with pytest.raises(ModelError) as caught:
        checkpoints.resume(new_state())

    assert str(caught.value).startswith(f"{path} cannot be read as a checkpoint: ")
    assert str(caught.value).endswith("Delete it to start anew.")


def test_weights_that_are_tied_and_in_any_memory_order_are_saved(tmp_path: Path):
    state = new_state()
    layer = nn.Conv2d(3, 3, 3).to(memory_format=torch.channels_last)
    state.network = nn.Sequential(layer, layer)

    write(tmp_path / LAST, contents_of(state, {}, "fp32"))

    tensors, _ = read(tmp_path / LAST)
    assert torch.equal(tensors["network.0.weight"], layer.weight)
    assert torch.equal(tensors["network.1.weight"], layer.weight)


def test_the_header_is_json_that_says_what_wrote_it(checkpoints: Checkpoints):
    checkpoints.save(train(new_state()))

    raw = (checkpoints.folder / LAST).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    description = json.loads(header["__metadata__"]["nnseg"])

    assert description["run"] == {"epochs": 10}
    assert sorted(description["versions"]) == ["nnseg", "python", "torch"]


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
):
    def no_room(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    path = checkpoints.folder / LAST
    write(path, contents_of(new_state(), {}, "fp32"))
    before = path.read_bytes()
    monkeypatch.setattr(checkpoint, "save_file", no_room)

    with pytest.raises(DiskFull, match="the disk is full"):
        write(path, contents_of(new_state(), {}, "fp32"))

    assert path.read_bytes() == before
