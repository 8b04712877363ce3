"""One step of a tiny network with every loss, and some optimizers and augmentations together."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.amp import GradScaler

from nnseg_core import kinds
from nnseg_core.dataset import Labels
from nnseg_core.plan import Topology
from nnseg_core.plugins import load_plugins
from nnseg_standard.data.feed import Batch
from nnseg_standard.losses.deep_supervision import DeepSupervision
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.networks.residual_unet import ResidualUnet
from nnseg_standard.targets import encode
from nnseg_standard.training.objective import Objective
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.step import TrainStep
from nnseg_standard.training.trainer import StandardTrainer

PLUGINS = load_plugins()
LOSSES = [n for n, c in PLUGINS.of_kind(kinds.LOSS).items() if c.provider.startswith("standard")]
CLASSES = Labels(values={"organ": (1,), "tumour": (2,)})
REGIONS = Labels(values={"organ": (1, 2), "tumour": (2,)}, paint_order=(1, 2))
TOPOLOGY = Topology(
    patch_size=(16, 16), features=(4, 8), strides=((1, 1), (2, 2)), kernel_sizes=((3, 3),) * 2
)
COMBINATIONS = {
    "sgd, standard": ("sgd", "standard", PlainUnet()),
    "adamw, none, ReLU and batch norm": (
        "adamw",
        "none",
        PlainUnet(norm="batch", activation="relu"),
    ),
    "adan, strong, GELU": ("adan", "strong", ResidualUnet(activation="gelu")),
    "radam, strong, Mish, no deep supervision": (
        "radam",
        "strong",
        PlainUnet(norm="group", activation="mish", deep_supervision=False),
    ),
}


def make_batch(augmentation, seed):
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    drawn = [augmentation.draw(random, (16, 16), 1) for _ in range(2)]
    images = [torch.randn(1, *one.source_size, generator=generator) for one in drawn]
    labels = [(image[0] > 0).short() + (image[0] > 1).short() for image in images]
    image, label = augmentation.apply(images, labels, drawn)
    return Batch(image=image, label=label)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("combination", COMBINATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_changes_the_weights_and_leaves_numbers(loss, combination, labels):
    optimizer, augmentation, architecture = COMBINATIONS[combination]
    torch.manual_seed(0)
    network = architecture.build(TOPOLOGY, 1, labels.outputs)
    facts = {"regions": labels.is_regions, "batch_dice": True, "ignore": False}
    built = PLUGINS.resolve(kinds.LOSS, loss).build({}, **facts)
    step = TrainStep(
        objective=Objective(
            loss=DeepSupervision(built),
            encode=partial(encode, labels=labels),
            precision=torch.float32,
        ),
        clip_norm=12.0,
    )
    state = LoopState(
        network=network,
        optimizer=StandardTrainer(optimizer=optimizer).make_optimizer(network),
        scaler=GradScaler("cpu", enabled=False),
        epochs=1,
    )
    before = [parameter.detach().clone() for parameter in network.parameters()]
    changes = PLUGINS.resolve(kinds.AUGMENTATION, augmentation).build()

    found = [step(state, make_batch(changes, seed)) for seed in range(2)]

    assert all(value.isfinite() for value in found)
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
