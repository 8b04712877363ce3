"""Step 6: predict a fold's validation cases in full, score them, and draw them."""

from __future__ import annotations

from pathlib import Path

from nnseg_core.claims import claim
from nnseg_core.dataset import CaseRef
from nnseg_core.model import Model, fold_folder, load_model
from nnseg_core.pictures import overlay_png
from nnseg_core.pipeline.drawing import PICTURES
from nnseg_core.pipeline.evaluation import write_scores
from nnseg_core.pipeline.prediction import write_mask
from nnseg_core.pipeline.training import TrainingRequest
from nnseg_core.project import Project
from nnseg_core.scoring.scores import CaseScores, Scores, score_case, summarise
from nnseg_core.store import CaseStore
from nnseg_core.training import TrainedModel


def validate(project: Project, trained: TrainedModel, request: TrainingRequest) -> Scores:
    """Predict and score the validation cases of a fold, into its folder ``validation``.

    Leaves a mask per case, ``summary.json``, ``scores.csv`` and overlay pictures of some cases.
    """
    folder = fold_folder(trained.folder, request.fold) / "validation"
    model = load_model(
        trained.folder,
        request.device,
        folds=[request.fold],
        trust=tuple(project.typed),
        plugins=project.plugins,
    )
    by_name = {case.identifier: case for case in project.dataset.cases}
    cases = [by_name[name] for name in request.split.validation]
    scored: list[CaseScores] = []
    with claim(folder.parent, "validation"):
        for done, case in enumerate(cases, start=1):
            drawn = done <= PICTURES
            scored.append(_validate_case(project, model, request.store, case, folder, drawn))
            project.report("validate", done, len(cases), case.identifier)
    labels = model.plan.dataset.labels
    scores = summarise(scored, labels)
    write_scores(folder, scores, labels)
    project.plugins.manager.hook.nnseg_scored(model=trained, scores=scores)
    return scores


def _validate_case(
    project: Project, model: Model, store: CaseStore, case: CaseRef, folder: Path, draw: bool
) -> CaseScores:
    reader, description = project.reader(), model.plan.dataset
    segmentation = model.segment_preprocessed(store.read(case.identifier))
    write_mask(folder, segmentation, reader, description.file_ending)
    if case.label is None:
        raise ValueError(f"{case.identifier} has no label")  # examined cases have one
    reference, geometry = reader.read_label(case.label)
    scores = score_case(
        case.identifier, segmentation.label, reference, geometry.spacing, description.labels
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
