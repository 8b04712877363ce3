"""Step 9: choose the best of the trained models and their pairs, and make one model of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nnseg_core import files, kinds
from nnseg_core.cascade import PREVIOUS_FOLDER
from nnseg_core.claims import claim
from nnseg_core.contracts import Postprocessor
from nnseg_core.dataset import CaseRef
from nnseg_core.errors import DatasetError, ModelError
from nnseg_core.model_folder import (
    MEMBERS,
    MODEL_FILE,
    PLAN_FILE,
    WEIGHTS_FILE,
    EnsembleRecord,
    fold_folder,
    is_ensemble,
)
from nnseg_core.pipeline.comparing import compare, write_averages
from nnseg_core.pipeline.contenders import Contender, Field, find_contenders, provide_logits
from nnseg_core.pipeline.evaluation import score_pairs, write_scores
from nnseg_core.pipeline.postprocessing import Masks, correct, fit
from nnseg_core.plan import ComponentRef
from nnseg_core.project import Project, facts_of
from nnseg_core.selection import (
    Candidate,
    Selection,
    as_csv,
    as_markdown,
    highest,
    mean_of,
)
from nnseg_core.training import TrainedModel
from nnseg_core.writing import make_folder

SELECTED = "selected"
"""The usual name of the model that comes of it."""

LARGEST = ComponentRef(name="largest")
"""The postprocessing that nnU-Net tries."""


def select(
    project: Project,
    models: Sequence[str] | None = None,
    folds: Sequence[str] | None = None,
    postprocessor: ComponentRef = LARGEST,
    ensembles: bool = True,
    name: str = SELECTED,
    device: str = "auto",
) -> tuple[Path, Selection]:
    """Compare models out of fold, fit postprocessing to the best, and write one model folder.

    ``models`` are names of folders, by default all of the dataset; ``folds`` by default all there
    are. ``postprocessor`` is what is tried. Returns the model folder, which holds the comparison
    as ``selection.json``, ``.csv`` and ``.md``, and the masks and scores of all validation cases.

    Raises ``ModelError`` with the commands that are missing, where models are not complete.
    """
    folder = require_replaceable(project, name)
    field = find_contenders(project, models, folds)
    _build(project, field.contenders[0], postprocessor)  # a wrong option is known before the work
    with claim(folder, "selecting"), project.crew:
        pairs = ensembles and len(field.contenders) > 1
        if pairs:
            provide_logits(project, field, device)
        candidates = compare(project, field, pairs)
        return folder, _settle(project, field, candidates, postprocessor, folder)


def require_replaceable(project: Project, name: str) -> Path:
    """Where the selected model of that name goes. Raises ``ModelError`` where another one is."""
    folder = project.workspace.model(project.name, name)
    if folder.exists() and not is_ensemble(folder):
        raise ModelError(f"{folder} is a trained model. Choose another name, with --name.")
    return folder


def _settle(
    project: Project,
    field: Field,
    candidates: tuple[Candidate, ...],
    postprocessor: ComponentRef,
    folder: Path,
) -> Selection:
    """Fit the postprocessing to the best candidate, and write the model folder."""
    best = highest(candidates)
    members = [c for name in best.members for c in field.contenders if c.name == name]
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    masks = _masks(project, field, members, new / "averaged")
    build = partial(_build, project, members[0])
    fitted = fit(masks, build, postprocessor, best.dice)
    selection = Selection(
        dataset=project.name,
        folds=field.folds,
        cases=len(field.cases),
        candidates=candidates,
        best=best,
        postprocessor=fitted.postprocessor,
        postprocessed=Candidate(
            members=best.members, dice=fitted.after, mean=mean_of(fitted.after)
        ),
        left_out=field.left_out,
    )
    correct(masks, build(fitted.postprocessor), new / "validation")
    shutil.rmtree(new / "averaged", ignore_errors=True)
    _score(project, field, new / "validation")
    _write_model(project, field, members, selection, new)
    _publish(new, folder)
    return selection


def _masks(project: Project, field: Field, members: Sequence[Contender], folder: Path) -> Masks:
    """The masks of the best candidate: a model's own, or averages written into ``folder``."""
    ending = project.dataset.description.file_ending
    if len(members) > 1:
        make_folder(folder)
        write_averages(project, members, folder, field)
    cases = tuple(
        CaseRef(
            identifier=case.identifier,
            images=(
                members[0].mask(case.identifier)
                if len(members) == 1
                else folder / f"{case.identifier}{ending}",
            ),
            label=case.label,
        )
        for case in field.cases
    )
    return Masks(
        cases=cases,
        reader=project.reader(),
        description=project.dataset.description,
        crew=project.crew,
        workers=project.workers,
        report=project.report,
    )


def _build(project: Project, member: Contender, reference: ComponentRef) -> Postprocessor:
    trained = member.trained
    facts = facts_of(trained.configuration, trained.plan.dataset)
    return project.build(kinds.POSTPROCESSOR, reference, **facts)


def _score(project: Project, field: Field, folder: Path) -> None:
    """Score the masks that the selected model gives, with every metric."""
    description = project.dataset.description
    pairs = tuple(
        CaseRef(
            identifier=case.identifier,
            images=(folder / f"{case.identifier}{description.file_ending}",),
            label=case.label,
        )
        for case in field.cases
    )
    scores, failed = score_pairs(
        *(project.reader(), description, pairs),
        workers=project.workers,
        report=project.report,
    )
    if failed:
        raise failed
    write_scores(folder, scores, description.labels)


def _write_model(
    project: Project,
    field: Field,
    members: Sequence[Contender],
    selection: Selection,
    folder: Path,
) -> None:
    for member in members:
        copy_model(member.trained, folder / MEMBERS / member.name, field.folds)
    component = project.component(kinds.POSTPROCESSOR, selection.postprocessor.name)
    record = EnsembleRecord(
        members=selection.best.members,
        postprocessor=selection.postprocessor,
        provider=f"{selection.postprocessor.name} from {component.provider}",
    )
    files.write_json(folder / "selection.json", selection)
    files.write_text(folder / "selection.csv", as_csv(selection))
    files.write_text(folder / "selection.md", as_markdown(selection))
    files.write_json(folder / MODEL_FILE, record)


def copy_model(trained: TrainedModel, target: Path, folds: Sequence[str]) -> None:
    """Copy what prediction needs of a model: weights of some folds, linked where that is possible.

    A link cannot change behind the copy's back: weights are only ever replaced as whole files.
    """
    _copy_folder(trained.folder, target, [fold_folder(Path(), fold) for fold in folds])
    previous = trained.folder / PREVIOUS_FOLDER
    if previous.is_dir():
        every = [path.parent.relative_to(previous) for path in previous.glob(f"*/{WEIGHTS_FILE}")]
        _copy_folder(previous, target / PREVIOUS_FOLDER, every)


def _copy_folder(source: Path, target: Path, folds: Sequence[Path]) -> None:
    for path in (*(fold / WEIGHTS_FILE for fold in folds), Path(PLAN_FILE), Path(MODEL_FILE)):
        if not (source / path).is_file():
            raise DatasetError(f"{source / path} is gone. Train that fold again.")
        make_folder((target / path).parent)
        if path.name != WEIGHTS_FILE or not _link(source / path, target / path):
            shutil.copyfile(source / path, target / path)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        return False
    return True


def _publish(new: Path, folder: Path) -> None:
    """Put the new folder in the place of an old one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
