"""The model that a training starts from, and what is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.errors import ModelError
from nnseg_core.fingerprint import IntensityStatistics
from nnseg_core.model_folder import write_model
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_core.transfer.starting import label_of, open_start

ANY = IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 0.0))
PLAN = Plan(
    dataset=DatasetDescription(
        name="a", channels=("CT",), labels=Labels(values={"organ": (1,)}), file_ending=".nii.gz"
    ),
    planner=ComponentRef(name="standard"),
    axes=(0, 1, 2),
    intensities=(ANY,),
    configurations={
        "small": Configuration(
            spacing=(1.0, 1.0),
            patch_size=(16, 16),
            batch_size=2,
            median_shape=(32.0, 32.0),
            features=(4,),
            strides=((1, 1),),
            kernel_sizes=((3, 3),),
            normalization=("zscore",),
            mask_normalization=(False,),
            batch_dice=False,
        )
    },
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "Dataset001_A" / "2d-standard"
    write_model(folder, PLAN, "small", {})
    (folder / "fold_0").mkdir()
    save_file({"weight": np.zeros(3, np.float32)}, folder / "fold_0" / "weights.safetensors")
    return folder


def test_a_model_folder_its_fold_and_its_file_are_one_start(model: Path):
    first = open_start(model)

    assert first.fold == "0"
    assert first.weights == model / "fold_0" / "weights.safetensors"
    assert len(first.hash()) == 64
    assert open_start(model / "fold_0") == first
    assert open_start(first.weights) == first


def test_a_fold_that_is_not_trained_is_refused(model: Path):
    with pytest.raises(ModelError, match="has no trained fold 3. It has: 0."):
        open_start(model, fold="3")


def test_weights_beside_a_plan_are_enough(model: Path, tmp_path: Path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(model / "plan.json", bare)
    shutil.copy(model / "fold_0" / "weights.safetensors", bare)

    start = open_start(bare)

    assert (start.name, start.fold) == ("small", None)
    assert open_start(bare / "weights.safetensors") == start


def test_an_ensemble_names_its_members(model: Path, tmp_path: Path):
    ensemble = tmp_path / "ensemble"
    shutil.copytree(model, ensemble / "members" / "first")

    with pytest.raises(ModelError, match="is an ensemble. Start from one of its members: members"):
        open_start(ensemble)
    assert open_start(ensemble / "members" / "first").fold == "0"


def test_pickles_are_never_opened(tmp_path: Path):
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    (folder / "fold_0").mkdir(parents=True)
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint.write_bytes(b"cos\nsystem\n(S'false'\ntR.")

    for path in (folder, folder / "fold_0", checkpoint):
        with pytest.raises(ModelError, match="checkpoint_final.pth is a pickle, which could run"):
            open_start(path)


def test_an_empty_folder_says_what_is_needed(tmp_path: Path):
    with pytest.raises(ModelError, match="it needs plan.json with weights.safetensors beside it"):
        open_start(tmp_path)
    with pytest.raises(ModelError, match="there is no model at"):
        open_start(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("models/Dataset001_A/2d-standard", "Dataset001_A-2d-standard"),
        ("models/Dataset001_A/2d-standard/fold_0", "Dataset001_A-2d-standard"),
        ("models/Dataset001_A/2d-standard/fold_0/weights.safetensors", "Dataset001_A-2d-standard"),
        ("Dataset001_A/best/members/2d: one", "best-2d__one"),
    ],
)
def test_a_start_is_called_by_its_path(path: str, label: str, tmp_path: Path):
    assert label_of(tmp_path / path) == label
