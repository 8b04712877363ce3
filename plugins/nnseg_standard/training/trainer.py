"""The standard training: options, and how the parts are put together."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler
from torch.backends import cudnn
from torch.optim import SGD, Adam, AdamW, Optimizer

from nnseg_core.contracts import Callback
from nnseg_core.training import TrainingTask
from nnseg_standard.beside import Beside
from nnseg_standard.data.cache import held_where_they_fit
from nnseg_standard.data.feed import PatchFeed, prefetched, validation_feed
from nnseg_standard.device import name_of, pick_device, pick_precision
from nnseg_standard.losses.deep_supervision import DeepSupervision
from nnseg_standard.targets import encode
from nnseg_standard.training.checkpoint import Checkpoints, saved_precision, saved_run
from nnseg_standard.training.cores import side_by_side
from nnseg_standard.training.distributed import main_process
from nnseg_standard.training.feeding import (
    FEEDERS,
    Candidates,
    Feeding,
    open_feeding,
    wait_for,
)
from nnseg_standard.training.graphs import graphed
from nnseg_standard.training.loop import Loop, run
from nnseg_standard.training.online_dice import count_classes, count_regions, names
from nnseg_standard.training.schedule import SCHEDULES, warmed_up
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.step import (
    Objective,
    TrainStep,
    ValidationStep,
    begin_momentum,
)
from nnseg_standard.training.streams import open_stream
from nnseg_standard.training.tuning import Trial, fastest, ways_on

OPTIMIZERS = ("sgd", "adamw", "adam")

MAY_CHANGE = ("precision", "checkpoint_every", "feeder", "tune", "compile")
"""Options that a resumed training may have other values for."""


@dataclass(frozen=True, kw_only=True)
class StandardTrainer:
    """nnU-Net's training: SGD with a falling learning rate over 1000 epochs of 250 batches.

    The defaults are nnU-Net's. Override ``make_optimizer``, ``learning_rate_at`` or ``fit`` in a
    subclass to change a part; what an option can say needs none.

    Attributes:
        epochs: Length of the training, or the most epochs where ``max_minutes`` is given.
        iterations: Batches to learn from per epoch.
        validation_iterations: Batches to validate on after each epoch; 0 for none.
        batch_size: Patches per batch; by default what the plan says.
        learning_rate: The highest learning rate, from which the schedule falls.
        schedule: How it falls: ``poly`` or ``cosine``.
        warm_up: Share of the training, 0 to 1, in which the learning rate rises first.
        optimizer: ``sgd``, ``adamw`` or ``adam``; the last two want a learning rate near 0.0003.
        momentum: Momentum of ``sgd``.
        nesterov: Whether the momentum of ``sgd`` is Nesterov's.
        weight_decay: Pull of every parameter towards 0.
        clip_norm: Longest gradient, over all parameters; longer ones are shortened to it.
        foreground_share: Share of a batch whose patches are centred on foreground.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; what ``auto`` is depends on the device.
        max_minutes: Budget of time for all epochs together, resumed ones included. The schedule
            is re-planned after each epoch so that it ends with the budget, at most one epoch
            later. The validation of whole cases after the training is not part of it.
        checkpoint_every: Epochs between two checkpoints to resume from; epochs of more than a
            minute are followed by one each.
        feeder: Who makes the batches: ``threads`` or worker ``processes``, with the same result;
            or ``batchgenerators``, whose transforms then replace those of the standard
            augmentation, in processes. ``auto`` measures and says so; threads it is where they
            keep up with the network.
        tune: On CUDA, try fused norms with channels last in memory, and CUDA graphs; each is used
            where it computes the same and a measurement says that it is faster.
        compile: Try ``torch.compile`` too, on any device, which takes minutes before it may win.
    """

    epochs: int = 1000
    iterations: int = 250
    validation_iterations: int = 50
    batch_size: int | None = None
    learning_rate: float = 0.01
    schedule: str = "poly"
    warm_up: float = 0.0
    optimizer: str = "sgd"
    momentum: float = 0.99
    nesterov: bool = True
    weight_decay: float = 3e-5
    clip_norm: float = 12.0
    foreground_share: float = 0.33
    precision: str = "auto"
    max_minutes: float | None = None
    checkpoint_every: int = 50
    feeder: str = "auto"
    tune: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        choices = {"schedule": tuple(SCHEDULES), "optimizer": OPTIMIZERS, "feeder": FEEDERS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it can be {', '.join(known)}")
        for name in ("epochs", "iterations", "checkpoint_every", "learning_rate", "clip_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.batch_size is not None and self.batch_size <= 0:
            raise ValueError(f"batch_size must be above 0, not {self.batch_size}")
        if not 0 <= self.foreground_share <= 1:
            raise ValueError(f"foreground_share must be from 0 to 1, not {self.foreground_share}")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up must be from 0 to below 1, not {self.warm_up}")
        if self.max_minutes is not None and self.max_minutes <= 0:
            raise ValueError(f"max_minutes must be above 0, not {self.max_minutes}")

    def fit(self, task: TrainingTask, callbacks: Sequence[Callback] = ()) -> nn.Module:
        """Train ``task.network`` and return it with its last weights, as nnU-Net predicts with.

        Raises ``NnsegError`` when the loss stops being a number, and ``ModelError`` when
        ``task.resume`` finds the checkpoint of another training.
        """
        device = pick_device(task.device)
        precision = pick_precision(device, self._precision(task))
        state = self._begin(task.network.to(device), device, precision)
        objective = self._objective(task, precision)
        watching = tuple(callbacks) if main_process() else ()
        with (
            fastest_kernels(),
            self._feeding(task, state.network, objective, device) as feeding,
            Beside() as beside,
        ):
            checkpoints = Checkpoints(
                folder=task.folder,
                run=self._description(task, feeding),
                precision=name_of(precision),
                every=self.checkpoint_every,
                begin=beside.start,
            )
            if task.resume:
                checkpoints.resume(state)
            for callback in watching:
                callback.on_fit_start(task)
            with (
                self._tuned(feeding, state.network, objective, device),
                self._loop(task, feeding, objective, device, state.epoch) as loop,
            ):
                run(loop, state, checkpoints.save, watching)
        for callback in watching:
            callback.on_fit_end(state.reports)
        return state.network.eval()

    def check_device(self, device: str) -> None:
        """Raise ``PlanError`` for a device that is not there, or that lacks the precision."""
        pick_precision(pick_device(device), self.precision)

    def make_optimizer(self, network: nn.Module) -> Optimizer:
        """The optimizer of all parameters; one fused kernel, which needs no word from the host."""
        if self.optimizer == "sgd":
            return SGD(
                network.parameters(),
                lr=self.learning_rate,
                momentum=self.momentum,
                nesterov=self.nesterov and self.momentum > 0,
                weight_decay=self.weight_decay,
                fused=True,
            )
        kind = AdamW if self.optimizer == "adamw" else Adam
        return kind(
            network.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,
        )

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate of an epoch that begins at ``progress``, 0 to below 1."""
        share = warmed_up(SCHEDULES[self.schedule], progress, self.warm_up)
        return self.learning_rate * share

    def _precision(self, task: TrainingTask) -> str:
        """What was asked for; a resumed training keeps what ``auto`` chose when it began."""
        if self.precision == "auto" and task.resume:
            return saved_precision(task.folder) or self.precision
        return self.precision

    def _begin(self, network: nn.Module, device: torch.device, precision: torch.dtype) -> LoopState:
        optimizer = self.make_optimizer(network)
        begin_momentum(optimizer)
        return LoopState(
            network=network,
            optimizer=optimizer,
            scaler=GradScaler(device.type, enabled=precision is torch.float16),
            epochs=self.epochs,
        )

    def _objective(self, task: TrainingTask, precision: torch.dtype) -> Objective:
        return Objective(
            loss=DeepSupervision(task.loss),
            encode=partial(encode, labels=task.labels),
            precision=precision,
        )

    def _feeding(
        self, task: TrainingTask, network: nn.Module, objective: Objective, device: torch.device
    ) -> AbstractContextManager[Feeding]:
        """Who feeds; a resumed training keeps the transforms that it began with."""
        stored = self._feed(task)
        cases = (*task.split.train, *task.split.validation)
        candidates = Candidates(
            feed=replace(
                stored, store=held_where_they_fit(task.store, cases, stored.channels, device)
            ),
            stored=stored,
            device=device,
            workers=task.workers,
            began=saved_run(task.folder) if task.resume else None,
            same_bits=not self._tunes(),
        )
        return open_feeding(candidates, self.feeder, network, objective)

    def _tuned(
        self, feeding: Feeding, network: nn.Module, objective: Objective, device: torch.device
    ) -> AbstractContextManager[None]:
        """The network is computed in the fastest way until the block ends."""
        feed = feeding.feed
        if device.type == "cpu" and not self.compile:
            shape = (feed.batch_size, feed.channels, *feed.patch_size)
            return side_by_side(network, shape)
        trial = Trial(
            objective=objective,
            batch=lambda: next(iter(prefetched(feeding.feed, [0], device, workers=0))),
            finish=partial(wait_for, device),
        )
        return fastest(ways_on(device, self._tunes(), self.compile), network, trial)

    def _tunes(self) -> bool:
        """Whether measurements may decide what is computed: not if results must repeat."""
        return self.tune and not cudnn.deterministic

    @contextmanager
    def _loop(
        self,
        task: TrainingTask,
        feeding: Feeding,
        objective: Objective,
        device: torch.device,
        epoch: int,
    ) -> Generator[Loop]:
        """The loop from ``epoch`` on; its batches are made until the block ends."""
        validation = validation_feed(feeding.feed, task.split.validation)
        rounds = self.validation_iterations if task.split.validation else 0
        stream = partial(
            open_stream, epoch=epoch, device=device, workers=feeding.workers, report=task.report
        )
        count = count_regions if task.labels.is_regions else count_classes
        learn = TrainStep(objective=objective, clip_norm=self.clip_norm)
        check = ValidationStep(objective=objective, count=count)
        steps = graphed(learn, check, device) if self._tunes() else (learn, check)
        with (
            stream(feeding.source, self.iterations, name="train") as learned,
            stream(validation, rounds, name="check") as checked,
        ):
            yield Loop(
                training=learned,
                validation=checked,
                train_step=steps[0],
                validation_step=steps[1],
                learning_rate_at=self.learning_rate_at,
                label_names=names(task.labels),
                budget=self.max_minutes * 60 if self.max_minutes else None,
                seed=task.seed,
            )

    def _feed(self, task: TrainingTask) -> PatchFeed:
        return PatchFeed(
            store=task.store,
            identifiers=task.split.train,
            patch_size=task.configuration.patch_size,
            batch_size=self.batch_size or task.configuration.batch_size,
            channels=len(task.configuration.normalization),
            augmentation=task.augmentation,
            seed=task.seed,
            foreground_share=self.foreground_share,
        )

    def _description(self, task: TrainingTask, feeding: Feeding) -> dict[str, Any]:
        """What has to be the same for a resumed training to be the same training."""
        kind = type(self)
        options = {name: value for name, value in asdict(self).items() if name not in MAY_CHANGE}
        return {
            **options,
            **feeding.description,
            "trainer": f"{kind.__module__}:{kind.__qualname__}",
            "batch_size": self.batch_size or task.configuration.batch_size,
            "patch_size": task.configuration.patch_size,
            "seed": task.seed,
        }


def fastest_kernels() -> AbstractContextManager[None]:
    """Let cuDNN time its kernels once: all batches have one shape. Not if results must repeat."""
    repeatable = cudnn.deterministic
    return cudnn.flags(enabled=True, benchmark=not repeatable, deterministic=repeatable)
