"""What a network is trained for: the loss on a batch, by labels that may be partly annotated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, dtype, nn

from nnseg_standard.device import autocast
from nnseg_standard.losses.deep_supervision import DeepSupervision
from nnseg_standard.partial import PartialTarget, partial_labels_of
from nnseg_standard.targets import encode
from nnseg_standard.training.distributed import share_of

if TYPE_CHECKING:
    from nnseg_core.training import TrainingTask
    from nnseg_standard.data.feed import Batch


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of a network on a batch, computed at ``precision``; float32 means no autocast.

    ``encode`` turns labels (batch, *space) into the target; ``loss`` compares all outputs of the
    network with it. ``merge`` changes all outputs before, by the labels, where not every class is
    annotated in every case. ``share`` weighs the loss: this rank's share of a batch's samples.
    """

    loss: Callable[[Tensor | Sequence[Tensor], Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    precision: dtype
    merge: Callable[[Tensor | Sequence[Tensor], Tensor], Tensor | Sequence[Tensor]] | None = None
    share: float = 1.0

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, the logits at full resolution, and the target they belong to."""
        target = self.encode(batch.label)
        with autocast(batch.image.device, self.precision):
            outputs = network(batch.image)
            if self.merge is not None:
                outputs = self.merge(outputs, batch.label)
            loss = self.loss(outputs, target)
            if self.share != 1:
                loss = loss * self.share
        return loss, outputs if isinstance(outputs, Tensor) else outputs[0], target


def objective_of(task: TrainingTask, precision: dtype, batch_size: int) -> Objective:
    """The task's loss on all outputs of its network, against the target that its labels make.

    ``batch_size`` counts the patches of all ranks together.
    """
    target = PartialTarget(partial_labels_of(task)) if task.annotated else None
    return Objective(
        loss=DeepSupervision(task.loss),
        encode=target.encode if target else partial(encode, labels=task.labels),
        precision=precision,
        merge=target.merge if target and not task.labels.is_regions else None,
        share=share_of(batch_size),
    )
