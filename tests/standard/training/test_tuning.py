"""The choice between ways of computing a network, with a clock and ways of the tests' own."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nnseg_core.plan import Topology
from nnseg_standard.data.feed import Batch
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.training import tuning
from nnseg_standard.training.objective import Objective
from nnseg_standard.training.tuning import (
    AS_IT_IS,
    Trial,
    Way,
    channels_last_copy,
    choose,
    compiled,
    fastest,
    time_limit,
    ways_on,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BATCH = Batch(image=torch.randn(2, 1, 8, 8), label=torch.ones(2, 8, 8, dtype=torch.int16))


def mean_square(outputs: list[Tensor], target: Tensor) -> Tensor:
    return ((outputs[0] - target[:, None]) ** 2).mean()


class Clock:
    """Seconds pass by what the way in use costs per pass."""

    def __init__(self) -> None:
        self.now, self.cost = 0.0, 1.0

    def way(self, cost: float, change: Callable[[nn.Module], object] = id) -> Way:
        @contextmanager
        def way(network: nn.Module) -> Generator[None]:
            before = {name: value.clone() for name, value in network.state_dict().items()}
            self.cost = cost
            change(network)
            yield
            network.load_state_dict(before)

        return way

    def trial(self, **changes: Any) -> Trial:
        def wait() -> None:
            self.now += self.cost

        objective = Objective(loss=mean_square, encode=Tensor.float, precision=torch.float32)
        parts = {"objective": objective, "batch": lambda: BATCH, "finish": wait}
        return Trial(**{**parts, "clock": lambda: self.now, **changes})


def network(norm: str = "instance") -> nn.Module:
    torch.manual_seed(0)
    topology = Topology(
        patch_size=(8, 8),
        features=(2, 4),
        strides=((1, 1), (2, 2)),
        kernel_sizes=((3, 3),) * 2,
    )
    return PlainUnet(norm=norm).build(topology, 1, 2)


def chosen(others: dict[str, tuple[float, Any]]) -> str:
    """Which wins against 1 s per pass."""
    clock = Clock()
    ways = {AS_IT_IS: clock.way(1.0)}
    ways |= {name: clock.way(cost, change) for name, (cost, change) in others.items()}
    return choose(ways, network(), clock.trial())


def break_weights(broken: nn.Module) -> None:
    next(broken.parameters()).data.mul_(2)


def raise_error(_: nn.Module) -> None:
    raise RuntimeError("no such kernel\nand a long trace")


def test_the_fastest_way_wins_and_the_log_says_so(caplog):
    caplog.set_level("INFO")

    assert chosen({"one way": (0.5, id), "another": (0.25, id), "slowly": (2.0, id)}) == "another"

    assert caplog.messages == [
        "the network is computed another: 1000.0 ms as it is, 500.0 ms one way, "
        "250.0 ms another, 2000.0 ms slowly for a batch, forward and backward"
    ]


def test_a_way_that_is_hardly_faster_is_not_worthwhile():
    assert chosen({"one way": (0.98, id)}) == AS_IT_IS
    assert chosen({"one way": (0.96, id)}) == "one way"


@pytest.mark.parametrize(
    ("change", "reason"),
    [(break_weights, "the results differ by"), (raise_error, "no such kernel")],
)
def test_a_way_that_fails_or_differs_is_left_out(change, reason, caplog):
    caplog.set_level("INFO")

    assert chosen({"one way": (0.1, change), "another": (0.5, id)}) == "another"

    assert f"the network is not computed one way: {reason}" in caplog.messages[0]
    assert "\n" not in caplog.messages[0]


def test_a_way_that_takes_too_long_to_try_is_left_out(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(tuning, "LONGEST_TRIAL", 0.05)

    assert chosen({"one way": (0.1, lambda _: time.sleep(5))}) == AS_IT_IS

    assert caplog.messages[0] == "the network is not computed one way: it takes longer than 0.05 s"


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_trying_leaves_no_trace(norm):
    tried = network(norm)
    before = {name: value.clone() for name, value in tried.state_dict().items()}
    torch.manual_seed(7)
    following = torch.rand(1)
    torch.manual_seed(7)

    Clock().trial()(tried)

    assert torch.equal(torch.rand(1), following)
    assert all(torch.equal(value, before[name]) for name, value in tried.state_dict().items())
    assert all(parameter.grad is None for parameter in tried.parameters())


def test_a_single_way_is_not_tried():
    def batch() -> Batch:
        raise AssertionError("there is nothing to measure")

    with fastest(ways_on(CPU, tune=True, compiling=False), network(), Clock().trial(batch=batch)):
        pass


def test_the_way_chosen_lasts_until_the_block_ends():
    clock, module = Clock(), network()
    bias = module.heads[0].bias
    ways = {AS_IT_IS: clock.way(1.0), "one way": clock.way(0.1, lambda _: bias.data.add_(1e-6))}

    with fastest(ways, module, clock.trial()):
        assert bias.abs().max() > 0
    assert bias.abs().max() == 0


def test_ways_depend_on_the_device(monkeypatch):
    monkeypatch.setattr(tuning, "find_spec", lambda name: name)
    fused = "with channels last and fused norms"

    assert list(ways_on(CPU, tune=True, compiling=False)) == [AS_IT_IS]
    assert list(ways_on(CUDA, tune=True, compiling=False)) == [AS_IT_IS, fused]
    assert list(ways_on(CUDA, tune=True, compiling=True)) == [AS_IT_IS, fused, "compiled"]
    assert list(ways_on(CUDA, tune=False, compiling=False)) == [AS_IT_IS]
    monkeypatch.setattr(tuning, "find_spec", lambda name: None)
    assert list(ways_on(CUDA, tune=True, compiling=False)) == [AS_IT_IS]


def test_a_compiled_network_keeps_its_names(monkeypatch):
    calls = []

    def compile_it(forward: Callable[..., Any], **options: object) -> Callable[..., Any]:
        calls.append(options)
        return forward

    monkeypatch.setattr(torch, "compile", compile_it)
    module = network()
    names = list(module.state_dict())

    with compiled(module):
        assert list(module.state_dict()) == names
        module(BATCH.image)
    assert calls == [{"dynamic": False}]
    assert "forward" not in vars(module)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("space", [(4, 5), (4, 5, 6)])
def test_torch_takes_channels_for_last_even_a_single_one(channels, space):
    image = torch.randn(2, channels, *space)

    copied = channels_last_copy(image)

    assert torch.equal(copied, image)
    assert copied.stride(1) == 1
    chosen_by_torch = functional.interpolate(copied, scale_factor=2, mode="nearest").stride(1)
    assert chosen_by_torch == 1  # as cuDNN's convolutions choose; those of a CPU do otherwise


def test_a_limit_raises_in_time_and_keeps_other_timers():
    start = time.monotonic()

    with pytest.raises(TimeoutError, match="longer than 0.05 s"), time_limit(0.05):
        time.sleep(5)

    assert time.monotonic() - start < 4
    with time_limit(100):
        pass


def test_there_is_no_limit_in_other_threads():
    done = []

    def work() -> None:
        with time_limit(1e-3):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert done == [True]
