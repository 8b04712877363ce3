"""Several models that predict as one, loaded: the mean of their probabilities, postprocessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nnseg_core import kinds
from nnseg_core.averaging import average
from nnseg_core.case import PreprocessedCase, RawCase, Segmentation
from nnseg_core.contracts import Postprocessor, Reader
from nnseg_core.errors import ModelError, PluginError
from nnseg_core.images import case_from
from nnseg_core.model import Model, load_trained
from nnseg_core.model_folder import MEMBERS, EnsembleRecord, read_record
from nnseg_core.plan import Plan
from nnseg_core.plugins import Plugins, load_plugins
from nnseg_core.progress import Report, silent
from nnseg_core.project import apply_settings, facts_of
from nnseg_core.stages import Stopwatch

if TYPE_CHECKING:
    from torch import nn


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
