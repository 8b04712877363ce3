"""What the batches of a training are cut from: its task's cases, where they fit in memory."""

from __future__ import annotations

from dataclasses import replace

import torch

from nnseg_core.team import current
from nnseg_core.training import TrainingTask
from nnseg_standard.cascade import WithPrevious
from nnseg_standard.data.cache import held_where_they_fit
from nnseg_standard.data.feed import PatchFeed
from nnseg_standard.partial import marked_cases
from nnseg_standard.training.checkpoint import saved_run
from nnseg_standard.training.distributed import alone
from nnseg_standard.training.feeding import Candidates


def feed_of(
    task: TrainingTask, *, batch_size: int, foreground_share: float, by_chance: bool
) -> PatchFeed:
    """Batches of the training cases, of which a rank makes its own samples."""
    previous = task.previous
    store = marked_cases(task)
    return PatchFeed(
        store=WithPrevious(store=store, previous=previous) if previous else store,
        identifiers=task.split.train,
        patch_size=task.configuration.patch_size,
        batch_size=batch_size,
        samples=None if alone() else current().ranks.samples(batch_size),
        channels=len(task.configuration.normalization),
        augmentation=task.augmentation,
        seed=task.seed,
        foreground_share=foreground_share,
        by_chance=by_chance,
        previous=previous.values if previous else (),
    )


def candidates_of(
    task: TrainingTask, stored: PatchFeed, device: torch.device, *, same_bits: bool
) -> Candidates:
    """What can feed the training; a resumed one keeps the transforms that it began with."""
    cases = (*task.split.train, *task.split.validation)
    maps = 1 + bool(task.previous)
    held = held_where_they_fit(stored.store, cases, stored.channels, device, maps=maps)
    return Candidates(
        feed=replace(stored, store=held),
        stored=stored,
        device=device,
        workers=current().ranks.cores(task.workers),
        began=saved_run(task.folder) if task.resume else None,
        same_bits=same_bits,
    )
