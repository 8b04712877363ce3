"""A cascade from the command line: what it trains first, what it rebuilds, how it predicts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnseg_core import files
from nnseg_core.errors import ModelError
from nnseg_core.model import load_trained
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_twins

TINY = (
    "trainer.epochs=2",
    "trainer.iterations=2",
    "trainer.validation_iterations=1",
    "trainer.precision=fp32",
    "trainer.batch_size=2",
)
CASCADE = "3d_cascade_fullres"


def plan_a_cascade(dataset: Path, workspace: Path, features: int = 4) -> None:
    """Plan with patches that see a quarter of the long axis, and a low resolution that sees all."""
    place = ("--workspace", workspace, "--workers", 0)
    assert run("plan", dataset, *place, "--set", "planner.patch_size=[16,16,24]") == 0
    path = workspace / "datasets" / dataset.name / "standard" / "plan.json"
    plan = files.read_plan(path)
    full = replace(
        plan.configurations["3d_fullres"], features=tuple(features * n for n in (1, 2, 4))
    )
    low = replace(
        full,
        spacing=(2.0, 2.0, 2.0),
        median_shape=(8.0, 12.0, 48.0),
        patch_size=(8, 12, 48),
        features=(*full.features, full.features[-1]),
        strides=((1, 1, 1), (2, 2, 2), (1, 2, 2), (1, 1, 2)),
        kernel_sizes=((3, 3, 3),) * 4,
    )
    cascade = replace(full, previous="3d_lowres")
    stages = {"3d_lowres": low, "3d_fullres": full, CASCADE: cascade}
    files.write_json(path, replace(plan, configurations=stages))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cascade")
    dataset, workspace = folder / "Dataset001_Twins", folder / "workspace"
    write_twins(dataset, cases=6, test_cases=1)
    plan_a_cascade(dataset, workspace)
    assert run("split", dataset, "--folds", 3, "--workspace", workspace) == 0
    return folder


def train(folder: Path, *more: object, configuration: str = CASCADE) -> int:
    settings = [part for setting in TINY for part in ("--set", setting)]
    return run(
        *("train", folder / "Dataset001_Twins", configuration),
        *("--workspace", folder / "workspace", "--workers", 0, "--device", "cpu"),
        *settings,
        *more,
    )


def models(folder: Path) -> Path:
    return folder / "workspace" / "models" / "Dataset001_Twins"


def losses(model: Path, fold: str = "0") -> list[tuple[float, float]]:
    lines = (model / f"fold_{fold}" / "metrics.jsonl").read_text().splitlines()
    return [(row["train_loss"], row["validation_loss"]) for row in map(json.loads, lines)]


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """A cascade whose stages were trained by one command, from nothing."""
    assert train(folder) == 0
    return models(folder) / f"{CASCADE}-standard"


def test_one_command_trains_all_folds_of_the_stage_before(folder: Path, model: Path) -> None:
    low = models(folder) / "3d_lowres-standard"

    assert sorted(path.name for path in low.glob("fold_*")) == ["fold_0", "fold_1", "fold_2"]
    assert all((fold / "validation" / "summary.json").is_file() for fold in low.glob("fold_*"))
    segmented = sorted(path.stem for path in (low / "next_stage" / CASCADE).iterdir())
    assert segmented == [f"phantom_{number:03d}" for number in range(6)]
    assert sorted(path.name for path in model.iterdir()) == [
        *("fold_0", "model.json", "plan.json", "previous"),
    ]


def test_what_is_missing_is_said_before_the_work(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = ("--previous", "another", "--name", "other", "--dry-run")

    assert train(folder, *fresh) == 0
    shown = capsys.readouterr()
    assert train(folder) == 0
    said = capsys.readouterr().err

    assert "3d_lowres, fold 2: 4 cases to learn from, 2 to validate with; 2 epochs" in shown.out
    assert "all cases by 3d_lowres, onto the grid of 3d_cascade_fullres" in shown.out
    assert "It is trained: folds 0, 1, 2." in said


def test_each_case_is_segmented_by_the_fold_that_validates_with_it(
    folder: Path, model: Path
) -> None:
    low = models(folder) / "3d_lowres-standard"
    splits = json.loads(
        (folder / "workspace" / "datasets" / "Dataset001_Twins" / "splits.json").read_text()
    )
    stores = folder / "workspace" / "datasets" / "Dataset001_Twins" / "standard"

    from nnseg_core.label_store import LabelStore
    from nnseg_core.store import CaseStore

    labels = LabelStore(folder=low / "next_stage" / CASCADE)
    coarse, fine = (CaseStore(folder=stores / name) for name in ("3d_lowres", "3d_fullres"))
    for number, fold in enumerate(splits["folds"]):
        stage = load_trained(low, "cpu", folds=[number])
        for case in fold["validation"]:
            expected = stage.segment_onto(fine.read(case), coarse.read(case))
            np.testing.assert_array_equal(labels.read(case), expected)
            assert labels.read(case).shape == fine.shape(case)


def test_a_cascade_reads_the_cases_of_full_resolution(folder: Path, model: Path) -> None:
    stores = folder / "workspace" / "datasets" / "Dataset001_Twins" / "standard"

    assert {path.name for path in stores.iterdir() if path.is_dir()} == {"3d_lowres", "3d_fullres"}


def test_deleted_segmentations_are_made_again_and_change_nothing(folder: Path, model: Path) -> None:
    segmented = models(folder) / "3d_lowres-standard" / "next_stage"
    before = {path.name: path.read_bytes() for path in (segmented / CASCADE).iterdir()}
    shutil.rmtree(segmented)
    assert train(folder, "--name", "again") == 0
    (segmented / CASCADE / "phantom_004.b2nd").unlink()
    (segmented / CASCADE / "phantom_002.b2nd").write_bytes(b"torn")

    assert train(folder, "--name", "once more", "--fold", 0, "--fold", 1) == 0

    from nnseg_core.label_store import LabelStore

    labels = LabelStore(folder=segmented / CASCADE)
    assert {path.name for path in labels.folder.iterdir()} == set(before)
    assert labels.key("phantom_002") is not None
    for name in ("again", "once more"):
        other = models(folder) / name
        assert losses(other) == losses(model)
        weights = [m / "fold_0" / "weights.safetensors" for m in (model, other)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_threads_and_processes_give_the_same_bits(folder: Path, model: Path) -> None:
    for feeder in ("threads", "processes"):
        more = ("--name", feeder, "--workers", 1, "--set", f"trainer.feeder={feeder}")
        assert train(folder, *more) == 0

        assert losses(models(folder) / feeder) == losses(model)


def test_prediction_runs_both_stages(folder: Path, model: Path, tmp_path: Path) -> None:
    image = folder / "Dataset001_Twins" / "imagesTs" / "phantom_006_0000.nii.gz"
    moved = tmp_path / "moved"
    shutil.copytree(model, moved)  # all that it needs is in it
    loaded = load_trained(moved, "cpu")

    assert run("predict", moved, image, tmp_path / "masks", "--device", "cpu") == 0

    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "masks" / "phantom_006.nii.gz")))
    np.testing.assert_array_equal(mask, loaded.predict(image).label)
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(image))).astype(np.float32)
    alone = loaded.predict(voxels, spacing=(1.0, 1.0, 1.0))
    np.testing.assert_array_equal(mask, alone.label)
    assert loaded.previous is not None
    assert len(loaded.previous.networks) == 3


def test_a_setting_may_be_for_one_stage(model: Path) -> None:
    settings = {"predictor.step": 0.9, "3d_lowres.predictor.mirror_axes": []}

    loaded = load_trained(model, "cpu", settings=settings)

    assert loaded.previous is not None
    assert (loaded.predictor.step, loaded.previous.predictor.step) == (0.9, 0.9)  # type: ignore[attr-defined]
    assert loaded.previous.predictor.mirror_axes == ()  # type: ignore[attr-defined]
    assert loaded.predictor.mirror_axes is None  # type: ignore[attr-defined]


def test_a_model_without_its_stage_before_says_what_it_needs(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "half", ignore=shutil.ignore_patterns("previous"))

    with pytest.raises(ModelError, match="needs the model of 3d_lowres in its subfolder previous"):
        load_trained(tmp_path / "half")


def test_another_stage_before_is_not_mixed_in(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    low = models(folder) / "3d_lowres-standard"
    shutil.copytree(low, models(folder) / "low")
    weights = (models(folder) / "low" / f"fold_{fold}" / "weights.safetensors" for fold in (0, 1))
    shutil.copyfile(next(weights), next(weights))

    assert train(folder, "--fold", 1, "--previous", "low") == 2

    assert "fold 0 in" in (said := capsys.readouterr().err)
    assert "started from another model of 3d_lowres" in said
    assert not (model / "fold_1").exists()


def test_a_stage_before_keeps_the_settings_it_was_trained_with(folder: Path, model: Path) -> None:
    assert train(folder, "--name", "longer", "--set", "trainer.epochs=3") == 0

    assert len(losses(models(folder) / "longer")) == 3
    assert len(losses(models(folder) / "3d_lowres-standard")) == 2
    plan = files.read_plan(models(folder) / "longer" / "plan.json")
    epochs = {name: c.trainer.options["epochs"] for name, c in plan.configurations.items()}
    assert epochs == {"3d_lowres": 2, CASCADE: 3}


def test_fold_all_can_follow_fold_all(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, "--fold", "all", "--name", "low all", configuration="3d_lowres") == 0

    assert train(folder, "--fold", "all", "--name", "all", "--previous", "low all") == 0

    assert "It is trained: fold all." in capsys.readouterr().err
    previous = models(folder) / "all" / "previous"
    assert [path.name for path in previous.glob("fold_*")] == ["fold_all"]


def test_only_a_cascade_follows_something(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(folder, "--previous", "low", configuration="3d_fullres") == 2

    assert "--previous low: 3d_fullres is no cascade" in capsys.readouterr().err


def test_bench_names_what_to_measure_instead(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = folder / "Dataset001_Twins"

    assert run("bench", dataset, CASCADE, "--workspace", folder / "workspace") == 2

    assert "3d_cascade_fullres starts from segmentations by 3d_lowres" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cascade_places_what_full_resolution_cannot(tmp_path: Path) -> None:
    """Two equal balls, of which the one nearer to a landmark counts, which no patch reaches."""
    dataset, workspace = tmp_path / "Dataset002_Twins", tmp_path / "workspace"
    write_twins(dataset, cases=18, test_cases=0)
    plan_a_cascade(dataset, workspace, features=8)
    assert run("split", dataset, "--folds", 3, "--workspace", workspace) == 0
    budget = (
        *("trainer.epochs=6", "trainer.iterations=40", "trainer.validation_iterations=4"),
        *("trainer.batch_size=4", "trainer.momentum=0.9", "trainer.learning_rate=0.05"),
        "augmentation.previous_reshaping_radius=[1,2]",  # nnU-Net's 8 is twice the ball's
    )
    settings = [part for setting in budget for part in ("--set", setting)]

    dice = {}
    for name in ("3d_fullres", CASCADE):
        place = ("--workspace", workspace, "--device", "cpu", "--no-logits", "--name", name)
        assert run("train", dataset, name, *place, *settings) == 0
        scores = workspace / "models" / dataset.name / name / "fold_0" / "validation"
        summary = json.loads((scores / "summary.json").read_text())
        dice[name] = summary["foreground_mean"]["Dice"]

    assert dice[CASCADE] >= dice["3d_fullres"] + 0.05
