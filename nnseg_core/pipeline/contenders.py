"""The trained models of a dataset that can be compared, and what is missing where they cannot."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from nnseg_core import files
from nnseg_core.claims import claim
from nnseg_core.dataset import CaseRef
from nnseg_core.errors import ModelError, NnsegError, PlanError
from nnseg_core.logits import write_logits
from nnseg_core.model import load_trained
from nnseg_core.model_folder import (
    MODEL_FILE,
    PLAN_FILE,
    WEIGHTS_FILE,
    fold_folder,
    is_ensemble,
    open_model,
)
from nnseg_core.pipeline.preprocessing import read_case
from nnseg_core.pipeline.splitting import EACH, current_state, folds_wanted
from nnseg_core.pipeline.starting import started_from
from nnseg_core.pipeline.trained_splits import recorded_split
from nnseg_core.pipeline.training import RECORD_FILE
from nnseg_core.pipeline.validation import logits_file
from nnseg_core.plan import Configuration
from nnseg_core.project import PARTS, Project, apply_settings, settings_for
from nnseg_core.splits import Split
from nnseg_core.training import TrainedModel

CHOSEN_PARTS = ("trainer", "loss", "augmentation", "architecture")
"""Parts that ``nnseg train`` takes as options of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A trained model whose validation covers every case once; ``fold_of`` says by which fold."""

    trained: TrainedModel
    fold_of: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.trained.folder.name

    def mask(self, case: str) -> Path:
        """The prediction of the fold that has not seen the case."""
        ending = self.trained.plan.dataset.file_ending
        return self._validation(case) / f"{case}{ending}"

    def logits(self, case: str) -> Path:
        """The logits of that prediction, which may be missing."""
        return logits_file(self._validation(case), case)

    def _validation(self, case: str) -> Path:
        return fold_folder(self.trained.folder, self.fold_of[case]) / "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The contenders, in order of their names, the folds they are compared on, and who is not one.

    ``left_out`` says per model why, with the commands that would mend it.
    """

    contenders: tuple[Contender, ...]
    folds: tuple[str, ...]
    cases: tuple[CaseRef, ...]
    left_out: dict[str, str]


def find_contenders(
    project: Project, names: Sequence[str] | None = None, folds: Sequence[str] | None = None
) -> Field:
    """The models of a dataset that were trained and validated in all folds, or in those given.

    Models that were not are left out; those that are asked for by name raise ``ModelError``, with
    the commands that are missing. So does a dataset without any contender.
    """
    models = _models(project, names)  # without any, nobody need know of folds
    splits = current_state(project).splits.folds
    chosen = _chosen_folds(splits, folds)
    fold_of = {
        case: fold for fold in reversed(chosen) for case in splits[int(fold)].validation
    }  # the first fold where several validate with a case
    contenders, left_out = [], {}
    for trained in models:
        lacks = _lacks(project, trained, splits, chosen)
        if lacks:
            left_out[trained.folder.name] = lacks
        else:
            contenders.append(Contender(trained=trained, fold_of=fold_of))
    if left_out and (names or not contenders):
        listed = "\n".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ModelError(
            f"nothing to choose from.\n{listed}\nOr compare on fewer folds, by --fold."
            if not contenders
            else f"{listed}\nOr leave it out, or compare on fewer folds, by --fold."
        )
    cases = tuple(case for case in project.dataset.cases if case.identifier in fold_of)
    return Field(contenders=tuple(contenders), folds=chosen, cases=cases, left_out=left_out)


def provide_logits(project: Project, field: Field, device: str) -> None:
    """Predict validation cases whose logits were not stored, by the fold that has not seen them.

    Raises ``ModelError`` for a cascade: its training has to do that.
    """
    missing = [
        (contender, fold, cases)
        for contender in field.contenders
        for fold in field.folds
        if (cases := _without_logits(contender, fold, field.cases))
    ]
    done, total = 0, sum(len(cases) for _, _, cases in missing)
    for contender, fold, cases in missing:
        trained = contender.trained
        if trained.configuration.previous:
            raise ModelError(
                f"{contender.name} has no logits of {len(cases)} validation cases of fold {fold}. "
                f"Validate it again:\n  {train_command(project, trained, fold)}"
            )
        reader = project.reader()
        with claim(fold_folder(trained.folder, fold), "predicting logits", wait=True):
            model = load_trained(
                *(trained.folder, device, [fold], tuple(project.typed), project.plugins)
            )
            for case in cases:
                prediction = model.predict_logits(model.prepare(read_case(case, reader)))
                exclusive = not model.plan.dataset.labels.is_regions
                write_logits(contender.logits(case.identifier), prediction, exclusive)
                done += 1
                project.report("logits", done, total, case.identifier)


def train_command(project: Project, trained: TrainedModel, fold: str) -> str:
    """The command that trains a fold of a model as its others were, or validates it again."""
    first = _first_begun(trained.folder)
    record = {} if first is None else files.read_json(first / RECORD_FILE)
    planner = trained.plan.planner
    settings = {
        **{f"planner.{name}": value for name, value in planner.options.items()},
        **record.get("settings", {}),
    }
    parts = ["nnseg", "train", str(project.dataset.folder), trained.name, "--fold", fold]
    parts += ["--name", trained.folder.name]
    parts += ["--planner", planner.name] * (planner.name != "standard")
    if (plan := _plan_name(project, trained, settings)) not in (None, planner.name):
        parts += ["--plan", str(plan)]
    parts += _start(first)
    if previous := record.get("previous"):
        parts += ["--previous", previous]
    usual = {field.name: field.default for field in fields(Configuration)}
    for part in CHOSEN_PARTS:
        reference = getattr(trained.configuration, part)
        if reference.name != getattr(usual[part], "name", None):
            parts += [f"--{part}", reference.name]
    if seed := record.get("seed"):
        parts += ["--seed", str(seed)]
    for path, value in settings.items():
        parts += ["--set", f"{path}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*parts, "--workspace", str(project.workspace.root)])


def _chosen_folds(splits: Sequence[Split], folds: Sequence[str] | None) -> tuple[str, ...]:
    there = tuple(str(number) for number in range(len(splits)))
    wanted = folds_wanted(folds or [EACH], len(splits))
    unknown = [fold for fold in wanted if fold not in there]
    if unknown:
        raise NnsegError(f"there is no fold {', '.join(unknown)}. There are: {', '.join(there)}.")
    return tuple(fold for fold in there if fold in wanted)


def _models(project: Project, names: Sequence[str] | None) -> list[TrainedModel]:
    parent = project.workspace.model(project.name, "")
    found = {
        path.parent.name: path.parent
        for path in sorted(parent.glob(f"*/{MODEL_FILE}"))
        if not path.parent.name.startswith(".") and not is_ensemble(path.parent)
        if (path.parent / PLAN_FILE).is_file() and any(path.parent.glob(f"fold_*/{WEIGHTS_FILE}"))
    }
    unknown = [name for name in names or () if name not in found]
    if unknown or not found:
        raise ModelError(
            f"{parent} has no trained model{' named ' if unknown else ''}{', '.join(unknown)}. "
            f"There are: {', '.join(found) or 'none yet'}."
        )
    return [open_model(folder) for name, folder in found.items() if not names or name in names]


def _lacks(
    project: Project, trained: TrainedModel, splits: Sequence[Split], folds: Sequence[str]
) -> str:
    """What a model lacks to be compared, with the commands that would mend it; empty if nothing."""
    if trained.plan.dataset.labels != project.dataset.description.labels:
        return "its labels are not those of dataset.json."
    problems = {fold: _fold_lacks(trained, fold, splits[int(fold)]) for fold in folds}
    reasons = [f"fold {fold} {problem}" for fold, problem in problems.items() if problem]
    if not reasons:
        return ""
    commands = [f"  {train_command(project, trained, f)}" for f in folds if problems[f]]
    return "\n".join([f"{', '.join(reasons)}. Run:", *commands])


def _fold_lacks(trained: TrainedModel, fold: str, split: Split) -> str:
    if fold not in trained.folds:
        return "is not trained"
    folder = fold_folder(trained.folder, fold)
    recorded = recorded_split(folder / RECORD_FILE)
    if recorded is not None and not split.agrees_with(recorded):
        return "was trained with other folds"
    ending = trained.plan.dataset.file_ending
    masks = [folder / "validation" / f"{case}{ending}" for case in split.validation]
    complete = (folder / "validation" / "summary.json").is_file()
    return "" if complete and all(mask.is_file() for mask in masks) else "is not validated"


def _without_logits(contender: Contender, fold: str, cases: Sequence[CaseRef]) -> list[CaseRef]:
    return [
        case
        for case in cases
        if contender.fold_of[case.identifier] == fold
        and not contender.logits(case.identifier).is_file()
    ]


def _plan_name(project: Project, trained: TrainedModel, settings: Mapping[str, Any]) -> str | None:
    """The plan in the workspace that becomes the model's with its settings and parts."""
    own = trained.configuration
    for path in sorted(project.workspace.dataset(project.name).glob(f"*/{PLAN_FILE}")):
        plan = files.read_plan(path)
        if plan.planner != trained.plan.planner or trained.name not in plan.configurations:
            continue
        decided = {
            name: value
            for name, value in settings_for(trained.name, plan, settings).items()
            if name.partition(".")[0] not in (*PARTS, "planner")
        }
        try:
            planned = apply_settings(plan.configurations[trained.name], decided)
        except PlanError:  # it has been edited since, so that they do not fit
            continue
        if replace(planned, **{part: getattr(own, part) for part in PARTS}) == own:
            return path.parent.name
    return None


def _first_begun(folder: Path) -> Path | None:
    """The first of a model's folds that has a record of its training."""
    records = sorted(folder.glob(f"fold_*/{RECORD_FILE}"))
    return records[0].parent if records else None


def _start(fold: Path | None) -> list[str]:
    """The options that say which weights a fold began with; none where it began from nothing."""
    start = None if fold is None else started_from(fold)
    if start is None:
        return []
    named = [] if start.fold is None else ["--source-fold", start.fold]
    return ["--from", str(start.model), *named, *["--adapt"] * start.adapted]
