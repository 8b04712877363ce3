"""The trainer's arithmetic against a loop written out by hand, and against recorded numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from nnseg_core.case import OUTSIDE
from nnseg_core.dataset import Labels
from nnseg_core.geometry import Box
from nnseg_core.plan import Configuration
from nnseg_core.splits import Split
from nnseg_core.training import EpochReport, TrainingTask
from nnseg_standard.augmentation.recipe import NoAugmentation
from nnseg_standard.data.feed import PatchFeed
from nnseg_standard.losses.compound import DiceCE
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.targets import encode
from nnseg_standard.training.trainer import StandardTrainer

LABELS = Labels(values={"ball": (1,)})
CONFIGURATION = Configuration(
    spacing=(1.0, 1.0, 1.0),
    patch_size=(8, 8, 8),
    batch_size=2,
    median_shape=(12.0, 12.0, 12.0),
    features=(4, 8),
    strides=((1, 1, 1), (2, 2, 2)),
    kernel_sizes=((3, 3, 3), (3, 3, 3)),
    normalization=("zscore",),
    mask_normalization=(False,),
    batch_dice=False,
)


class Balls:
    """A store of two noisy balls, 12 voxels wide."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.cases: dict[str, tuple[NDArray[np.float32], NDArray[np.int16]]] = {}
        for name, radius in (("small", 3.0), ("large", 4.5)):
            distance = np.linalg.norm(np.indices((12, 12, 12)) - 5.5, axis=0)
            label = (distance < radius).astype(np.int16)
            noise = random.normal(0, 0.3, label.shape)
            self.cases[name] = (label + noise).astype(np.float32)[np.newaxis], label

    def shape(self, identifier: str) -> tuple[int, ...]:
        return self.cases[identifier][1].shape

    def foreground(self, identifier: str) -> dict[str, NDArray[np.int32]]:
        return {"ball": np.argwhere(self.cases[identifier][1]).astype(np.int32)}

    def patch(self, identifier: str, box: Box) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        image, label = self.cases[identifier]
        margin = 12
        start = tuple(
            slice(a + margin, b + margin) for a, b in zip(box.start, box.stop, strict=True)
        )
        padded = np.pad(image[0], margin), np.pad(label, margin, constant_values=OUTSIDE)
        return padded[0][start][np.newaxis].copy(), padded[1][start].copy()


def new_task(network: nn.Module, folder: Path) -> TrainingTask:
    return TrainingTask(
        name="3d_fullres",
        configuration=CONFIGURATION,
        labels=LABELS,
        split=Split(train=("small", "large"), validation=("small",)),
        store=Balls(),  # type: ignore[arg-type]
        network=network,
        loss=DiceCE(),
        augmentation=NoAugmentation(),
        folder=folder,
        device="cpu",
        workers=0,
    )


@pytest.mark.parametrize("clip_norm", [12.0, 0.1])
def test_training_equals_a_loop_written_by_hand(tmp_path: Path, clip_norm: float):
    torch.manual_seed(0)
    network, by_hand = nn.Conv3d(1, 2, 3, padding=1), nn.Conv3d(1, 2, 3, padding=1)
    by_hand.load_state_dict(network.state_dict())
    trainer = StandardTrainer(
        epochs=4, iterations=5, validation_iterations=1, clip_norm=clip_norm, precision="fp32"
    )
    task = new_task(network, tmp_path)

    trainer.fit(task)

    _train_by_hand(by_hand, task, clip_norm)
    for trained, expected in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-6)


def _train_by_hand(network: nn.Module, task: TrainingTask, clip_norm: float) -> None:
    """Nesterov momentum 0.99 and weight decay 3e-5, as torch documents SGD; poly schedule."""
    feed = PatchFeed(
        store=task.store,
        identifiers=("small", "large"),
        patch_size=(8, 8, 8),
        batch_size=2,
        channels=1,
        augmentation=NoAugmentation(),
        seed=0,
    )
    velocity: dict[str, Any] = {}
    for step in range(20):
        rate = 0.01 * (1 - (step // 5) / 4) ** 0.9
        batch = feed.batch(step)
        loss = DiceCE()(network(batch.image), encode(batch.label, LABELS))
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))  # type: ignore[arg-type]
        share = min(1.0, clip_norm / (float(norm) + 1e-6))
        with torch.no_grad():
            for (name, weight), gradient in zip(network.named_parameters(), gradients, strict=True):
                pull = gradient * share + 3e-5 * weight
                velocity[name] = 0.99 * velocity[name] + pull if step else pull
                weight.sub_(rate * (pull + 0.99 * velocity[name]))


class Losses:
    """Keeps the losses of each epoch."""

    def __init__(self) -> None:
        self.course: list[tuple[float, float | None]] = []

    def on_fit_start(self, task: TrainingTask) -> None: ...

    def on_epoch_end(self, report: EpochReport) -> None:
        self.course.append((report.train_loss, report.validation_loss))

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None: ...


def test_the_course_of_a_small_training_is_the_recorded_one(tmp_path: Path):
    torch.manual_seed(0)
    network = PlainUnet().build(CONFIGURATION.topology, 1, LABELS.outputs)
    watching = Losses()

    StandardTrainer(epochs=4, iterations=5, validation_iterations=2, precision="fp32").fit(
        new_task(network, tmp_path), [watching]
    )

    assert watching.course == [pytest.approx(losses, abs=1e-4) for losses in RECORDED]


RECORDED = [
    (0.414361, 0.515138),
    (0.225986, 0.306860),
    (0.173105, 0.174746),
    (0.063905, 0.106283),
]
"""Training and validation loss per epoch; any change of the recipe, or of what is drawn, shows."""
