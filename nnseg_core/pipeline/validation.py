"""Step 6: predict a fold's validation cases in full, score them, and draw them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

from nnseg_core import files
from nnseg_core.case import Prediction, PreprocessedCase
from nnseg_core.claims import claim
from nnseg_core.dataset import CaseRef
from nnseg_core.logits import ENDING, recorded
from nnseg_core.model import Model, load_trained
from nnseg_core.model_folder import fold_folder
from nnseg_core.pictures import overlay_png
from nnseg_core.pipeline.drawing import PICTURES
from nnseg_core.pipeline.evaluation import write_scores
from nnseg_core.pipeline.prediction import write_mask
from nnseg_core.pipeline.training import TrainingRequest
from nnseg_core.project import Project
from nnseg_core.scoring.scores import CaseScores, Scores, score_case, summarise
from nnseg_core.team import current
from nnseg_core.training import TrainedModel


def validate(
    project: Project, trained: TrainedModel, request: TrainingRequest, wait: bool = False
) -> Scores:
    """Predict and score the validation cases of a fold, into its folder ``validation``.

    Leaves a mask per case, ``summary.json``, ``scores.csv``, overlay pictures of some cases, and
    the logits of all, from which ``nnseg select`` tries ensembles.
    """
    folder = fold_folder(trained.folder, request.fold) / "validation"
    model = load_trained(
        trained.folder,
        request.device,
        folds=[request.fold],
        trust=tuple(project.typed),
        plugins=project.plugins,
    )
    by_name = {case.identifier: case for case in project.dataset.cases}
    cases = [by_name[name] for name in request.split.validation]
    team = current()
    scored: list[CaseScores] = []
    with claim(folder.parent, "validation", wait) if team.ranks.main else nullcontext():
        team.together()  # nobody begins before rank 0 may
        (folder / "summary.json").unlink(missing_ok=True)  # it says that all before is complete
        drawn, mine = cases[:PICTURES], team.ranks.mine(cases)
        for done, case in enumerate(mine, start=1):
            scored.append(_validate_case(project, model, request, case, folder, case in drawn))
            project.report("validate", done, len(mine), case.identifier)
        scored = _of_all_ranks(scored)
    labels = model.plan.dataset.labels
    scores = summarise(scored, labels)
    if not team.ranks.main:
        return scores
    write_scores(folder, scores, labels)
    project.plugins.manager.hook.nnseg_scored(model=trained, scores=scores, folder=folder)
    return scores


def _of_all_ranks(scored: list[CaseScores]) -> list[CaseScores]:
    """The cases of all ranks, in the order in which they were dealt out."""
    if current().ranks.count == 1:
        return scored
    parts = current().together([asdict(each) for each in scored])
    rows = zip_longest(*parts)
    return [
        files.validate(CaseScores, each, source="another rank")
        for row in rows
        for each in row
        if each is not None
    ]


def _validate_case(
    project: Project,
    model: Model,
    request: TrainingRequest,
    case: CaseRef,
    folder: Path,
    draw: bool,
) -> CaseScores:
    reader, description = project.reader(), model.plan.dataset
    preprocessed = request.case(case.identifier)
    with _logits(model, preprocessed, folder, request.keep_logits) as prediction:
        segmentation = model.restore(prediction)
    write_mask(folder, segmentation, reader, description.file_ending)
    if case.label is None:
        raise ValueError(f"{case.identifier} has no label")  # examined cases have one
    reference, geometry = reader.read_label(case.label)
    scores = score_case(
        case.identifier,
        segmentation.label,
        reference,
        geometry.spacing,
        description.labels,
        annotated=description.annotated_in(case.identifier),
    )
    if draw:
        overlay_png(
            folder / f"{case.identifier}_overlay.png",
            reader.read(case.images)[0],
            spacing=geometry.spacing,
            labels=description.labels,
            title=case.identifier,
            prediction=segmentation.label,
            reference=reference,
        )
    return scores


def logits_file(validation: Path, identifier: str) -> Path:
    """Where the logits of a case are kept in a folder ``validation``."""
    return validation / "logits" / f"{identifier}{ENDING}"


@contextmanager
def _logits(
    model: Model, case: PreprocessedCase, folder: Path, keep: bool
) -> Generator[Prediction]:
    """The prediction for a case. Its logits are kept on disk as they are read, if they shall be."""
    prediction = model.predict_logits(case)
    if not keep:
        yield prediction
        return
    exclusive = not model.plan.dataset.labels.is_regions
    with recorded(logits_file(folder, case.identifier), prediction, exclusive) as recording:
        yield recording
