"""Before a cascade: the stage it follows, trained fold by fold, and what that makes of each case.

Every case is segmented by folds that it did not train, as nnU-Net does, and the segmentations lie
on the cascade's grid in the folder ``next_stage`` of the earlier model. They are artefacts: what is
missing there, or was made from other weights, is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nnseg_core import files
from nnseg_core.cascade import PREVIOUS_FOLDER, previous_values
from nnseg_core.claims import claim
from nnseg_core.contracts import Callback
from nnseg_core.errors import DatasetError, ModelError
from nnseg_core.label_store import LabelStore
from nnseg_core.model import load_trained
from nnseg_core.model_folder import MODEL_FILE, PLAN_FILE, WEIGHTS_FILE, fold_folder, trained_folds
from nnseg_core.pipeline.preprocessing import preprocess
from nnseg_core.pipeline.trained_plan import require_same_plan
from nnseg_core.pipeline.trained_splits import require_same_split
from nnseg_core.pipeline.training import (
    TrainingRequest,
    require_samples_for_all,
    train,
)
from nnseg_core.pipeline.validation import validate
from nnseg_core.plan import Plan
from nnseg_core.project import Project, require_same_cases
from nnseg_core.splits import Split, Splits, choose_split
from nnseg_core.store import CaseStore
from nnseg_core.team import current
from nnseg_core.training import PreviousStage
from nnseg_core.writing import make_folder, whole

ALL = "all"

NEXT_STAGE = "next_stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierStage:
    """The stage before a cascade: its model folder, and which of its folds segments which case.

    In ``plan`` its configuration is as the folder's folds were trained, or will be.
    """

    name: str
    folder: Path
    plan: Plan
    splits: Splits | None
    segmented_by: Mapping[str, str]

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds that are needed."""
        return _in_order(self.segmented_by.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of them that have not been trained."""
        return tuple(fold for fold in self.folds if not _weights(self.folder, fold).is_file())

    def split(self, fold: str) -> Split:
        """The cases that train and validate one of the folds."""
        return choose_split(
            self.splits.folds if self.splits else (), fold, tuple(self.segmented_by)
        )


def earlier_stage(
    plan: Plan, name: str, folder: Path, fold: str, splits: Splits | None, cases: Sequence[str]
) -> EarlierStage:
    """What fold ``fold`` of the cascade ``name`` starts from; ``folder`` is the earlier model.

    ``plan`` is what ``as_trained`` gives. ``cases`` are all that the fold trains and validates
    with. ``splits`` may be None for fold ``all``, where the dataset has too few cases for folds.

    Raises ``DatasetError`` for cases that train every fold.
    """
    previous = plan.configurations[name].previous
    assert previous, "only a cascade has an earlier stage"
    return EarlierStage(
        name=previous,
        folder=folder,
        plan=plan,
        splits=splits,
        segmented_by=folds_by_case(splits, fold, cases, trained_folds(folder)),
    )


def as_trained(folder: Path, plan: Plan, name: str) -> Plan:
    """The plan, with the configuration ``name`` as the folds in ``folder`` were trained.

    Raises ``ModelError`` where they belong to another plan, ``PlanError`` where to other cases.
    """
    if not trained_folds(folder):
        return plan
    kept = files.read_plan(folder / PLAN_FILE)
    same = (kept.dataset.labels, kept.dataset.channels, kept.axes, kept.intensities) == (
        *(plan.dataset.labels, plan.dataset.channels, plan.axes, plan.intensities),
    )
    if name not in kept.configurations or not same:
        raise ModelError(
            f"{folder} was not trained as {name} of this plan (see {folder / PLAN_FILE}). "
            f"Name another model of {name} with --previous; one that is not there is trained."
        )
    require_same_cases(plan.configurations[name], kept.configurations[name])
    configurations = {**plan.configurations, name: kept.configurations[name]}
    return replace(plan, configurations=configurations)


def folds_by_case(
    splits: Splits | None, fold: str, cases: Sequence[str], trained: Sequence[str]
) -> dict[str, str]:
    """Which fold of the earlier stage segments each case: the first that validates with it.

    Fold ``all`` of a cascade takes that of the earlier stage where it is trained and the others
    are not all there.

    Raises ``DatasetError`` for cases that every fold trains with.
    """
    if splits is None:
        return dict.fromkeys(cases, ALL)
    unseen = {case: _unseen_by(splits.folds, case) for case in cases}
    seen = [case for case, found in unseen.items() if found is None]
    complete = not seen and set(unseen.values()) <= set(trained)
    if fold == ALL and ALL in trained and not complete:
        return dict.fromkeys(cases, ALL)
    if seen:
        raise DatasetError(
            f"{len(seen)} cases, such as {seen[0]}, train every fold, so that no fold of the "
            "previous stage can segment them unseen. Draw folds in which each case validates "
            "once, with nnseg split --folds 5; or train the previous stage and the cascade with "
            "--fold all."
        )
    return {case: found for case, found in unseen.items() if found is not None}


def with_previous_stage(
    project: Project,
    request: TrainingRequest,
    plan_name: str,
    earlier: EarlierStage,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
) -> TrainingRequest:
    """Train and predict whatever the request's cascade needs of the stage before it.

    The request comes back with it, and the model folder with a copy of the earlier model.

    Raises ``ModelError`` where the model folder has folds that started from another one, or the
    earlier one has folds that were trained with other settings.
    """
    require_same_plan(earlier.folder, earlier.plan, earlier.name)
    for fold in earlier.folds:
        require_same_split(fold_folder(earlier.folder, fold), earlier.split(fold))
    with current().first():
        store = preprocess(project, earlier.plan, plan_name, earlier.name)
    missing = current().agree(list(earlier.missing))
    if missing:
        require_samples_for_all(project, earlier.plan, earlier.name)
    for number, fold in enumerate(missing, start=1):
        project.note(
            f"{earlier.name}, fold {fold}: {number} of {len(missing)} that {request.name} needs "
            "first"
        )
        _train_fold(project, request, earlier, fold, store, callbacks())
    with current().first():
        made_from = _digest(earlier.folder, earlier.folds)
        _keep_copy(request.folder, earlier, made_from)
        labels = _segment_cases(project, request, earlier, store)
    plan = replace(
        request.plan,
        configurations={
            **request.plan.configurations,
            earlier.name: earlier.plan.configurations[earlier.name],
        },
    )
    previous = PreviousStage(
        name=earlier.name,
        folder=earlier.folder,
        store=labels,
        values=previous_values(plan.dataset, plan.configurations[request.name]),
        made_from=made_from,
    )
    return replace(request, plan=plan, previous=previous)


def _train_fold(
    project: Project,
    request: TrainingRequest,
    earlier: EarlierStage,
    fold: str,
    store: CaseStore,
    callbacks: Sequence[Callback],
) -> None:
    """Train and validate a fold, unless another run does so meanwhile."""
    own = replace(
        request,
        plan=earlier.plan,
        name=earlier.name,
        fold=fold,
        split=earlier.split(fold),
        store=store,
        folder=earlier.folder,
        restart=False,
        extend_to=None,
        start=None,
    )
    trained = train(project, own, callbacks, wait=True)
    scored = (fold_folder(own.folder, fold) / "validation" / "summary.json").is_file()
    if not current().agree(scored):
        validate(project, trained, own, wait=True)


def _segment_cases(
    project: Project, request: TrainingRequest, earlier: EarlierStage, store: CaseStore
) -> LabelStore:
    """The segmentations of all cases on the cascade's grid; those that are there are kept."""
    labels = LabelStore(folder=earlier.folder / NEXT_STAGE / request.name)
    weights = {fold: _digest(earlier.folder, [fold]) for fold in earlier.folds}
    predictor = json.dumps(asdict(earlier.plan.configurations[earlier.name].predictor))
    keys = {
        case: _key(weights[fold], predictor, store.key(case), request.store.key(case))
        for case, fold in earlier.segmented_by.items()
    }
    patch_size = request.plan.configurations[request.name].patch_size
    with claim(labels.folder, f"segmenting for {request.name}", wait=True):
        todo = [case for case, key in keys.items() if labels.key(case) != key]
        done = 0
        for fold in earlier.folds:
            cases = [case for case in todo if earlier.segmented_by[case] == fold]
            if not cases:
                continue
            model = load_trained(
                earlier.folder,
                request.device,
                folds=[fold],
                trust=tuple(project.typed),
                plugins=project.plugins,
            )
            for case in cases:
                label = model.segment_onto(request.store.read(case), store.read(case))
                labels.write(case, label, patch_size, keys[case])
                done += 1
                project.report(earlier.name, done, len(todo), case)
    return labels


def _keep_copy(folder: Path, earlier: EarlierStage, made_from: str) -> None:
    """A copy of the earlier model in the cascade's, so that this can be moved about by itself."""
    copy = folder / PREVIOUS_FOLDER
    with claim(copy, f"copying {earlier.name}", wait=True):
        there = trained_folds(copy)
        if there and _digest(copy, there) == made_from:
            return
        if there and (trained := trained_folds(folder)):
            raise ModelError(
                f"fold {trained[0]} in {folder} started from another model of {earlier.name} than "
                f"{earlier.folder} (folds {', '.join(earlier.folds)}) is now. Give this training a "
                "folder of its own with --name, or train all its folds anew."
            )
        shutil.rmtree(copy, ignore_errors=True)
        make_folder(copy)
        for fold in earlier.folds:
            make_folder(fold_folder(copy, fold))
            _copy_file(_weights(earlier.folder, fold), _weights(copy, fold))
        for name in (PLAN_FILE, MODEL_FILE):
            _copy_file(earlier.folder / name, copy / name)


def _copy_file(source: Path, target: Path) -> None:
    with whole(target) as beside:
        shutil.copyfile(source, beside)


def _unseen_by(folds: Sequence[Split], case: str) -> str | None:
    """A fold that validates with a case, or at least does not train with it."""
    validating = [number for number, split in enumerate(folds) if case in split.validation]
    apart = [number for number, split in enumerate(folds) if case not in split.train]
    return str((validating or apart)[0]) if apart else None


def _digest(folder: Path, folds: Iterable[str]) -> str:
    """The weights of some folds, in short."""
    digest = hashlib.sha256()
    for fold in _in_order(folds):
        with _weights(folder, fold).open("rb") as file:
            digest.update(f"{fold} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def _key(*made_from: str | None) -> str:
    return hashlib.sha256("\n".join(map(str, made_from)).encode()).hexdigest()


def _weights(folder: Path, fold: str) -> Path:
    return fold_folder(folder, fold) / WEIGHTS_FILE


def _in_order(folds: Iterable[str]) -> tuple[str, ...]:
    """Each once: numbers as numbers, then ``all``."""
    return tuple(sorted(set(folds), key=lambda fold: (len(fold), fold)))
