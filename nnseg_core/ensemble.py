"""Several models as one: probabilities of all, averaged on the grid of the image.

    MODEL/
        model.json          the members in their order, and the postprocessor
        members/NAME/       a complete model folder each

Logits of different configurations lie on different grids and are not of one scale, so that not
they are averaged but what they amount to at each voxel of the image (nnU-Net's choice).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core import files, kinds
from nnseg_core.case import Prediction, PreprocessedCase, RawCase, Segmentation
from nnseg_core.contracts import Postprocessor, Preprocessor, Reader, RestoresSlabs
from nnseg_core.dataset import Labels
from nnseg_core.errors import ModelError, PluginError
from nnseg_core.geometry import Box, whole
from nnseg_core.model import MODEL_FILE, Model, case_from, load_trained, open_model
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.plugins import Plugins, load_plugins
from nnseg_core.progress import Report, silent
from nnseg_core.project import apply_settings, facts_of
from nnseg_core.stages import Stopwatch

if TYPE_CHECKING:
    from torch import nn

MEMBERS = "members"
"""Subfolder with the members."""

Restored = tuple[Preprocessor, Prediction]
"""What one model predicts for a case, and what takes it back to the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleRecord:
    """What ``model.json`` of an ensemble holds; ``provider`` is the plugin of its postprocessor."""

    members: tuple[str, ...]
    postprocessor: ComponentRef
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A box of an image whose axes are put in another order."""

    axes: tuple[int, int, int]
    box: Box

    def of(self, volume: NDArray[Any]) -> NDArray[Any]:
        """A view of that box of a volume (..., z, y, x)."""
        lead = volume.ndim - 3
        ordered = volume.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return ordered[(slice(None),) * lead + self.box.slices]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Models that predict together, loaded. Used as a ``Model`` is.

    An ensemble of one member gives what that member gives, with another postprocessor.
    """

    folder: Path
    members: tuple[Model, ...]
    postprocessor: Postprocessor

    @property
    def plan(self) -> Plan:
        """The plan of the first member; all have the same dataset."""
        return self.members[0].plan

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Those of all members."""
        return tuple(network for member in self.members for network in member.networks)

    def predict(
        self,
        image: Path | str | Sequence[Path | str] | NDArray[Any],
        spacing: Sequence[float] | None = None,
        probabilities: bool = False,
    ) -> Segmentation:
        """Segment one image, as ``Model.predict`` does."""
        return self.segment(case_from(image, spacing, self.reader_for), probabilities)

    def segment(self, case: RawCase, probabilities: bool = False) -> Segmentation:
        """Segment a case that is in memory."""
        return self.segment_preprocessed(self.prepare(case), probabilities)

    def prepare(self, case: RawCase) -> tuple[PreprocessedCase, ...]:
        """Preprocess a case for each member."""
        return tuple(member.prepare(case) for member in self.members)

    def segment_preprocessed(
        self,
        cases: Sequence[PreprocessedCase],
        probabilities: bool = False,
        report: Report = silent,
        stopwatch: Stopwatch | None = None,
    ) -> Segmentation:
        """Segment a case that has been preprocessed for each member.

        Memory need not grow with the length of the image, unless probabilities are asked for.
        """
        watch = stopwatch or Stopwatch()
        predictions = [
            member.predict_logits(case, report, watch)
            for member, case in zip(self.members, cases, strict=True)
        ]
        if len(predictions) == 1:
            segmentation = self.members[0].restore(predictions[0], probabilities, watch)
            return self.postprocessor.apply(segmentation)
        with watch.timing("export"):
            restored = list(zip((m.preprocessor for m in self.members), predictions, strict=True))
            segmentation = average(restored, self.plan.dataset.labels, probabilities)
            return self.postprocessor.apply(segmentation)

    def reader_for(self, path: Path) -> Reader:
        """The reader of the files that the members were trained on."""
        return self.members[0].reader_for(path)


def average(
    members: Sequence[Restored], labels: Labels, probabilities: bool = False
) -> Segmentation:
    """The mask that the mean of the members' probabilities amounts to, and that mean if asked for.

    In slabs where the preprocessors allow it, so that memory does not grow with the image.
    """
    prediction = members[0][1]
    original = prediction.restoration.original
    label = np.zeros(original.shape, dtype=label_type(labels))
    mean = None
    if probabilities:
        mean = np.zeros((labels.outputs, *original.shape), dtype=np.float32)
        if not labels.is_regions:
            mean[0] = 1
    for place, parts in side_by_side(members, labels):
        probability = mean_of(parts)
        place.of(label)[:] = decide(probability, labels)
        if mean is not None:
            place.of(mean)[:] = probability
    return Segmentation(
        identifier=prediction.identifier, label=label, geometry=original, probability=mean
    )


def side_by_side(
    members: Sequence[Restored], labels: Labels
) -> Iterator[tuple[Place, list[NDArray[np.float32]]]]:
    """Parts of the image, with the probabilities (output, z, y, x) of every member there.

    One part is the whole image where preprocessors know no slabs, or crop differently.
    """
    where = members[0][1].restoration
    slabs = [
        preprocessor.probability_slabs(prediction, labels)
        for preprocessor, prediction in members
        if isinstance(preprocessor, RestoresSlabs)
        and type(preprocessor) is type(members[0][0])
        and prediction.restoration.axes == where.axes
        and prediction.restoration.crop == where.crop
    ]
    if len(slabs) < len(members):
        yield (
            Place(axes=(0, 1, 2), box=whole(where.original.shape)),
            [
                _whole_probability(preprocessor, prediction, labels)
                for preprocessor, prediction in members
            ],
        )
        return
    for parts in zip(*slabs, strict=True):
        boxes, probabilities = zip(*parts, strict=True)
        assert len(set(boxes)) == 1, "equal crops are taken in equal boxes"
        yield Place(axes=where.axes, box=boxes[0]), list(probabilities)


def mean_of(probabilities: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of arrays, one after the other added to the first."""
    total = probabilities[0].copy()
    for probability in probabilities[1:]:
        total += probability
    total /= np.float32(len(probabilities))
    return total


def decide(probability: NDArray[np.float32], labels: Labels) -> NDArray[np.unsignedinteger[Any]]:
    """The labels that probabilities (output, ...) amount to.

    Of classes the most probable, the first of equal ones; regions where they are above a half,
    each painted over those before it.
    """
    values = np.array((0, *labels.foreground), dtype=label_type(labels))
    if not labels.is_regions:
        return np.asarray(values[probability.argmax(axis=0)])
    label = np.zeros(probability.shape[1:], dtype=label_type(labels))
    for region, value in zip(probability, labels.paint_order, strict=True):
        label[region > 0.5] = value
    return label


def label_type(labels: Labels) -> type[np.unsignedinteger[Any]]:
    """The smallest type that holds every label."""
    return np.uint8 if max((*labels.foreground, *labels.paint_order)) <= 255 else np.uint16


def is_ensemble(folder: Path) -> bool:
    """Whether a folder holds an ensemble of models."""
    return (folder / MODEL_FILE).is_file() and (folder / MEMBERS).is_dir()


def read_record(folder: Path) -> EnsembleRecord:
    """What ``model.json`` of an ensemble says."""
    return files.load(EnsembleRecord, folder / MODEL_FILE)


def read_plan_of(folder: Path) -> Plan:
    """The plan of a model, or of an ensemble's first member."""
    if is_ensemble(folder):
        return open_model(folder / MEMBERS / read_record(folder).members[0]).plan
    return open_model(folder).plan


def load_ensemble(
    folder: Path,
    device: str = "auto",
    folds: Sequence[str | int] | None = None,
    trust: Sequence[str] = (),
    plugins: Plugins | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Ensemble:
    """Load all members; parameters and errors are those of ``load_trained``.

    Settings of the postprocessor are the ensemble's, all others each member's.
    """
    record = read_record(folder)
    missing = [name for name in record.members if not (folder / MEMBERS / name).is_dir()]
    if missing or not record.members:
        raise ModelError(
            f"{folder} lacks {', '.join(missing) or 'its members'} in its subfolder {MEMBERS}. "
            "Copy the whole folder, or run 'nnseg select' again."
        )
    plugins, settings = plugins or load_plugins(), settings or {}
    last = {k: v for k, v in settings.items() if k.partition(".")[0] == kinds.POSTPROCESSOR.name}
    own = {k: v for k, v in settings.items() if k not in last}
    members = tuple(
        load_trained(folder / MEMBERS / name, device, folds, trust, plugins, own)
        for name in record.members
    )
    return Ensemble(
        folder=folder,
        members=members,
        postprocessor=_postprocessor(folder, record, members[0], trust, last),
    )


def _postprocessor(
    folder: Path,
    record: EnsembleRecord,
    member: Model,
    trust: Sequence[str],
    settings: Mapping[str, Any],
) -> Postprocessor:
    configuration = replace(member.configuration, postprocessor=record.postprocessor)
    reference = apply_settings(configuration, settings).postprocessor
    facts = facts_of(configuration, member.plan.dataset)
    typed = reference.name in trust
    try:
        component = member.plugins.resolve(kinds.POSTPROCESSOR, reference.name, typed=typed)
    except PluginError as error:
        if reference != record.postprocessor or ":" in reference.name:
            raise
        raise ModelError(
            f"{folder} was made with postprocessor {record.provider}, which is not installed "
            f"here. Install that package. ({error})"
        ) from None
    return component.build(reference.options, **facts)


def _whole_probability(
    preprocessor: Preprocessor, prediction: Prediction, labels: Labels
) -> NDArray[np.float32]:
    probability = preprocessor.restore(prediction, labels, probabilities=True).probability
    assert probability is not None, "it was asked for"
    return probability
