"""What each kind of component must do. Nobody inherits from these; having the methods is enough.

A component is what a factory returns, and the factory's keyword parameters are its options: a
frozen dataclass, a function that returns one, or any callable. A factory may also ask for facts
of the run by parameter name (``Component.build`` in ``plugins.py`` lists them).

Arrays are (channel, z, y, x) in the plan's axis order once a case is preprocessed; tensors have a
leading batch axis and, in a 2D configuration, no z axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from nnseg_core.progress import Report, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from nnseg_core.case import Prediction, PreprocessedCase, RawCase, Segmentation
    from nnseg_core.dataset import DatasetDescription, Labels
    from nnseg_core.fingerprint import CaseFingerprint, Fingerprint, IntensityStatistics
    from nnseg_core.geometry import Box, Geometry
    from nnseg_core.plan import ComponentRef, Configuration, Plan, Topology
    from nnseg_core.training import EpochReport, TrainingTask

T = TypeVar("T")

IGNORED = -100
"""Target value of voxels that a loss must skip (the default of torch's cross entropy)."""


@runtime_checkable
class Reader(Protocol):
    """Reads images and labels of some file formats, and writes masks on the same grid.

    ``endings`` are the file endings it can read, with their dot: ``(".nii.gz", ".nii")``.
    Each method raises ``DatasetError`` with the file's name when the file cannot be used.
    """

    endings: tuple[str, ...]

    def peek(self, path: Path) -> tuple[Geometry, int]:
        """Geometry and number of channels, from the header where the format allows it."""
        ...

    def read(self, paths: Sequence[Path]) -> tuple[NDArray[np.float32], Geometry]:
        """Read one case: image (channel, z, y, x) from one file per channel, or one for all."""
        ...

    def read_label(self, path: Path) -> tuple[NDArray[np.int16], Geometry]:
        """Read a label map (z, y, x)."""
        ...

    def write_label(self, path: Path, label: NDArray[Any], geometry: Geometry) -> None:
        """Write a label map (z, y, x) on the grid of the image it belongs to."""
        ...


@runtime_checkable
class Planner(Protocol):
    """Measures cases, and decides everything from the measurements.

    ``architecture`` names the network that the plan is made for. A planner may also have
    ``explain``, which takes what ``plan`` takes and returns an ``Explanation`` of the same plan.
    """

    architecture: ComponentRef

    def measure(self, case: RawCase, samples: int) -> CaseFingerprint:
        """What one case adds to the fingerprint; ``samples`` intensities are drawn per channel."""
        ...

    def plan(
        self, dataset: DatasetDescription, fingerprint: Fingerprint, architecture: Architecture
    ) -> Plan:
        """Decide. ``architecture`` is built from the reference, to try sizes with."""
        ...


@runtime_checkable
class Preprocessor(Protocol):
    """Takes a case to the network's grid, and a prediction back to the original one."""

    def run(self, case: RawCase, plan: Plan, configuration: Configuration) -> PreprocessedCase:
        """Transpose, crop, normalise, resample. ``case.label`` may be None."""
        ...

    def restore(
        self, prediction: Prediction, labels: Labels, probabilities: bool = False
    ) -> Segmentation:
        """The mask on the original grid; class probabilities there only when asked for.

        ``prediction.logits`` may be read slice by slice, ``logits[:, start:stop]`` in rising order,
        or as one array, ``numpy.asarray(logits)``.
        """
        ...


@runtime_checkable
class RestoresSlabs(Protocol):
    """What a preprocessor may do besides: probabilities a few slices at a time.

    With it, an ensemble needs memory for some slices of its members and not for all of them.
    """

    def probability_slabs(
        self, prediction: Prediction, labels: Labels
    ) -> Iterator[tuple[Box, NDArray[np.float32]]]:
        """Probabilities (output, z, y, x) of one box after the other, of the original grid.

        Boxes and arrays have the axes in order of ``prediction.restoration.axes``. Beyond all boxes
        there is only background. Equal crops must be taken in equal boxes.
        """
        ...


@runtime_checkable
class Normalization(Protocol):
    """Brings the intensities of one channel to the range that networks learn well from.

    A channel of dataset.json with the name of a normalization gets it from the standard planner.
    """

    def apply(
        self,
        channel: NDArray[np.float32],
        statistics: IntensityStatistics,
        inside: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """The normalised channel (z, y, x), float32; the input stays as it is.

        ``statistics`` are of the foreground of all training cases. ``inside`` are the voxels that
        count; it is given where the plan's ``mask_normalization`` says so. Raises ``DatasetError``
        when the channel does not suit.
        """
        ...


@runtime_checkable
class Architecture(Protocol):
    """Builds networks."""

    def build(self, topology: Topology, inputs: int, outputs: int) -> nn.Module:
        """A network from (batch, inputs, *patch) to logits (batch, outputs, *patch).

        It may return a sequence of logits instead, from full resolution down; the loss then
        supervises all of them, and prediction takes the first.
        """
        ...

    def memory(self, topology: Topology, outputs: int) -> int:
        """Elements of all convolution outputs for a batch of one, which planners compare."""
        ...


@runtime_checkable
class NamesPlaces(Protocol):
    """What an architecture may do besides: say which weights of a deeper network are the same.

    Without it, weights of two networks correspond when their names are equal.
    """

    def place(self, weight: str, topology: Topology) -> str:
        """Where a weight of that name is, in the same words for networks of every depth."""
        ...


@runtime_checkable
class Augmentation(Protocol):
    """Random changes to a patch: drawn first, applied later, so that few voxels are read."""

    def initial_patch_size(self, patch_size: tuple[int, ...]) -> tuple[int, ...]:
        """The largest source a patch may need; positions are drawn for a patch of this size."""
        ...

    def draw(self, random: np.random.Generator, patch_size: tuple[int, ...], channels: int) -> Any:
        """Parameters for one patch. The result has ``source_size``: voxels to read per axis."""
        ...

    def apply(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], drawn: Sequence[Any]
    ) -> tuple[Tensor, Tensor]:
        """Images (channel, *source) and labels (*source), per sample, become one batch.

        Returns image (batch, channel, *patch) float32 and label (batch, *patch) int16, where
        voxels outside the image may be ``OUTSIDE``. Runs on the device of its input.

        In a cascade labels are two maps that move alike, (2, *source): the truth, and the
        segmentation of the previous stage. They become (batch, 2, *patch).
        """
        ...


@runtime_checkable
class DisturbsPrevious(Protocol):
    """What an augmentation may do besides: change what a cascade sees of its previous stage."""

    def disturb(self, random: np.random.Generator, channels: Tensor) -> Tensor:
        """Truth values (label, *patch) of one patch, changed at random; the input is kept."""
        ...


@runtime_checkable
class Loss(Protocol):
    """Compares logits with the truth, at one resolution.

    The factory may ask for ``batch_dice``, ``regions`` and ``ignore`` (all bool; the last says
    whether the dataset has an ignore label). Where cases are partly annotated, the logits of what
    is not have been merged into those of background, and nothing has to be done; a loss that looks
    at more than their softmax or sigmoid has ``partial_labels = False`` and is refused.
    """

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar. logits: (batch, output, *space).

        target: class index int64 (batch, *space); for regions 0 or 1, (batch, output, *space).
        Voxels that do not count are ``IGNORED``.
        """
        ...


@runtime_checkable
class Trainer(Protocol):
    """Trains a network.

    One that heeds ``task.annotated`` says so by an attribute ``partial_labels = True``; others are
    refused where cases are partly annotated.
    """

    def fit(self, task: TrainingTask, callbacks: Sequence[Callback] = ()) -> nn.Module:
        """Train ``task.network`` and return it with the weights to keep."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """Applies networks to a whole case."""

    def predict(
        self,
        networks: Sequence[nn.Module],
        case: PreprocessedCase,
        configuration: Configuration,
        device: str = "auto",
        report: Report = silent,
    ) -> Prediction:
        """Logits on the network's grid, averaged over the networks (folds).

        They are an array, or ``Logits`` that are computed slice by slice as they are asked for,
        which keeps memory small. ``report("tiles", done, total)`` tells how far the case is.
        """
        ...


@runtime_checkable
class ChecksDevice(Protocol):
    """What a trainer and a predictor may do besides: refuse a device before any work is done."""

    def check_device(self, device: str) -> None:
        """Raise ``PlanError`` for a ``device`` that is not there, or that it cannot work on."""
        ...


@runtime_checkable
class Extends(Protocol):
    """What a trainer may do besides: go on with a finished training when ``extend_to`` is given."""

    def check_extension(self, folder: Path, epochs: int) -> None:
        """Raise ``ModelError`` where the training in ``folder`` cannot go on to ``epochs``."""
        ...


@runtime_checkable
class TriesLearningRates(Protocol):
    """What a trainer may do besides: help to find a learning rate, for ``nnseg find-lr``."""

    def try_learning_rates(self, task: TrainingTask, rates: Sequence[float]) -> Sequence[float]:
        """The loss of a step at each of the rates, until it breaks; the network is spoilt by it."""
        ...


@runtime_checkable
class Postprocessor(Protocol):
    """Corrects masks."""

    def apply(self, segmentation: Segmentation) -> Segmentation:
        """The corrected mask."""
        ...


class PredictedCases(Protocol):
    """Predicted masks whose references are known, to fit a postprocessor to."""

    @property
    def labels(self) -> Labels:
        """The names and values of labels and regions."""
        ...

    def dice(self, candidates: Sequence[Postprocessor]) -> list[dict[str, float | None]]:
        """Mean Dice per label with each of some postprocessors, from one pass over the masks.

        None stands for a label that occurs nowhere.
        """
        ...

    def each(self, function: Callable[[Segmentation], T]) -> list[T]:
        """What a function makes of each mask. It may go to other processes: no lambda."""
        ...


@runtime_checkable
class FitsCases(Protocol):
    """What a postprocessor may do besides: choose its options by what they do to Dice.

    One without it is used as it is, if that makes Dice better.
    """

    def fit(self, cases: PredictedCases) -> dict[str, Any] | None:
        """The options to build it with, or None where masks are better left as they are."""
        ...


@runtime_checkable
class Callback(Protocol):
    """Watches a training. It gets records, on the main process only, and cannot change the run."""

    def on_fit_start(self, task: TrainingTask) -> None:
        """Before the first epoch."""
        ...

    def on_epoch_end(self, report: EpochReport) -> None:
        """After every epoch."""
        ...

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        """After the last epoch, with the reports of all of them, resumed ones included."""
        ...
