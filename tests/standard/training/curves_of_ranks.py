"""A process of its own: train as one of several ranks, and write down the curve of the loss.

    python curves_of_ranks.py FOLDER '[{"axes": 3, "batch_size": 3, ...}, ...]'

``RANK`` and ``WORLD_SIZE`` say which one it is. Each case is trained for 20 steps, all in one team.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from nnseg_core.dataset import Labels
from nnseg_core.errors import ModelError, PlanError
from nnseg_core.plan import Configuration
from nnseg_core.ranks import from_environment
from nnseg_core.splits import Split
from nnseg_core.team import current, joined
from nnseg_core.training import TrainingTask
from nnseg_standard.augmentation.recipe import StandardAugmentation
from nnseg_standard.losses import compound, focal
from nnseg_standard.losses.tversky import Tversky
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.training.distributed import summing
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.step import TrainStep
from nnseg_standard.training.trainer import StandardTrainer

STEPS = 20
LABELS = Labels(values={"organ": (1,), "vessel": (2,)}, ignore=3)
PLANAR = Configuration(
    spacing=(1.0, 1.0),
    patch_size=(16, 16),
    batch_size=3,
    median_shape=(24.0, 24.0),
    features=(4, 8, 8),
    strides=((1, 1), (2, 2), (2, 2)),
    kernel_sizes=((3, 3), (3, 3), (3, 3)),
    normalization=("zscore",),
    mask_normalization=(False,),
    batch_dice=True,
)
SOLID = replace(
    PLANAR,
    spacing=(1.0, 1.0, 1.0),
    patch_size=(8, 16, 16),
    median_shape=(12.0, 24.0, 24.0),
    strides=((1, 1, 1), (2, 2, 2), (1, 2, 2)),
    kernel_sizes=((3, 3, 3), (3, 3, 3), (3, 3, 3)),
)
LOSSES = {
    "dice_ce": lambda batch_dice: compound.DiceCE(batch_dice=batch_dice),
    "tversky": lambda batch_dice: Tversky(batch_dice=batch_dice, ce_weight=1.0),
    "focal": lambda _: focal.FocalCE(),
}


class Cases:
    """Random blobs, a third of whose voxels nobody has annotated in the first case."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.cases = {}
        for name in "abcd":
            image = random.normal(size=(1, 12, 24, 24)).astype(np.float32)
            label = np.digitize(image[0], [0.8, 1.5]).astype(np.int16)
            if name == "a":
                label[:, :8] = 3
            self.cases[name] = image, label

    def shape(self, name):
        return self.cases[name][1].shape

    def foreground(self, name):
        label = self.cases[name][1]
        return {str(n): np.argwhere(label == n).astype(np.int32) for n in (1, 2)}

    def patch(self, name, box):
        image, label = self.cases[name]
        margin = [(16, 16)] * 3
        padded = np.pad(image, [(0, 0), *margin]), np.pad(label, margin, constant_values=-1)
        at = tuple(slice(a + 16, b + 16) for a, b in zip(box.start, box.stop, strict=True))
        return padded[0][(slice(None), *at)], padded[1][at]


def curve(case, folder):
    """Losses per step, of training and validation, Dice, and a hash of all that is learned."""
    configuration = replace(
        PLANAR if case["axes"] == 2 else SOLID, batch_size=case["batch_size"], batch_dice=True
    )
    torch.manual_seed(0 if current().ranks.main else 1)  # rank 0's weights are those that count
    task = TrainingTask(
        name="test",
        configuration=configuration,
        labels=LABELS,
        split=Split(train=("a", "b", "c"), validation=("d", "a")),
        store=Cases(),
        network=PlainUnet().build(configuration.topology, 1, 3),
        loss=LOSSES[case.get("loss", "dice_ce")](case["batch_dice"]),
        augmentation=StandardAugmentation(),
        folder=folder,
        device="cpu",
        workers=0,
        resume=case.get("resume", False),
    )
    trainer = StandardTrainer(
        **{
            "epochs": STEPS,
            "iterations": 1,
            "validation_iterations": 1,
            "precision": "fp32",
            "learning_rate": 0.05,
            "clip_norm": 1.0,
            **case.get("trainer", {}),
        }
    )
    watcher = Watcher()
    network = trainer.fit(task, [watcher])
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return {
        "train": [report.train_loss for report in watcher.reports],
        "validation": [report.validation_loss for report in watcher.reports],
        "dice": [report.mean_dice for report in watcher.reports],
        "sampled": [report.sampled for report in watcher.reports],
        "weights": digest.hexdigest(),
    }


def overflow():
    """One step in which the gradient of rank 1 alone is infinite: the weights and the scale after.

    A gradient scaler works the same way on a CPU.
    """
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    state = LoopState(
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        scaler=GradScaler("cpu", init_scale=4.0),
        epochs=1,
    )
    factor = 1.0 if current().ranks.main else float("inf")
    step = TrainStep(
        objective=lambda network, image: (network(image).sum(), None, None), clip_norm=9
    )
    with summing(network, torch.device("cpu"), epoch=0):
        step(state, torch.full((1, 1), factor))
    return [network.weight.item(), state.scaler.get_scale()]


def refused():
    """What is said of batch norms on a CPU."""
    with (
        pytest.raises(PlanError) as error,
        summing(nn.BatchNorm2d(1), torch.device("cpu"), epoch=0),
    ):
        pass
    return str(error.value)


def other_checkpoint():
    """What is said where ranks go on from different epochs."""
    network, device = nn.Linear(1, 1), torch.device("cpu")
    with pytest.raises(ModelError) as error, summing(network, device, current().ranks.rank):
        pass
    return str(error.value)


class Watcher:
    def __init__(self):
        self.reports = []

    def on_fit_start(self, task):
        pass

    def on_epoch_end(self, report):
        self.reports.append(report)

    def on_fit_end(self, reports):
        self.reports = list(reports)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
    ranks = from_environment()
    with joined(ranks):
        told = {"curves": [curve(each, folder / f"case_{n}") for n, each in enumerate(cases)]}
        if ranks.count > 1:
            told["overflow"] = overflow()
            told["refused"] = refused()
            told["other_checkpoint"] = other_checkpoint()
        (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(told))
