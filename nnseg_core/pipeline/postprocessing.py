"""Correct masks after prediction: fit a postprocessor to masks with references, and apply one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nnseg_core import desk, files, kinds
from nnseg_core.case import Segmentation
from nnseg_core.contracts import FitsCases, Postprocessor, Reader
from nnseg_core.dataset import CaseRef, DatasetDescription, Labels
from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.model_folder import is_ensemble, open_model, read_record
from nnseg_core.parallel import Crew, values
from nnseg_core.plan import ComponentRef
from nnseg_core.progress import Report, silent
from nnseg_core.scoring.overlap import count_overlap
from nnseg_core.selection import Dice, mean_of
from nnseg_core.writing import make_folder

T = TypeVar("T")

FILE = "postprocessing.json"
"""A fitted postprocessor, by reference, beside the masks it was applied to."""

NOTHING = ComponentRef(name="none")

SECONDS = 1e-7
"""For reading, correcting and counting a voxel; only decides whether workers are started.

Not measured: taken to be twice what reading and checking one takes and a little more
(``EXAMINE_SECONDS``, which is). Off by twice, workers start for 2 s of work, or not for 8 s.
"""


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Predicted masks with their references: what a postprocessor is fitted to.

    A case's ``images`` is its predicted mask. It satisfies the contract ``PredictedCases``.
    """

    cases: tuple[CaseRef, ...]
    reader: Reader
    description: DatasetDescription
    crew: Crew = field(default_factory=Crew, repr=False)
    workers: int = 0
    report: Report = silent

    @property
    def labels(self) -> Labels:
        """The names and values of labels and regions."""
        return self.description.labels

    def dice(self, candidates: Sequence[Postprocessor]) -> list[Dice]:
        """Mean Dice per label with each of some postprocessors, over the cases that have it."""
        work = partial(
            _dice, reader=self.reader, description=self.description, candidates=tuple(candidates)
        )
        found = self.map(work)
        return [mean_dice([case[i] for case in found], self.labels) for i in range(len(candidates))]

    def each(self, function: Callable[[Segmentation], T]) -> list[T]:
        """What a function makes of each mask."""
        return self.map(partial(_apply, reader=self.reader, function=function))

    def map(self, work: Callable[[CaseRef], T]) -> list[T]:
        """What work on each case makes, in their order; by worker processes if it takes long."""
        seconds = SECONDS * _voxels(self.cases, self.reader)
        made: dict[str, T] = {}
        for case, result in values(self.crew.map(work, self.cases, self.workers, seconds)):
            made[case.identifier] = result
            self.report("postprocess", len(made), len(self.cases), case.identifier)
        return [made[case.identifier] for case in self.cases]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted postprocessor, and mean Dice per label without and with it."""

    postprocessor: ComponentRef
    before: Dice
    after: Dice


def fit(
    masks: Masks,
    build: Callable[[ComponentRef], Postprocessor],
    reference: ComponentRef,
    before: Dice | None = None,
) -> Fitted:
    """Fit the postprocessor ``reference`` to masks; what does not raise the mean is left out.

    ``build`` makes a component of a reference. One that cannot be fitted is used as it is.
    ``before`` is the mean Dice of the masks as they are, where it is known.
    """
    before = before or masks.dice([build(NOTHING)])[0]
    candidate = build(reference)
    chosen: ComponentRef | None = reference
    if isinstance(candidate, FitsCases):
        options = candidate.fit(masks)
        chosen = None
        if options is not None:
            chosen = ComponentRef(name=reference.name, options={**reference.options, **options})
    if chosen is not None and chosen.name != NOTHING.name:
        (after,) = masks.dice([build(chosen)])
        if _is_better(after, before):
            return Fitted(postprocessor=chosen, before=before, after=after)
    return Fitted(postprocessor=NOTHING, before=before, after=before)


def correct(masks: Masks, postprocessor: Postprocessor, output: Path) -> None:
    """Write every mask, postprocessed, to a folder under its name. References are not needed."""
    make_folder(output)
    ending = masks.description.file_ending
    work = partial(
        _correct, reader=masks.reader, postprocessor=postprocessor, output=output, ending=ending
    )
    masks.map(work)


def find_masks(
    predictions: Path, description: DatasetDescription, references: Path | None = None
) -> tuple[CaseRef, ...]:
    """The masks of a folder by name, with their references if a folder of those is given.

    Raises ``DatasetError`` where there are none, or a mask has no reference.
    """
    ending = description.file_ending
    found = sorted(predictions.glob(f"*{ending}")) if predictions.is_dir() else []
    if not found:
        raise DatasetError(f"{predictions} holds no {ending} masks.")
    if references is not None:
        missing = [path.name for path in found if not (references / path.name).is_file()]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(found)} masks have no reference in {references}: "
                f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}."
            )
    return tuple(
        CaseRef(
            identifier=path.name.removesuffix(ending),
            images=(path,),
            label=None if references is None else references / path.name,
        )
        for path in found
    )


def postprocessor_of(model: Path | None, file: Path | None) -> ComponentRef | None:
    """The postprocessor of a model, or one that was kept in a file; None where neither is given."""
    if model is not None and is_ensemble(model):
        return read_record(model).postprocessor
    if model is not None:
        return open_model(model).configuration.postprocessor
    return None if file is None else files.load(ComponentRef, file)


def with_options(reference: ComponentRef, settings: Mapping[str, Any]) -> ComponentRef:
    """The postprocessor with ``--set postprocessor.OPTION=VALUE``. Raises ``PlanError``."""
    options = dict(reference.options)
    for path, value in settings.items():
        part, _, option = path.partition(".")
        if part != kinds.POSTPROCESSOR.name or not option:
            raise PlanError(f"--set {path}: only options of the postprocessor can be set here.")
        options[option] = value
    return replace(reference, options=options)


def mean_dice(cases: Sequence[Dice], labels: Labels) -> Dice:
    """The mean of each label's Dice over the cases that have one; None where none has."""

    def mean(name: str) -> float | None:
        known = [dice for case in cases if (dice := case.get(name)) is not None]
        return sum(known) / len(known) if known else None

    return {name: mean(name) for name in labels.values}


def read_mask(case: CaseRef, reader: Reader) -> Segmentation:
    """A predicted mask from its file."""
    desk.stage("reading its mask")
    label, geometry = reader.read_label(case.images[0])
    return Segmentation(
        identifier=case.identifier,
        label=label.astype("uint8" if label.max(initial=0) <= 255 else "uint16"),
        geometry=geometry,
    )


def read_reference(case: CaseRef, reader: Reader, shape: tuple[int, ...]) -> Any:
    """A reference (z, y, x). Raises ``DatasetError`` where it is not of ``shape``."""
    if case.label is None:
        raise DatasetError(f"case {case.identifier} has no reference.")
    reference, _ = reader.read_label(case.label)
    if reference.shape != shape:
        raise DatasetError(
            f"case {case.identifier}: the mask has shape {shape}, its reference {case.label} has "
            f"{reference.shape}. Both must be on the grid of the same image."
        )
    return reference


def _dice(
    case: CaseRef,
    *,
    reader: Reader,
    description: DatasetDescription,
    candidates: Sequence[Postprocessor],
) -> list[Dice]:
    mask = read_mask(case, reader)
    reference = read_reference(case, reader, mask.label.shape)
    desk.stage("correcting and scoring its mask")
    annotated = description.annotated_in(case.identifier)
    scored = []
    for candidate in candidates:
        overlap = count_overlap(candidate.apply(mask).label, reference, description.labels)
        scored.append({name: o.dice for name, o in overlap.items() if name in annotated})
    return scored


def _apply(case: CaseRef, *, reader: Reader, function: Callable[[Segmentation], T]) -> T:
    return function(read_mask(case, reader))


def _correct(
    case: CaseRef, *, reader: Reader, postprocessor: Postprocessor, output: Path, ending: str
) -> None:
    mask = read_mask(case, reader)
    desk.stage("correcting and writing its mask")
    corrected = postprocessor.apply(mask)
    reader.write_label(output / f"{case.identifier}{ending}", corrected.label, mask.geometry)


def _is_better(after: Dice, before: Dice) -> bool:
    new, old = mean_of(after), mean_of(before)
    return new is not None and (old is None or new > old)


def _voxels(cases: Sequence[CaseRef], reader: Reader) -> float:
    """Of all cases, by the first one's header."""
    z, y, x = reader.peek(cases[0].images[0])[0].shape
    return float(z) * y * x * len(cases)
