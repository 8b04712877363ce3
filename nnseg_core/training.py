"""What a training is given and what it reports. Records only; the loop is a plugin's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nnseg_core.dataset import Labels
from nnseg_core.plan import Configuration, Plan
from nnseg_core.progress import Report, silent
from nnseg_core.splits import Split
from nnseg_core.stopping import Stop, never

if TYPE_CHECKING:
    from torch import nn

    from nnseg_core.contracts import Augmentation, Loss
    from nnseg_core.label_store import LabelStore
    from nnseg_core.store import CaseStore


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousStage:
    """What a cascade is shown beside the images: segmentations by the stage before it.

    ``store`` has one for every case, on the grid of the cases, by folds that the case did not
    train (of fold ``all``, by that one). Each of ``values`` becomes a channel of 0 and 1 behind
    those of the image, in this order. ``made_from`` tells the weights behind all of them, which
    are those in ``folder``.
    """

    name: str
    folder: Path
    store: LabelStore
    values: tuple[int, ...]
    made_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """All that a trainer needs, already built. Nothing in it has to be looked up.

    ``folder`` is where the trainer may keep its checkpoints. ``device`` is ``auto``, ``cpu``,
    ``cuda``, ``cuda:1`` or ``mps``. ``workers`` is how many threads or processes may prepare
    batches beside the loop; 0 prepares them inside it, with the same result. ``report`` may be
    told how far an epoch has come. ``stop`` is asked after each step; when it gives a reason, the
    trainer keeps what it has and raises ``Stopped``. ``extend_to`` is how many epochs in all a
    finished training goes on to; the trainer has ``check_extension``. ``previous`` is what a
    cascade starts from; its network has an input for each of its ``values`` too. ``annotated`` has
    the names of labels that are annotated, by case, of those cases that lack some: only trainers
    that have ``partial_labels = True`` are given any.
    """

    name: str
    configuration: Configuration
    labels: Labels
    split: Split
    store: CaseStore
    network: nn.Module
    loss: Loss
    augmentation: Augmentation
    folder: Path
    device: str = "auto"
    workers: int = 1
    seed: int = 0
    resume: bool = False
    report: Report = silent
    stop: Stop = never
    extend_to: int | None = None
    previous: PreviousStage | None = None
    annotated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One epoch in numbers. ``epoch`` counts from 0; times are in seconds.

    ``dice`` is the online estimate per label from validation patches (None where a label has
    not occurred), ``mean_dice`` its mean, ``smoothed_dice`` the moving average that decides which
    checkpoint is best. ``waiting``, ``stepping`` and ``validating`` say where ``seconds`` went.
    ``progress`` is the share of the schedule done at the end of the epoch, 0 to 1.

    What a watchdog wants to know, by label: ``sampled``, the share of training patches in which it
    occurs; ``reference_voxels`` and ``predicted_voxels`` of all validation patches. All are empty
    where nobody counted. ``skipped_steps`` is how many steps a gradient scaler skipped, at least.
    """

    epoch: int
    progress: float
    learning_rate: float
    train_loss: float
    validation_loss: float | None
    dice: dict[str, float | None]
    mean_dice: float | None
    smoothed_dice: float | None
    seconds: float
    waiting: float
    stepping: float
    validating: float
    epochs: int | None = None
    sampled: dict[str, float] = field(default_factory=dict)
    reference_voxels: dict[str, int] = field(default_factory=dict)
    predicted_voxels: dict[str, int] = field(default_factory=dict)
    skipped_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A model folder: what a training leaves behind and a prediction starts from.

    ``providers`` says which plugin each part came from, such as
    ``{"architecture": "plain_unet from standard (nnseg 0.1.0)"}``.
    """

    folder: Path
    name: str
    plan: Plan
    folds: tuple[str, ...]
    providers: dict[str, str]

    @property
    def configuration(self) -> Configuration:
        """The configuration it was trained in."""
        return self.plan.configurations[self.name]
