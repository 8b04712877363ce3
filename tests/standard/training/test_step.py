from functools import partial
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from nnseg_core.dataset import Labels
from nnseg_core.plan import Topology
from nnseg_standard.data.feed import Batch
from nnseg_standard.losses.compound import DiceCE, DiceTopK
from nnseg_standard.losses.cross_entropy import CrossEntropy
from nnseg_standard.losses.deep_supervision import DeepSupervision
from nnseg_standard.losses.dice import Dice
from nnseg_standard.losses.top_k import TopK
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.targets import encode
from nnseg_standard.training.graphs import NoWaiting
from nnseg_standard.training.objective import Objective
from nnseg_standard.training.online_dice import count_classes, count_regions
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.step import (
    TrainStep,
    ValidationStep,
    begin_momentum,
)


def new_state(network: nn.Module, lr: float = 0.1, scaled: bool = False) -> LoopState:
    return LoopState(
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        scaler=GradScaler("cpu", enabled=scaled),
        epochs=1,
    )


def squared_error(outputs: Tensor | list[Tensor], target: Tensor) -> Tensor:
    first = outputs if isinstance(outputs, Tensor) else outputs[0]
    return ((first - target[:, None]) ** 2).mean()


def objective(precision: torch.dtype = torch.float32) -> Objective:
    return Objective(loss=squared_error, encode=Tensor.float, precision=precision)


BATCH = Batch(image=torch.ones(2, 1, 4), label=torch.full((2, 4), 3, dtype=torch.int16))


def test_a_step_takes_the_gradient_down():
    network = nn.Conv1d(1, 1, 1, bias=False)
    network.weight.data.fill_(1.0)

    loss = TrainStep(objective=objective(), clip_norm=100.0)(new_state(network), BATCH)

    assert loss.item() == 4  # (1 - 3) squared
    assert not loss.requires_grad
    assert network.weight.item() == pytest.approx(1 + 0.1 * 4)


def test_a_long_gradient_is_shortened():
    network = nn.Conv1d(1, 1, 1, bias=False)
    network.weight.data.fill_(1.0)

    TrainStep(objective=objective(), clip_norm=0.5)(new_state(network), BATCH)

    assert network.weight.item() == pytest.approx(1 + 0.1 * 0.5)


def test_an_infinite_gradient_is_skipped_where_there_is_a_scaler():
    network = nn.Conv1d(1, 1, 1, bias=False)
    before = network.weight.clone()
    broken = Batch(image=torch.full((2, 1, 4), torch.inf), label=BATCH.label)

    TrainStep(objective=objective(), clip_norm=12.0)(new_state(network, scaled=True), broken)

    assert torch.equal(network.weight, before)


@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum_survives_a_first_step_that_overflows(nesterov: bool):
    weights = []
    for factors in ([torch.inf, 1.0, 2.0], [1.0, 2.0]):
        weight = nn.Parameter(torch.ones(64))
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, nesterov=nesterov, fused=True)
        begin_momentum(optimizer)
        scaler = GradScaler("cpu")
        for factor in factors:
            optimizer.zero_grad()
            scaler.scale((weight * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        weights.append(weight.detach())

    assert torch.equal(*weights)


def test_beginning_with_no_momentum_is_beginning_without():
    weights = []
    for begin in (begin_momentum, lambda optimizer: None):
        weight = nn.Parameter(torch.linspace(-1, 1, 64))
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.1, fused=True)
        begin(optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            (weight**3).sum().backward()
            optimizer.step()
        weights.append(weight.detach())

    assert torch.equal(*weights)


def test_optimizers_without_momentum_begin_as_they_are():
    weight = nn.Parameter(torch.ones(1))
    for optimizer in (torch.optim.SGD([weight], lr=0.1), torch.optim.Adam([weight], lr=0.1)):
        begin_momentum(optimizer)

        assert not optimizer.state


LABELS = Labels(values={"one": (1,), "two": (2,)}, ignore=3)
REGIONS = Labels(values={"all": (1, 2), "two": (2,)}, ignore=3, paint_order=(1, 2))
PATCH = Batch(
    image=torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
    label=torch.randint(0, 4, (2, 8, 8), dtype=torch.int16),
)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that makes the host wait for a GPU raises, in Python and below it."""
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "nonzero"):

        def waits(*_: object, name: str = name) -> NoReturn:
            raise AssertionError(f"Tensor.{name} waits for the device")

        monkeypatch.setattr(Tensor, name, waits)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize(
    "make_loss", [DiceCE, DiceTopK, CrossEntropy, Dice, TopK], ids=lambda loss: loss.__name__
)
@pytest.mark.usefixtures("no_waiting")
def test_a_step_waits_for_nothing(make_loss, labels: Labels, precision: torch.dtype):
    topology = Topology(
        patch_size=(8, 8),
        features=(2, 4, 4),
        strides=((1, 1), (2, 2), (2, 2)),
        kernel_sizes=((3, 3),) * 3,
    )
    network = PlainUnet().build(topology, 1, labels.outputs)
    whole = Objective(
        loss=DeepSupervision(make_loss(regions=labels.is_regions)),
        encode=partial(encode, labels=labels),
        precision=precision,
    )
    count = count_regions if labels.is_regions else count_classes
    state = LoopState(
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True),
        scaler=GradScaler("cpu", enabled=False),
        epochs=1,
    )

    with NoWaiting():
        TrainStep(objective=whole, clip_norm=12.0)(state, PATCH)
        ValidationStep(objective=whole, count=count)(state, PATCH)


def test_a_scaler_lets_no_fused_optimizer_wait_either():
    state = new_state(nn.Conv1d(1, 1, 1), scaled=True)
    state.optimizer = torch.optim.SGD(state.network.parameters(), lr=0.1, fused=True)
    step = TrainStep(objective=objective(), clip_norm=12.0)

    with NoWaiting(), pytest.raises(RuntimeError, match="waits"):
        state.optimizer.param_groups[0]["params"][0].sum().item()
    with NoWaiting():
        step(state, BATCH)


class Recorder(nn.Module):
    """Two outputs, and a note of the type they were computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 1, 1)
        self.seen: torch.dtype | None = None

    def forward(self, image: Tensor) -> list[Tensor]:
        convolved = self.convolution(image)
        self.seen = convolved.dtype
        return [convolved, convolved[..., ::2]]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_network_computes_at_the_precision_asked_for(precision: torch.dtype):
    network = Recorder()

    TrainStep(objective=objective(precision), clip_norm=12.0)(new_state(network), BATCH)

    assert network.seen == precision
    assert network.convolution.weight.dtype == torch.float32


def test_validation_counts_at_full_resolution_and_learns_nothing():
    network = Recorder()
    before = network.convolution.weight.clone()
    step = ValidationStep(objective=objective(), count=lambda logits, target: target - logits[:, 0])

    loss, counted = step(new_state(network), BATCH)

    assert counted.shape == (2, 4)
    assert loss.item() == pytest.approx((counted**2).mean().item())
    assert torch.equal(network.convolution.weight, before)
