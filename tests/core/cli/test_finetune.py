"""One trained model as the start of others, as a user would type it, on small phantoms."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from nnseg_core import load_model
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

TINY = (
    "trainer.epochs=2",
    "trainer.iterations=4",
    "trainer.validation_iterations=1",
    "trainer.precision=fp32",
    "trainer.checkpoint_every=1",
    "batch_size=2",
)
FIRST = "encoder.stages.0.0.convolution.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset to start from, one of the same kind, and one of other channels and labels."""
    folder = tmp_path_factory.mktemp("finetune")
    write_planar_phantom(folder / "Source", cases=6, test_cases=1)
    write_planar_phantom(folder / "Alike", cases=6, test_cases=1, seed=7)
    write_planar_phantom(folder / "Other", cases=6, test_cases=1, seed=8)
    make_other(folder / "Other")
    return folder


def make_other(dataset: Path) -> None:
    """Two channels; the left half of each cell is a third label, and one name has changed."""
    for image in (dataset / "imagesTr").iterdir():
        shutil.copy(image, image.with_name(image.name.replace("_0000", "_0001")))
    for path in (dataset / "labelsTr").iterdir():
        label = np.asarray(Image.open(path)).copy()
        label[:, :32][label[:, :32] == 1] = 3
        Image.fromarray(label).save(path)
    description = json.loads((dataset / "dataset.json").read_text())
    description["channel_names"] = {"0": "phantom", "1": "second"}
    description["labels"] = {"background": 0, "wall": 1, "nucleus": 2, "left": 3}
    (dataset / "dataset.json").write_text(json.dumps(description))


def nnseg(
    folder: Path, command: str, dataset: str, *more: object, settings: Sequence = TINY
) -> int:
    given = [part for setting in settings for part in ("--set", setting)]
    common = ("--workspace", folder / "workspace", "--workers", 0, "--device", "cpu")
    return run(command, folder / dataset, *more, *common, *given)


def models(folder: Path, dataset: str) -> Path:
    return folder / "workspace" / "models" / dataset


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    settings = (*TINY, "planner.patch_size=[32,32]", "trainer.iterations=12")
    assert nnseg(folder, "train", "Source", "2d", "--name", "src", settings=settings) == 0
    return models(folder, "Source") / "src"


def first_loss(model: Path) -> float:
    line = (model / "fold_0" / "metrics.jsonl").read_text().splitlines()[0]
    return float(json.loads(line)["train_loss"])


def test_a_model_is_adopted_whole_and_starts_far_lower(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_step = (*TINY, "trainer.epochs=1", "trainer.iterations=1")

    assert nnseg(folder, "finetune", "Alike", "--from", source, settings=one_step) == 0
    shown = capsys.readouterr().out
    tuned = models(folder, "Alike") / "from-Source-src-2d-finetune"
    adopted = ("--plan", "from-Source-src", "--name", "scratch")
    assert nnseg(folder, "train", "Alike", "2d", *adopted, settings=one_step) == 0

    assert first_loss(tuned) < first_loss(models(folder, "Alike") / "scratch") - 0.3
    assert shown.splitlines()[-1] == str(tuned)
    assert "labels: background from background, cell from cell, nucleus from nucleus" in shown
    plans = [json.loads((model / "plan.json").read_text()) for model in (source, tuned)]
    for name in ("spacing", "patch_size", "features", "normalization"):
        assert plans[0]["configurations"]["2d"][name] == plans[1]["configurations"]["2d"][name]
    assert plans[0]["intensities"] == plans[1]["intensities"]
    assert plans[1]["dataset"]["name"] == "Alike"
    record = json.loads((tuned / "fold_0" / "run.json").read_text())
    assert record["start"]["model"] == str(source)
    assert len(record["start"]["sha256"]) == 64
    table = json.loads((tuned / "fold_0" / record["start"]["table"]).read_text())
    assert {one["fate"] for one in table["tensors"]} == {"loaded"}
    assert not (tuned / "fold_0" / "start.safetensors").exists()


def test_other_labels_and_channels_are_matched_by_name(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = (*TINY, 'trainer.frozen=["encoder","heads"]')

    assert nnseg(folder, "finetune", "Other", "--from", source, settings=frozen) == 0

    shown = capsys.readouterr().out
    assert "channels: phantom from phantom, second (all of them, shared out)" in shown
    assert "labels: background from background, wall (new), nucleus from nucleus, left (new)" in (
        shown
    )
    tuned = models(folder, "Other") / "from-Source-src-2d-finetune"
    theirs, ours = (
        load_file(model / "fold_0" / "weights.safetensors") for model in (source, tuned)
    )
    np.testing.assert_array_equal(ours[FIRST][:, :1], theirs[FIRST])  # frozen: as it was loaded
    np.testing.assert_allclose(ours[FIRST][:, 1:], theirs[FIRST] / 2, atol=1e-7)
    np.testing.assert_array_equal(ours["heads.0.weight"][2], theirs["heads.0.weight"][2])
    name = "decoder.stages.0.0.convolution.weight"
    assert not np.array_equal(ours[name], theirs[name])
    assert load_model(tuned, device="cpu").plan.dataset.channels == ("phantom", "second")


def test_adapt_keeps_the_own_plan(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*TINY, "planner.patch_size=[64,64]")

    code = nnseg(folder, "finetune", "Alike", "2d", "--adapt", "--from", source, settings=settings)

    assert code == 0
    assert "not in the source" in capsys.readouterr().out
    tuned = models(folder, "Alike") / "2d-finetune-from-Source-src"
    stages = [
        len(json.loads((model / "plan.json").read_text())["configurations"]["2d"]["features"])
        for model in (source, tuned)
    ]
    assert stages[1] == stages[0] + 1


def test_a_resumed_run_is_bit_equal_and_needs_no_source(
    folder: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stops.py").write_text(
        "class Stops:\n"
        "    def on_fit_start(self, task): pass\n"
        "    def on_epoch_end(self, report): raise InterruptedError('killed')\n"
        "    def on_fit_end(self, reports): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    gone = shutil.copytree(source, tmp_path / "here" / "gone")
    start = ("finetune", "Alike", "2d", "--from", gone)

    assert nnseg(folder, *start, "--name", "whole") == 0
    with pytest.raises(InterruptedError):
        nnseg(folder, *start, "--name", "cut", "--callback", "stops:Stops")
    shutil.rmtree(gone)
    assert nnseg(folder, *start, "--name", "cut") == 0

    whole, cut = (
        (models(folder, "Alike") / name / "fold_0" / "weights.safetensors").read_bytes()
        for name in ("whole", "cut")
    )
    assert whole == cut
    record = json.loads((models(folder, "Alike") / "cut" / "fold_0" / "run.json").read_text())
    assert record["start"]["model"] == str(gone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "nowhere"), "there is no model at nowhere"),
        (("2d", "--from", "nowhere"), "there is no model at"),
        (("2d", "--from", "checkpoint_best.pth"), "is a pickle, which could run any code"),
        (("2d",), "Missing option '--from'"),
    ],
)
def test_what_is_no_model_is_refused(
    folder: Path,
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoint_best.pth").touch()

    assert nnseg(folder, "finetune", "Alike", *arguments) == 2

    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_another_configuration_needs_adapt(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nnseg(folder, "finetune", "Alike", "3d_fullres", "--from", source) == 2
    assert "src was trained in 2d. Name that, or use --adapt" in capsys.readouterr().err


def test_a_dry_run_shows_what_would_be_taken_over_and_writes_nothing(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nnseg(folder, "finetune", "Alike", "--from", source, "--plan", "dry", "--dry-run") == 0

    shown = capsys.readouterr().out
    assert "labels: background from background, cell from cell" in shown
    assert "Nothing is written." in shown
    assert not (folder / "workspace" / "datasets" / "Alike" / "dry").exists()


def test_adapt_without_a_model_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nnseg(folder, "train", "Alike", "2d", "--adapt") == 2
    assert "say how to start: give --from MODEL too" in capsys.readouterr().err


def test_a_wrong_frozen_part_names_those_there_are(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*TINY, 'trainer.frozen=["encodr"]')

    code = nnseg(
        folder, "finetune", "Alike", "--from", source, "--name", "wrong", settings=settings
    )

    assert code == 2
    assert "names 'encodr', which the network does not have. It has: encoder, decoder" in (
        capsys.readouterr().err
    )
