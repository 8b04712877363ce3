"""Whoever feeds, the network learns the same: ten minutes on real images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nnseg_core.dataset import Labels, open_dataset
from nnseg_core.pipeline import make_plan, preprocess, read_or_make_splits
from nnseg_core.plan import ComponentRef, Configuration
from nnseg_core.plugins import load_plugins
from nnseg_core.project import Project
from nnseg_core.scoring.overlap import count_overlap
from nnseg_core.store import CaseStore
from nnseg_core.training import TrainingTask
from nnseg_core.workspace import Workspace
from nnseg_standard.augmentation.recipe import StandardAugmentation
from nnseg_standard.inference.predictor import TilePredictor
from nnseg_standard.losses.compound import DiceCE
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.training.trainer import StandardTrainer

STEPS_PER_EPOCH, EPOCHS = 50, 8


@pytest.mark.slow
@pytest.mark.timeout(3600)  # on a busy machine
def test_both_feeders_train_to_the_same_dice(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan's network at half its width, 400 steps of 2 patches, as ``quick`` learns."""
    dataset = open_dataset(data_folder / "Dataset004_Hippocampus")
    project = Project(dataset=dataset, workspace=Workspace(tmp_path), plugins=load_plugins())
    plan = make_plan(project, ComponentRef(name="standard"), "standard")
    whole = plan.configurations["3d_fullres"]
    half = replace(whole, features=tuple(count // 2 for count in whole.features))
    store, labels = preprocess(project, plan, "standard", "3d_fullres"), plan.dataset.labels
    split = read_or_make_splits(project, "0")

    dice = {}
    for feeder in ("threads", "batchgenerators"):
        torch.manual_seed(0)
        task = TrainingTask(
            name="3d_fullres",
            configuration=half,
            labels=labels,
            split=split,
            store=store,
            network=PlainUnet().build(half.topology, 1, labels.outputs),
            loss=DiceCE(batch_dice=half.batch_dice),
            augmentation=StandardAugmentation(mask_normalization=half.mask_normalization),
            folder=tmp_path / feeder,
            device="cpu",
        )
        network = trainer(feeder).fit(task)
        dice[feeder] = mean_dice(network, store, split.validation, half, labels)
        with capsys.disabled():
            print(f"\n{feeder}: Dice {dice[feeder]:.4f} of {len(split.validation)} cases")

    assert min(dice.values()) > 0.75
    assert dice["threads"] == pytest.approx(dice["batchgenerators"], abs=0.01)


def trainer(feeder: str) -> StandardTrainer:
    return StandardTrainer(
        epochs=EPOCHS,
        iterations=STEPS_PER_EPOCH,
        validation_iterations=0,
        batch_size=2,
        learning_rate=0.1,
        momentum=0.9,
        feeder=feeder,
    )


def mean_dice(
    network: nn.Module,
    store: CaseStore,
    cases: tuple[str, ...],
    configuration: Configuration,
    labels: Labels,
) -> float:
    """The mean over cases and labels, on the network's grid."""
    values = []
    for identifier in cases:
        case = store.read(identifier)
        assert case.label is not None
        predictor = TilePredictor(mirror_axes=())
        logits = np.asarray(predictor.predict([network], case, configuration, "cpu").logits)
        counts = count_overlap(logits.argmax(0).astype(np.int16), case.label, labels)
        values += [counts[name].dice for name in labels.values]
    return float(np.mean([value for value in values if value is not None]))
