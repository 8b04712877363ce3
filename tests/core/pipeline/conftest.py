"""A model folder with a small untrained network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.fingerprint import IntensityStatistics
from nnseg_core.model import build_network
from nnseg_core.model_folder import fold_folder, save_weights, write_model
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_standard.networks.plain_unet import PlainUnet

ANY_VALUES = IntensityStatistics(
    mean=0.0,
    median=0.0,
    std=1.0,
    minimum=-9.0,
    maximum=9.0,
    percentile_0_5=-9.0,
    percentile_99_5=9.0,
)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """``make_model(folder, patch_size, features, classes, channels=("CT",))``."""
    return _make_model


def _make_model(
    folder: Path,
    patch_size: tuple[int, ...],
    features: tuple[int, ...],
    classes: int,
    channels: tuple[str, ...] = ("CT",),
) -> Path:
    axes, stages = len(patch_size), len(features)
    configuration = Configuration(
        spacing=(1.0,) * axes,
        patch_size=patch_size,
        batch_size=2,
        median_shape=patch_size,
        features=features,
        strides=((1,) * axes, *((2,) * axes,) * (stages - 1)),
        kernel_sizes=((3,) * axes,) * stages,
        normalization=("zscore",) * len(channels),
        mask_normalization=(False,) * len(channels),
        batch_dice=False,
        predictor=ComponentRef(name="tiles", options={"mirror_axes": [], "precision": "fp32"}),
    )
    plan = Plan(
        dataset=DatasetDescription(
            name="made up",
            channels=channels,
            labels=Labels(values={f"class {n}": (n,) for n in range(1, classes)}),
            file_ending=".nii.gz",
        ),
        planner=ComponentRef(name="standard"),
        axes=(0, 1, 2),
        intensities=(ANY_VALUES,) * len(channels),
        configurations={"small": configuration},
    )
    write_model(folder, plan, "small", {})
    torch.manual_seed(0)
    fold = fold_folder(folder, 0)
    fold.mkdir()
    save_weights(build_network(PlainUnet(), plan.dataset, configuration), fold)
    return folder
