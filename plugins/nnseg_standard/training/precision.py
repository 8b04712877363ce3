"""How precisely a training computes: what was asked for, where the device gets it right."""

from __future__ import annotations

import logging

import torch

from nnseg_core.errors import PlanError
from nnseg_core.training import TrainingTask
from nnseg_standard.device import bfloat16_fails, pick_precision
from nnseg_standard.training.checkpoint import saved_precision

log = logging.getLogger(__name__)


def precision_of(task: TrainingTask, device: torch.device, asked: str) -> torch.dtype:
    """What was ``asked`` for; a resumed training keeps what ``auto`` chose when it began.

    Raises ``PlanError`` for what the device cannot do, at all or with this network.
    """
    if asked == "auto" and task.resume:
        asked = saved_precision(task.folder) or asked
    if device.type == "cpu" and bfloat16_fails(task.configuration.topology):
        if asked == "bf16":
            raise PlanError(
                "precision bf16 gives wrong gradients on a CPU for this network, which is 2 "
                "voxels deep at one of its levels. Use fp32, or another patch_size."
            )
        log.info("precision: fp32, as bf16 fails where a network is 2 voxels deep")
        asked = "fp32"
    return pick_precision(device, asked)
