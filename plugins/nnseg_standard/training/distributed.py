"""Sums over ranks: several processes train one network, each on its own samples of every batch.

Everything is arranged so that they compute what one process would with the whole batch. Losses
that divide sums by sums add up theirs over all ranks first (``over_ranks``); a loss that averages
over samples is weighed by each rank's share of them (``share_of``); gradients are then added up
once per step (``sum_gradients``). What the host decides, rank 0 decides for all.

Gradients go in one message after the backward pass, instead of overlapping with it as
DistributedDataParallel's do. So no wrapper hides the network, heads without a gradient need no
special case, and parameters may be frozen and freed. It costs the time of one all-reduce per step:
0.12 GB for nnU-Net's largest network of 31 million parameters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from nnseg_core.errors import ModelError, PlanError
from nnseg_core.ranks import Ranks
from nnseg_core.stopping import Stop
from nnseg_core.team import current
from nnseg_core.training import EpochReport
from nnseg_standard.device import PRECISIONS, name_of

LONGEST = timedelta(hours=2)
"""How long a sum may wait for a rank that writes a checkpoint or reads a slow disk. A rank that is
gone is known at once by the team's own connections, whatever this is."""


LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def main_process() -> bool:
    """Whether this process saves checkpoints and tells the callbacks; the only one always does."""
    return current().ranks.main


def alone() -> bool:
    """Whether one process trains by itself."""
    return current().ranks.count == 1


def share_of(batch_size: int) -> float:
    """This rank's share of the samples of a batch. Raises ``NnsegError`` where it gets none."""
    return len(current().ranks.samples(batch_size)) / batch_size


@contextmanager
def summing(network: nn.Module, device: torch.device, epoch: int) -> Generator[None]:
    """Within the block sums go over all ranks; they begin with rank 0's weights.

    ``epoch`` is the one that this rank goes on from. Raises ``PlanError`` for a device or network
    that ranks cannot share, and ``ModelError`` where they go on from different checkpoints.
    """
    if alone():
        yield
        return
    require_shareable(network, device)
    epochs = current().together(epoch)
    if len(set(epochs)) > 1:
        raise ModelError(
            f"the ranks go on from different epochs ({', '.join(map(str, epochs))}): they do not "
            "see the same checkpoint. The workspace must be on a disk that all nodes share."
        )
    _open_group(device)
    for tensor in (*network.parameters(), *network.buffers()):
        distributed.broadcast(tensor.detach(), src=0)
    with _batch_norms_over_ranks(network, device):
        yield
    distributed.destroy_process_group()  # not after an error: it would wait for those who are gone


def require_shareable(network: nn.Module, device: torch.device) -> None:
    """Raise ``PlanError`` for what several ranks cannot train."""
    if device.type not in ("cpu", "cuda"):
        raise PlanError(
            f"several processes cannot train on {device.type}: use CUDA devices, or --device cpu."
        )
    if device.type == "cpu" and any(isinstance(m, BATCH_NORMS) for m in network.modules()):
        raise PlanError(
            "this network has batch norms, whose statistics several processes can share on CUDA "
            "devices only. Use one process, or --set architecture.norm=instance."
        )


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def in_group() -> bool:
    """Whether sums go over ranks now."""
    return not alone() and distributed.is_available() and distributed.is_initialized()


def over_ranks(*sums: Tensor, samples: int) -> tuple[Tensor, ...]:
    """Sums over ``samples`` samples here become sums over those of all ranks, in one message.

    Their gradient is that of the joint loss, provided that every rank weighs what it makes of them
    by its share of all samples. By itself a process gets back what it gave.
    """
    if not in_group():
        return sums
    apply: Callable[..., tuple[Tensor, ...]] = _OverRanks.apply
    return apply(samples, *sums)


class _OverRanks(torch.autograd.Function):
    """All ranks compute the same loss from the sums, each weighs it by its share, and gradients are
    added up: so each rank's own gradient is divided by its share on the way back.
    """

    @staticmethod
    def forward(ctx: Any, samples: int, *sums: Tensor) -> tuple[Tensor, ...]:
        own = torch.full((1,), float(samples), device=sums[0].device)
        message = torch.cat([own, *(each.float().flatten() for each in sums)])
        distributed.all_reduce(message)
        total, *joint = torch.split(message, [1, *(each.numel() for each in sums)])
        ctx.factor = total[0] / samples
        return tuple(one.reshape(each.shape) for one, each in zip(joint, sums, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of the sums of this rank."""
        return (None, *(gradient * ctx.factor for gradient in gradients))


def sum_gradients(parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
    """Add up gradients, and the loss, over all ranks; returns the joint loss.

    Infinite on one rank they are so on all, where a gradient scaler then skips the step.
    """
    if not in_group():
        return loss
    gradients = [each.grad for each in parameters if each.grad is not None]
    message = torch.cat([loss.detach().float().reshape(1), *(each.flatten() for each in gradients)])
    distributed.all_reduce(message)
    joint: Tensor
    joint, *parts = torch.split(message, [1, *(each.numel() for each in gradients)])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
    return joint[0]


def summed(tensor: Tensor) -> Tensor:
    """The sum over all ranks, without a gradient."""
    if not in_group():
        return tensor
    total = tensor.clone()
    distributed.all_reduce(total)
    return total


def agreed(report: EpochReport) -> EpochReport:
    """Rank 0's report: clocks differ, and what is done next depends on them."""
    return report if alone() else EpochReport(**current().agree(asdict(report)))


def same_on_all(precision: torch.dtype) -> torch.dtype:
    """The precision that rank 0 computes in: where it was measured, ranks may have found others."""
    return PRECISIONS[current().agree(name_of(precision))]


def asked_of_any(stop: Stop) -> Stop:
    """A request to stop that any rank has heard, heard by all of them at the same step."""
    if alone():
        return stop
    team = current()
    return lambda: next(filter(None, team.together(stop())), None)


def _open_group(device: torch.device) -> None:
    """NCCL between GPUs, gloo between CPUs; rank 0 tells the port, so that none need be agreed."""
    team = current()
    ranks = team.ranks
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif ranks.address in ("localhost", "127.0.0.1") and sys.platform in LOOPBACK:
        # On one machine gloo needs no name that the network knows, as many containers lack.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK[sys.platform])
    store = _store(0, ranks) if ranks.main else None
    port = team.agree(store.port if store else None)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store or _store(port, ranks),
        rank=ranks.rank,
        world_size=ranks.count,
        timeout=LONGEST,
    )


def _store(port: int, ranks: Ranks) -> Any:
    """Where rank 0 and, once they know its port, all others exchange addresses."""
    return distributed.TCPStore(  # type: ignore[attr-defined, unused-ignore]
        ranks.address,
        port,
        ranks.count,
        is_master=ranks.main,
        timeout=LONGEST,
        wait_for_workers=False,
    )


@contextmanager
def _batch_norms_over_ranks(network: nn.Module, device: torch.device) -> Generator[None]:
    """Batch norms count all ranks' samples until the block ends. Weights keep their names."""
    places = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, BATCH_NORMS)
    ]
    for parent, name, child in places:
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        setattr(parent, name, convert(child).to(device))
    try:
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
