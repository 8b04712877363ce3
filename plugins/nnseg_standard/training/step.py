"""One batch through the network: to learn from it, or to count on it.

Nothing here waits for the device or depends on its numbers, so that steps can be queued ahead of a
GPU and recorded as graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Optimizer

from nnseg_standard.training.distributed import sum_gradients
from nnseg_standard.training.objective import Objective
from nnseg_standard.training.state import LoopState

if TYPE_CHECKING:
    from nnseg_standard.data.feed import Batch


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """One step of the optimizer, with the gradient's norm cut to ``clip_norm``.

    A scaler that is switched off passes everything through, so these lines serve every precision.
    """

    objective: Objective
    clip_norm: float

    def __call__(self, state: LoopState, batch: Batch) -> Tensor:
        """The loss before the step, left on its device: a GPU is not waited for."""
        state.optimizer.zero_grad(set_to_none=True)
        loss, _, _ = self.objective(state.network, batch)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        loss = sum_gradients(state.network.parameters(), loss)
        state.scaler.unscale_(state.optimizer)
        clip_grad_norm_(state.network.parameters(), self.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        return loss.detach()


def begin_momentum(optimizer: Optimizer) -> None:
    """Let SGD begin with a momentum of 0, which is the same as to begin without one.

    When a scaler skips the very first step because it overflowed, as is usual in float16, torch's
    fused SGD is left with momentum that nobody has written: whatever was in that memory before.
    """
    if not isinstance(optimizer, SGD):
        return
    for group in optimizer.param_groups:
        if group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


@dataclass(frozen=True, kw_only=True)
class ValidationStep:
    """The loss on a batch, and what ``count`` finds when it compares logits with the target."""

    objective: Objective
    count: Callable[[Tensor, Tensor], Tensor]

    @torch.inference_mode()
    def __call__(self, state: LoopState, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and counts, left on their device."""
        loss, logits, target = self.objective(state.network, batch)
        return loss, self.count(logits, target)
