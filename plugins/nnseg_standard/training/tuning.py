"""Ways of computing a network, and which of them is fastest on this machine for these batches.

A way changes a network in place and back. The first is how the network is anyway; another takes
its place only where it computes the same and a measurement says that it is faster.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import cudnn

from nnseg_core.team import current
from nnseg_standard.data.feed import Batch, PatchFeed, prefetched
from nnseg_standard.networks.norm_activation import NormActivation
from nnseg_standard.training.agreement import LOSS_SCALE, difference
from nnseg_standard.training.cores import side_by_side
from nnseg_standard.training.feeding import wait_for
from nnseg_standard.training.objective import Objective
from nnseg_standard.training.snapshot import RandomStates

log = logging.getLogger(__name__)

Way = Callable[[nn.Module], AbstractContextManager[None]]
"""What has a network computed in some way, until the block ends."""

AS_IT_IS = "as it is"
"""The name of the first way."""

WORTHWHILE = 1.03
"""How many times faster another way must be: less could be chance."""

LONGEST_TRIAL = 300.0
"""Seconds in which a way has to be built and timed; a 3D U-Net compiles in one or two minutes."""

ROUNDS = 5
"""Passes that are timed, of which the fastest counts; as many come before, to warm up."""

TOLERATED = {torch.float32: 0.02, torch.float16: 0.05, torch.bfloat16: 0.2}
"""Greatest difference of logits and gradients: far above rounding, added up over 30 layers (in
float32 that of TF32), far below what a broken kernel does."""


def ways_on(device: torch.device, tune: bool, compiling: bool) -> dict[str, Way]:
    """The ways worth trying, by name. On a CPU there is one, unless ``compiling`` is asked for."""
    ways: dict[str, Way] = {AS_IT_IS: lambda network: nullcontext()}
    if tune and device.type == "cuda" and find_spec("triton"):
        ways["with channels last and fused norms"] = channels_last
    if compiling:
        ways["compiled"] = compiled
    return ways


def fastest_kernels() -> AbstractContextManager[None]:
    """Let cuDNN time its kernels once: all batches have one shape. Not if results must repeat."""
    repeatable = cudnn.deterministic
    return cudnn.flags(enabled=True, benchmark=not repeatable, deterministic=repeatable)


def computed_fast(
    network: nn.Module,
    objective: Objective,
    feed: PatchFeed,
    device: torch.device,
    *,
    tune: bool,
    compiling: bool,
) -> AbstractContextManager[None]:
    """The network is computed in the fastest way for batches of ``feed`` until the block ends."""
    if device.type == "cpu" and not compiling:
        return side_by_side(network, (len(feed.made), feed.inputs, *feed.patch_size))
    trial = Trial(
        objective=objective,
        batch=lambda: next(iter(prefetched(feed, [0], device, workers=0))),
        finish=partial(wait_for, device),
    )
    return fastest(ways_on(device, tune, compiling), network, trial)


@contextmanager
def channels_last(network: nn.Module) -> Generator[None]:
    """Features with their channels last in memory, normalised by the kernels made for that.

    Weights stay as they are, and with them the optimizer's memory and checkpoints: convolutions
    reorder them as they need, which costs little beside features.
    """
    from nnseg_standard.kernels.fused_norm_activation import fused_norm_activation

    layers = [module for module in network.modules() if isinstance(module, NormActivation)]
    kernels = [layer.kernel for layer in layers]
    hook = network.register_forward_pre_hook(_reorder)
    try:
        for layer in layers:
            layer.kernel = fused_norm_activation
        yield
    finally:
        hook.remove()
        for layer, kernel in zip(layers, kernels, strict=True):
            layer.kernel = kernel


@contextmanager
def compiled(network: nn.Module) -> Generator[None]:
    """By ``torch.compile``; the network keeps its class and the names of its weights."""
    network.forward = torch.compile(network.forward, dynamic=False)
    try:
        yield
    finally:
        del network.forward


@contextmanager
def fastest(ways: Mapping[str, Way], network: nn.Module, trial: Trial) -> Generator[None]:
    """Within the block the network is computed in the fastest of ``ways``; the log says which."""
    chosen = current().agree(AS_IT_IS if len(ways) == 1 else choose(ways, network, trial))
    with ways[chosen](network):
        yield


def choose(ways: Mapping[str, Way], network: nn.Module, trial: Trial) -> str:
    """The name of the fastest way that agrees with the first; each is tried in turn.

    A way that fails, differs, or takes longer than ``LONGEST_TRIAL`` to try is left out.
    """
    expected = trial(network)
    seconds = {AS_IT_IS: expected.seconds}
    for name, way in ways.items():
        if name == AS_IT_IS:
            continue
        try:
            with time_limit(LONGEST_TRIAL), way(network):
                outcome = trial(network)
            trial.require_agreement(outcome, expected)
        except Exception as error:  # whatever it is, the network works as it is
            reason = str(error).partition("\n")[0] or type(error).__name__
            log.info("the network is not computed %s: %s", name, reason)
        else:
            seconds[name] = outcome.seconds
    best = min(seconds, key=seconds.__getitem__)
    if seconds[AS_IT_IS] < WORTHWHILE * seconds[best]:
        best = AS_IT_IS
    times = ", ".join(f"{1e3 * each:.1f} ms {name}" for name, each in seconds.items())
    log.info("the network is computed %s: %s for a batch, forward and backward", best, times)
    return best


@dataclass(frozen=True)
class Outcome:
    """What a pass computed and how long it took."""

    seconds: float
    logits: Sequence[Tensor]
    gradients: Sequence[Tensor]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Passes of one batch, forward and backward. They leave no trace in the network.

    ``finish`` waits for the device.
    """

    objective: Objective
    batch: Callable[[], Batch]
    finish: Callable[[], None]
    clock: Callable[[], float] = time.perf_counter

    def __call__(self, network: nn.Module) -> Outcome:
        """Time it, in training mode; of several passes the fastest counts."""
        batch = self.batch()
        buffers = [buffer.clone() for buffer in network.buffers()]
        drawn = RandomStates.now(batch.image.device)
        network.train()
        try:
            for _ in range(ROUNDS):
                logits = self._pass(network, batch)
            seconds = min(self._seconds(network, batch) for _ in range(ROUNDS))
            gradients = [
                parameter.grad for parameter in network.parameters() if parameter.grad is not None
            ]
            return Outcome(seconds, [logits], gradients)
        finally:
            network.zero_grad(set_to_none=True)
            drawn.restore()
            for buffer, before in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(before)

    def require_agreement(self, outcome: Outcome, expected: Outcome) -> None:
        """Raise ``RuntimeError`` where two outcomes differ by more than rounding."""
        worst = max(
            difference(outcome.logits, expected.logits),
            difference(outcome.gradients, expected.gradients),
        )
        if not worst <= TOLERATED[self.objective.precision]:
            raise RuntimeError(f"the results differ by {worst:.1%}")

    def _pass(self, network: nn.Module, batch: Batch) -> Tensor:
        network.zero_grad(set_to_none=True)
        loss, logits, _ = self.objective(network, batch)
        (loss * LOSS_SCALE).backward()  # type: ignore[no-untyped-call]
        return logits.detach()

    def _seconds(self, network: nn.Module, batch: Batch) -> float:
        self.finish()
        start = self.clock()
        self._pass(network, batch)
        self.finish()
        return self.clock() - start


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Raise ``TimeoutError`` in the block after ``seconds``.

    Only a signal can interrupt what does not watch a clock, and only the main thread of a Unix
    process gets signals; elsewhere there is no limit.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, interrupt)
    start = time.monotonic()
    others, _ = signal.setitimer(signal.ITIMER_REAL, seconds)  # 0 where nobody else has set a timer
    try:
        yield
    finally:
        left = max(others - (time.monotonic() - start), 1e-3) if others else 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left)


def _reorder(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The image of a forward pass with its channels last in memory."""
    image, *others = inputs
    return channels_last_copy(image), *others


def channels_last_copy(image: Tensor) -> Tensor:
    """``image`` with channels last; strides say so even of a single channel.

    There torch's own conversion changes nothing, and convolutions take it for contiguous.
    """
    samples, channels, *space = image.shape
    if channels == 1:
        return image.contiguous().view(samples, *space, 1).movedim(-1, 1)
    return image.movedim(1, -1).contiguous().movedim(-1, 1)
