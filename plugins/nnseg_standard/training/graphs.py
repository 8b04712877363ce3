"""A step recorded as a CUDA graph and replayed: one launch instead of hundreds.

A graph repeats the same kernels on the same memory. So batches are copied to where the recorded
one was, and learning rates are read from the device. Recording is tried at the first batch, and
kept only where a replay computes what launching the kernels computed, in less time. Otherwise, as
with a loss that reads numbers back to the host or a network with dropout, steps go on as they are.
Either way the tries are undone: the first batch is learned from once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from nnseg_standard.data.feed import Batch
from nnseg_standard.training.agreement import LOSS_SCALE, difference
from nnseg_standard.training.snapshot import RandomStates, Snapshot
from nnseg_standard.training.state import LoopState

log = logging.getLogger(__name__)

Result = TypeVar("Result", Tensor, tuple[Tensor, Tensor])

REHEARSALS = 3
"""Steps before recording, in which libraries choose kernels and allocate (PyTorch's advice)."""

TIMED = 2
"""Steps of either kind whose time is taken; the faster counts."""

TOLERATED = 0.05
"""Greatest difference from the launched step: far above what summing in another order does to a
step in 16 bits (below 0.01), far below what a wrong address does."""

WAITING = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
)
"""What makes the host wait for the device: reading a number, or a shape that depends on numbers."""


class Recorder(Protocol):
    """What CUDA offers to record and to run work; tests have their own."""

    def rehearse(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` under the circumstances of recording, and return its result."""
        ...

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        """Note ``work`` without running it: where its result will be, and what runs it."""
        ...

    def seconds(self, work: Callable[[], object]) -> float:
        """How long ``work`` takes until the device is done with it."""
        ...


class CudaRecorder:
    """Records on a stream of its own. Its graphs share memory, so only one may run at a time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def rehearse(self, work: Callable[[], Any]) -> Any:
        """See ``Recorder``."""
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        with torch.cuda.stream(self.stream):
            result = work()
        main.wait_stream(self.stream)
        return result

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        """See ``Recorder``. Threads that prepare batches meanwhile may allocate: thread-local."""
        graph = torch.cuda.CUDAGraph()
        recording = torch.cuda.graph(
            graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
        )
        with torch.cuda.device(self.device), recording:
            result = work()
        return result, graph.replay

    def seconds(self, work: Callable[[], object]) -> float:
        """See ``Recorder``."""
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


Learn = Callable[[LoopState, Batch], Tensor]
Check = Callable[[LoopState, Batch], tuple[Tensor, Tensor]]


def graphed(learn: Learn, check: Check, device: torch.device) -> tuple[Learn, Check]:
    """A step to learn and one to validate, which CUDA records where that works and wins."""
    if device.type != "cuda":
        return learn, check
    recorder = CudaRecorder(device)
    return (
        GraphedStep(step=learn, recorder=recorder, name="training step"),
        GraphedStep(step=check, recorder=recorder, name="validation step"),
    )


@dataclass(kw_only=True)
class GraphedStep(Generic[Result]):
    """``step``, from the first batch on by a graph where one can be recorded and wins.

    ``name`` is what the log calls it. Only the learning rates of the optimizer may change later,
    and batches of another shape are launched as before.
    """

    step: Callable[[LoopState, Batch], Result]
    recorder: Recorder
    name: str = "step"
    _tried: bool = field(default=False, init=False)
    _graph: Graph[Result] | None = field(default=None, init=False)

    def __call__(self, state: LoopState, batch: Batch) -> Result:
        """What ``step`` returns, in memory of its own."""
        if not self._tried:
            self._tried = True
            self._graph = self._try(state, batch)
        if self._graph is not None and self._graph.fits(batch):
            return self._graph(state, batch)
        return self.step(state, batch)

    def _try(self, state: LoopState, batch: Batch) -> Graph[Result] | None:
        before, drawn = Snapshot(state), RandomStates.now(batch.image.device)
        try:
            return self._record(state, batch, before, drawn)
        except Exception as error:  # whatever it is, steps can be launched as they always were
            before.renew_scaler(state)
            drawn.restore()
            log.info("each %s is launched kernel by kernel: %s", self.name, _first_line(error))
            return None
        finally:
            before.restore(state)

    def _record(
        self, state: LoopState, batch: Batch, before: Snapshot, drawn: RandomStates
    ) -> Graph[Result]:
        """The graph, with ``state`` left some steps ahead of ``before``.

        Raises ``RuntimeError`` where replaying it would not be the same, or not faster.
        """
        inputs = Batch(image=batch.image.clone(), label=batch.label.clone())

        def work() -> Result:
            return self.step(state, inputs)

        _lower_scale(state)
        with NoWaiting():  # type: ignore[no-untyped-call]
            expected = _effect(self.recorder.rehearse(work), state, before)
        for _ in range(REHEARSALS - 1):
            self.recorder.rehearse(work)
        if not drawn.unchanged():
            raise RuntimeError("it draws random numbers, as dropout does")
        launched = self._seconds(lambda: self.recorder.rehearse(work))
        before.restore(state)
        _lower_scale(state)
        with learning_rates_on(batch.image.device, state.optimizer) as rates:
            result, replay = self.recorder.record(work)
        graph = Graph(inputs=inputs, rates=rates, replay=replay, result=result)
        _require_same(_effect(graph(state, batch), state, before), expected)
        replayed = self._seconds(replay)
        times = f"{1e3 * replayed:.1f} ms, launched {1e3 * launched:.1f} ms"
        if replayed >= launched:
            raise RuntimeError(f"replayed it takes {times}")
        log.info("each %s is replayed as one CUDA graph: %s", self.name, times)
        return graph

    def _seconds(self, work: Callable[[], object]) -> float:
        return min(self.recorder.seconds(work) for _ in range(TIMED))


@dataclass(frozen=True, kw_only=True)
class Graph(Generic[Result]):
    """A recorded step: where it reads a batch and the learning rates, and where its result is."""

    inputs: Batch
    rates: list[Tensor]
    replay: Callable[[], object]
    result: Result

    def fits(self, batch: Batch) -> bool:
        """Whether the batch has the shape of the recorded one."""
        return batch.image.shape == self.inputs.image.shape

    def __call__(self, state: LoopState, batch: Batch) -> Result:
        """Replay it on ``batch``. The host waits for nothing."""
        self.inputs.image.copy_(batch.image, non_blocking=True)
        self.inputs.label.copy_(batch.label, non_blocking=True)
        for rate, group in zip(self.rates, state.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        self.replay()
        return _copied(self.result)


@contextmanager
def learning_rates_on(device: torch.device, optimizer: Optimizer) -> Generator[list[Tensor]]:
    """Within the block the optimizer reads its learning rates from these tensors, one per group.

    Adam has to be told that it is recorded; SGD need not.
    """
    groups = optimizer.param_groups
    known = [dict(group) for group in groups]
    rates = [torch.full((), group["lr"], device=device) for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
        if "capturable" in group:
            group["capturable"] = True
    try:
        yield rates
    finally:
        for group, before in zip(groups, known, strict=True):
            group.update(before)


class NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call, misc, unused-ignore]
    """Raises where the host would wait, which would break a recording after it has begun."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in WAITING:
            raise RuntimeError(f"it waits for the device ({func})")
        return func(*args, **kwargs or {})


def _lower_scale(state: LoopState) -> None:
    """No step is skipped for an overflow that the scale has made, as the first ones would be."""
    if state.scaler.is_enabled():
        scale = min(state.scaler.get_scale(), LOSS_SCALE)
        state.scaler.load_state_dict({**state.scaler.state_dict(), "scale": scale})


def _effect(
    result: Tensor | tuple[Tensor, Tensor], state: LoopState, before: Snapshot
) -> tuple[list[Tensor], list[Tensor]]:
    """What a step returned, and how it changed the weights."""
    returned = [result] if isinstance(result, Tensor) else list(result)
    return [tensor.clone() for tensor in returned], before.weight_changes(state)


def _require_same(
    ours: tuple[list[Tensor], list[Tensor]], expected: tuple[list[Tensor], list[Tensor]]
) -> None:
    worst = max(difference(one, other) for one, other in zip(ours, expected, strict=True))
    if not worst <= TOLERATED:
        raise RuntimeError(f"a replay differs by {worst:.1%} from the step")


def _copied(result: Result) -> Result:
    if isinstance(result, Tensor):
        return result.clone()
    return cast("Result", tuple(tensor.clone() for tensor in result))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
