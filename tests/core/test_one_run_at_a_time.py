"""Training, validation and preprocessing keep other runs away, and go on after a kill."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnseg_core.claims import claim, claim_file, read_claim
from nnseg_core.errors import NnsegError
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

TINY = ("epochs=1", "iterations=1", "validation_iterations=1", "precision=fp32")


def train(folder: Path, *more: object) -> int:
    settings = [part for one in TINY for part in ("--set", f"trainer.{one}")]
    return run(
        *("train", folder / "Dataset001_Cells", "2d", "--workers", 0, "--device", "cpu"),
        *("--workspace", folder / "workspace", "--name", "first", *settings),
        *("--set", "planner.patch_size=[32,32]", "--set", "batch_size=2", *more),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claimed")
    write_planar_phantom(folder / "Dataset001_Cells", cases=5)
    return folder


def test_a_run_that_preprocesses_the_same_cases_is_waited_for(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = folder / "workspace" / "datasets" / "Dataset001_Cells" / "standard"
    other = ExitStack()
    other.enter_context(claim(plan / "2d", "preprocessing"))
    seen: list[list[Path]] = []

    def end_the_other(seconds: float) -> None:
        seen.append(list(plan.rglob("case.json")))
        other.close()

    clock = SimpleNamespace(time=time.time, sleep=end_the_other)
    monkeypatch.setattr("nnseg_core.claims.time", clock)
    assert train(folder, "--name", "waited") == 0

    assert "waiting for process" in capsys.readouterr().err
    assert seen == [[]], "nothing was preprocessed meanwhile"


def test_a_fold_is_trained_by_one_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder / "workspace" / "models" / "Dataset001_Cells" / "first"

    with claim(model / "fold_0", "training"):
        assert train(folder) == 2
        assert train(folder, "--restart") == 2

    assert "first/fold_0: training by process" in capsys.readouterr().err.replace("\\", "/")
    assert not model.exists() or not list(model.iterdir())


def test_cases_are_not_replaced_under_a_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder) == 0
    model = folder / "workspace" / "models" / "Dataset001_Cells" / "reading"
    store = folder / "workspace" / "datasets" / "Dataset001_Cells" / "standard" / "2d"
    again = ("preprocess", folder / "Dataset001_Cells", "--workspace", folder / "workspace")
    made = (store / "phantom_000" / "case.json").read_text()

    with claim(model / "fold_0", "training", reads="standard/2d"):
        assert run(*again, "--workers", 0) == 0, "nothing is outdated"
        case = json.loads(made)
        (store / "phantom_000" / "case.json").write_text(json.dumps({**case, "key": "old"}))
        assert run(*again, "--workers", 0) == 2
        assert json.loads((store / "phantom_000" / "case.json").read_text())["key"] == "old"

    said = capsys.readouterr().err
    assert f"{model / 'fold_0'} is being trained with the cases in {store}" in said
    assert "and 1 of them are to be made anew" in said
    assert run(*again, "--workers", 0) == 0
    assert (store / "phantom_000" / "case.json").read_text() == made


def test_a_training_tells_which_cases_it_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    training = import_module("nnseg_core.pipeline.training")

    def look(project: object, request: Any, *more: object) -> None:
        there = read_claim(claim_file(request.folder / "fold_0"))
        told.append("" if there is None else there.reads)
        raise NnsegError("looked")

    monkeypatch.setattr(training, "_train", look)

    assert train(folder) == 2

    assert told == ["standard/2d"]


def test_nothing_is_left_of_the_claims_afterwards(folder: Path) -> None:
    assert train(folder) == 0

    assert (folder / "workspace/models/Dataset001_Cells/first/fold_0/weights.safetensors").is_file()
    assert not list(folder.rglob("*.running.json*"))


def test_a_model_refuses_a_wrong_device_before_it_predicts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder) == 0
    model = folder / "workspace" / "models" / "Dataset001_Cells" / "first"
    images = folder / "Dataset001_Cells" / "imagesTr"

    assert run("predict", model, images, folder / "masks", "--device", "cuda:77") == 2

    assert "there is no device 'cuda:77'" in capsys.readouterr().err
    assert not (folder / "masks").exists()
