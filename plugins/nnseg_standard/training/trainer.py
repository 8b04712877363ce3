"""The standard training: options, and how the parts are put together."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.amp import GradScaler
from torch.backends import cudnn
from torch.optim import Optimizer

from nnseg_core.contracts import Callback
from nnseg_core.training import TrainingTask
from nnseg_standard.beside import Beside
from nnseg_standard.data.feed import PatchFeed, prefetched, validation_feed
from nnseg_standard.device import name_of, pick_device, pick_precision
from nnseg_standard.partial import decoder
from nnseg_standard.training.averaging import Average
from nnseg_standard.training.checkpoint import Checkpoints
from nnseg_standard.training.distributed import (
    alone,
    asked_of_any,
    main_process,
    same_on_all,
    summing,
)
from nnseg_standard.training.extension import begin_extension, end_extension, require_extendable
from nnseg_standard.training.feeding import FEEDERS, Feeding, open_feeding
from nnseg_standard.training.graphs import graphed
from nnseg_standard.training.groups import Pace, parameter_groups
from nnseg_standard.training.label_counts import LabelCounts
from nnseg_standard.training.loop import Loop, run
from nnseg_standard.training.objective import Objective, objective_of
from nnseg_standard.training.online_dice import count_classes, count_regions, names
from nnseg_standard.training.optimizers import OPTIMIZERS, OptimizerOptions
from nnseg_standard.training.patches import candidates_of, feed_of
from nnseg_standard.training.precision import precision_of
from nnseg_standard.training.preflight import say_outlook
from nnseg_standard.training.rate_trial import losses_at
from nnseg_standard.training.schedule import SCHEDULES, Length, warmed_up
from nnseg_standard.training.state import LoopState
from nnseg_standard.training.step import TrainStep, ValidationStep, begin_momentum
from nnseg_standard.training.streams import open_stream
from nnseg_standard.training.tuning import computed_fast, fastest_kernels

MAY_CHANGE = ("precision", "checkpoint_every", "feeder", "tune", "compile")
"""Options that a resumed training may have other values for."""

ABOVE_ZERO = (
    *("epochs", "iterations", "max_iterations", "max_minutes", "batch_size"),
    *("learning_rate", "clip_norm", "checkpoint_every"),
)
"""Options that are positive where they are given."""


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
        schedule: How it falls: ``poly``, ``cosine``, ``steps``, ``step_poly``, ``poly_cycle``,
            ``poly_high_cycle``, or ``constant``, which does not.
        warm_up: Share of the training, 0 to 1, in which the learning rate rises first.
        optimizer: ``sgd``, ``adamw``, ``adam``, ``radam`` or ``adan``; all but the first want a
            learning rate near 0.0003 to 0.001.
        momentum: Momentum of ``sgd``.
        nesterov: Whether the momentum of ``sgd`` is Nesterov's.
        betas: Shares of its averages that ``adam``, ``adamw`` and ``radam`` keep per step, two
            numbers, or ``adan``, three; by default those of their papers.
        amsgrad: Whether ``adam`` and ``adamw`` divide by the largest average so far.
        frozen: Modules that keep their weights, by the beginning of their names: ``encoder``.
        frozen_until: Share of the training, 0 to 1, after which they learn too; 1 for never.
        layer_decay: Learning rate of each layer relative to the one after it, 0 to 1; the heads
            have it full.
        weight_decay: Pull of every parameter towards 0.
        ema: Share that an average of the weights keeps per step, as 0.999; the average is then what
            is validated and predicted with. 0 for none.
        clip_norm: Longest gradient, over all parameters; longer ones are shortened to it.
        foreground_share: Share of a batch whose patches are centred on foreground.
        foreground_by_chance: Draw for each patch whether it is one of that share, instead of
            taking the same number in every batch.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; what ``auto`` is depends on the device.
        max_minutes: Budget of time for all epochs together, resumed ones included. The schedule
            is re-planned after each epoch so that it ends with the budget, at most one epoch
            later. The validation of whole cases after the training is not part of it.
        max_iterations: Batches to learn from in all, instead of ``epochs``: as many epochs as it
            takes, at least four, of equal length and at most ``iterations`` each.
        checkpoint_every: Most epochs between two checkpoints to resume from; there is one after
            each minute of training besides.
        feeder: Who makes the batches: ``threads`` or worker ``processes``, with the same result;
            or ``batchgenerators``, whose transforms then replace those of the standard
            augmentation, in processes. ``auto`` measures and says so; threads it is where they
            keep up with the network.
        tune: On CUDA, try fused norms with channels last in memory, and CUDA graphs; each is used
            where it computes the same and a measurement says that it is faster.
        compile: Try ``torch.compile`` too, on any device, which takes minutes before it may win.
    """

    partial_labels: ClassVar[bool] = True  # it heeds TrainingTask.annotated

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
    betas: tuple[float, ...] | None = None
    amsgrad: bool = False
    frozen: tuple[str, ...] = ()
    frozen_until: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 3e-5
    ema: float = 0.0
    clip_norm: float = 12.0
    foreground_share: float = 0.33
    foreground_by_chance: bool = False
    precision: str = "auto"
    max_minutes: float | None = None
    max_iterations: int | None = None
    checkpoint_every: int = 50
    feeder: str = "auto"
    tune: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        choices = {"schedule": tuple(SCHEDULES), "optimizer": tuple(OPTIMIZERS), "feeder": FEEDERS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it can be {', '.join(known)}")
        for name in ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if not 0 <= self.foreground_share <= 1:
            raise ValueError(f"foreground_share must be from 0 to 1, not {self.foreground_share}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be above 0 and at most 1, not {self.layer_decay}")
        if not 0 <= self.frozen_until <= 1:
            raise ValueError(f"frozen_until must be from 0 to 1, not {self.frozen_until}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be from 0 to below 1, not {self.ema}")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up must be from 0 to below 1, not {self.warm_up}")

    def fit(self, task: TrainingTask, callbacks: Sequence[Callback] = ()) -> nn.Module:
        """Train ``task.network`` and return it with its last weights, as nnU-Net predicts with.

        With ``ema`` it is their average.

        Raises ``NnsegError`` when the loss stops being a number, ``ModelError`` when
        ``task.resume`` finds the checkpoint of another training, and ``Stopped``.
        """
        device = pick_device(task.device)
        precision = same_on_all(precision_of(task, device, self.precision))
        state = self._begin(task.network.to(device), device, precision)
        objective = objective_of(task, precision, self._batch_size(task))
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
                usual=self._usual,
            )
            if task.resume:
                checkpoints.resume(state)
            if task.extend_to:
                begin_extension(task.folder, state, task.extend_to)
            if main_process() and not state.epoch:
                say_outlook(self._feed(task), names(task.labels))
            for callback in watching:
                callback.on_fit_start(task)
            with (
                self._tuned(feeding, state.network, objective, device),
                summing(state.network, device, state.epoch),
                self._loop(task, feeding, objective, device, state) as loop,
            ):
                run(loop, state, checkpoints.save, watching)
        end_extension(task.folder)
        for callback in watching:
            callback.on_fit_end(state.reports)
        if state.average:
            state.average.take_over(state.network)
        return state.network.eval()

    def check_device(self, device: str) -> None:
        """Raise ``PlanError`` for a device that is not there, or that lacks the precision."""
        pick_precision(pick_device(device), self.precision)

    def try_learning_rates(self, task: TrainingTask, rates: Sequence[float]) -> list[float]:
        """The loss of a step at each of the rates, until it breaks; the network is spoilt by it."""
        device = pick_device(task.device)
        precision = precision_of(task, device, self.precision)
        state = self._begin(task.network.to(device), device, precision)
        objective = objective_of(task, precision, self._batch_size(task))
        with (
            fastest_kernels(),
            self._feeding(task, state.network, objective, device) as feeding,
            self._tuned(feeding, state.network, objective, device),
        ):
            batches = prefetched(feeding.source, range(len(rates)), device, feeding.workers)
            learn = TrainStep(objective=objective, clip_norm=self.clip_norm)
            return losses_at(rates, batches, learn, state, task.report)

    def check_extension(self, folder: Path, epochs: int) -> None:
        """Raise ``ModelError`` where the training in ``folder`` cannot go on to ``epochs``."""
        require_extendable(folder, epochs)

    def make_optimizer(self, network: nn.Module) -> Optimizer:
        """The optimizer of all parameters."""
        pace = Pace(
            frozen=self.frozen, frozen_until=self.frozen_until, layer_decay=self.layer_decay
        )
        groups = parameter_groups(network, pace)
        return OPTIMIZERS[self.optimizer](groups, self._optimizer_options())

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate of an epoch that begins at ``progress``, 0 to below 1."""
        share = warmed_up(SCHEDULES[self.schedule], progress, self.warm_up)
        return self.learning_rate * share

    def _optimizer_options(self) -> OptimizerOptions:
        return OptimizerOptions(
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            betas=self.betas,
            amsgrad=self.amsgrad,
        )

    @property
    def _length(self) -> Length:
        return Length.of(self.epochs, self.iterations, self.max_iterations)

    def _batch_size(self, task: TrainingTask) -> int:
        """Patches per batch, those of all ranks together."""
        return self.batch_size or task.configuration.batch_size

    def _begin(self, network: nn.Module, device: torch.device, precision: torch.dtype) -> LoopState:
        optimizer = self.make_optimizer(network)
        begin_momentum(optimizer)
        return LoopState(
            network=network,
            optimizer=optimizer,
            scaler=GradScaler(device.type, enabled=precision is torch.float16),
            epochs=self._length.epochs,
            average=Average(self.ema) if self.ema else None,
        )

    def _feed(self, task: TrainingTask) -> PatchFeed:
        return feed_of(
            task,
            batch_size=self._batch_size(task),
            foreground_share=self.foreground_share,
            by_chance=self.foreground_by_chance,
        )

    def _feeding(
        self, task: TrainingTask, network: nn.Module, objective: Objective, device: torch.device
    ) -> AbstractContextManager[Feeding]:
        same_bits = not self._tunes() or not alone()
        candidates = candidates_of(task, self._feed(task), device, same_bits=same_bits)
        return open_feeding(candidates, self.feeder, network, objective)

    def _tuned(
        self, feeding: Feeding, network: nn.Module, objective: Objective, device: torch.device
    ) -> AbstractContextManager[None]:
        tune, compiling = self._tunes(), self.compile
        return computed_fast(
            network, objective, feeding.feed, device, tune=tune, compiling=compiling
        )

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
        state: LoopState,
    ) -> Generator[Loop]:
        """The loop from where ``state`` is; its batches are made until the block ends."""
        validation = validation_feed(feeding.feed, task.split.validation)
        rounds = self.validation_iterations if task.split.validation else 0
        stream = partial(open_stream, device=device, workers=feeding.workers, report=task.report)
        length = self._length
        learned_from = length.before(state.epoch) + len(state.under_way.losses)
        checked_on = rounds * state.epoch
        learn = TrainStep(objective=objective, clip_norm=self.clip_norm)
        count = count_regions if task.labels.is_regions else count_classes
        check = ValidationStep(objective=objective, count=count)
        # Ranks would have to agree on each try of a graph, or one that fails keeps others waiting.
        steps = graphed(learn, check, device) if self._tunes() and alone() else (learn, check)
        with (
            stream(feeding.source, length.iterations, learned_from, name="train") as learned,
            stream(validation, rounds, checked_on, name="check") as checked,
        ):
            yield Loop(
                training=learned,
                validation=checked,
                train_step=steps[0],
                validation_step=steps[1],
                learning_rate_at=self.learning_rate_at,
                label_names=names(task.labels),
                steps_in=length.steps_in,
                label_counts=LabelCounts(labels=task.labels, decode=decoder(task)),
                should_stop=asked_of_any(task.stop),
                budget=self.max_minutes * 60 if self.max_minutes and not task.extend_to else None,
                seed=task.seed,
            )

    @property
    def _usual(self) -> dict[str, Any]:
        """What options are by default, those that may not change: checkpoints may lack new ones."""
        given = {option.name: option.default for option in fields(self)}
        return {
            name: value
            for name, value in given.items()
            if name not in MAY_CHANGE and value is not MISSING
        }

    def _description(self, task: TrainingTask, feeding: Feeding) -> dict[str, Any]:
        """What has to be the same for a resumed training to be the same training."""
        kind = type(self)
        options = {name: value for name, value in asdict(self).items() if name not in MAY_CHANGE}
        return {
            **options,
            **feeding.description,
            "trainer": f"{kind.__module__}:{kind.__qualname__}",
            "batch_size": self._batch_size(task),
            "patch_size": task.configuration.patch_size,
            "seed": task.seed,
            **({"previous": task.previous.made_from} if task.previous else {}),
        }
