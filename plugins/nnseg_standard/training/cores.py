"""Samples of a batch side by side on a CPU, each on a core of its own.

Usually all cores share every convolution and wait for each other after each, a thousand times a
step. Samples that a network computes independently can go their own ways instead, and meet twice:
for the loss, and to add up their gradients. On two cores a step of nnU-Net's hippocampus network
takes 0.65 s instead of 0.75 s (bfloat16, batch of 2).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nnseg_standard.device import use_one_core
from nnseg_standard.training.agreement import difference
from nnseg_standard.training.snapshot import RandomStates

log = logging.getLogger(__name__)

ROUNDING = 1e-3
"""Greatest difference between a batch and its samples, as a share; norms over a batch make 0.1."""


@contextmanager
def side_by_side(network: nn.Module, batch: Sequence[int]) -> Generator[None]:
    """Until the block ends, each core computes samples of its own, where that is the same.

    ``batch`` is the shape (batch, channel, *patch). The network is left as it is where samples do
    not share out evenly, where they depend on each other (batch norm), or where layers draw random
    numbers (dropout) or keep count of what they see.
    """
    cores = torch.get_num_threads()
    if cores < 2 or batch[0] % cores or not computes_each_alone(network, batch):
        yield
        return
    replicas = [_replica(network) for _ in range(cores)]
    with ThreadPoolExecutor(cores, "nnseg-core", use_one_core) as pool:
        network.forward = Together(network, replicas, pool)
        log.info("the samples of a batch are computed side by side on %d cores", cores)
        try:
            yield
        finally:
            del network.forward


def computes_each_alone(network: nn.Module, batch: Sequence[int]) -> bool:
    """Whether a batch gives what its samples give one by one, and leaves no trace."""
    image = torch.randn(*batch, generator=torch.Generator().manual_seed(0))
    drawn = RandomStates.now(image.device)
    try:
        replica = _replica(network).train()
        with torch.no_grad():
            together = _outputs(replica(image))
            parts = [_outputs(replica(sample)) for sample in image.chunk(len(image))]
            alone = [torch.cat(each) for each in zip(*parts, strict=True)]
        buffers = zip(replica.buffers(), network.buffers(), strict=True)
        untouched = drawn.unchanged() and all(torch.equal(*pair) for pair in buffers)
        return untouched and difference(alone, together) < ROUNDING
    except Exception as error:  # whatever it is, the network works as it is
        log.info("samples are not computed side by side: %s", error)
        return False
    finally:
        drawn.restore()


@dataclass(frozen=True)
class Together:
    """A forward pass in parts, by ``replicas`` that share the weights of ``network``."""

    network: nn.Module
    replicas: Sequence[nn.Module]
    pool: ThreadPoolExecutor

    def __call__(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(batch, channel, *patch) to the outputs of the network."""
        for replica in self.replicas:
            replica.train(self.network.training)
        if torch.is_grad_enabled():
            parameters = self.network.parameters()
            outputs: tuple[Tensor, ...] = _Divided.apply(self, image, *parameters)  # type: ignore[no-untyped-call]
        else:
            outputs = _joined(self.forward(image))
        return outputs[0] if len(outputs) == 1 else outputs

    def forward(self, image: Tensor) -> list[tuple[Tensor, ...]]:
        """The outputs of each replica for its samples."""
        samples = image.chunk(len(self.replicas))
        return list(self.pool.map(_in_modes_of_this_thread(), self.replicas, samples))

    def backward(
        self, parts: Sequence[Sequence[Tensor]], gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """The gradient of each parameter, from those of the outputs; None where there is none."""
        used = [index for index, gradient in enumerate(gradients) if gradient is not None]
        cut = [gradients[index].chunk(len(parts)) for index in used]  # type: ignore[union-attr]
        outputs = [[part[index] for index in used] for part in parts]
        first, *others = self.pool.map(_gradients, self.replicas, outputs, zip(*cut, strict=True))
        for other in others:  # always in this order, so that results repeat
            for total, gradient in zip(first, other, strict=True):
                if total is not None and gradient is not None:
                    total.add_(gradient)
        return first


class _Divided(torch.autograd.Function):
    """Forward and backward through each replica in a thread of its own."""

    @staticmethod
    def forward(ctx: Any, together: Together, image: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # outputs that no loss looks at have no gradient
        with torch.enable_grad():
            ctx.parts = together.forward(image)
        ctx.together = together
        return _joined(ctx.parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        parts = ctx.parts
        del ctx.parts
        return (None, None, *ctx.together.backward(parts, gradients))


def _replica(network: nn.Module) -> nn.Module:
    """A copy with the same weights in memory, and gradients of its own."""
    replica = copy.deepcopy(network)
    for own, shared in zip(replica.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    return replica


def _in_modes_of_this_thread() -> Callable[[nn.Module, Tensor], tuple[Tensor, ...]]:
    """A forward pass for another thread, which would begin without autocast and the like."""
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    lower, precision = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def compute(network: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradients),
            torch.autocast("cpu", precision, enabled=lower),
        ):
            return _outputs(network(image))

    return compute


def _gradients(
    replica: nn.Module, outputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    replica.zero_grad(set_to_none=True)
    torch.autograd.backward(outputs, gradients)
    return [parameter.grad for parameter in replica.parameters()]


def _joined(parts: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """The outputs for the whole batch, without their past."""
    joined = zip(*parts, strict=True)
    return tuple(torch.cat([output.detach() for output in outputs]) for outputs in joined)


def _outputs(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
