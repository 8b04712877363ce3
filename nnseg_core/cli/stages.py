"""The stage before a cascade, on the command line: where its model is, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnseg_core.cli.options import folder_name
from nnseg_core.errors import PlanError

if TYPE_CHECKING:
    from nnseg_core.pipeline.cascade import EarlierStage
    from nnseg_core.plan import Plan
    from nnseg_core.project import Project
    from nnseg_core.splits import Split, Splits


def earlier_folder(
    project: Project,
    plan: Plan,
    name: str,
    plan_name: str,
    parts: Mapping[str, str | None],
    given: str | None,
) -> Path | None:
    """The model folder of the stage before: the one ``given``, else the one its parts name.

    None where there is no stage before; then nothing may be given.
    """
    from nnseg_core.cli.order import model_name

    stage = plan.configurations[name].previous
    if stage is None:
        if given is not None:
            raise PlanError(f"--previous {given}: {name} is no cascade, it follows nothing.")
        return None
    chosen = model_name(plan_name, stage, plan, parts)
    if given is not None:
        chosen = folder_name("--previous", given)
    return project.workspace.model(project.name, chosen)


def with_earlier(plan: Plan, name: str, folder: Path | None, settings: Mapping[str, Any]) -> Plan:
    """The plan whose stage before ``name`` is as in ``folder``, if it is trained there.

    Settings for that stage by name say otherwise; they must then be those of the folder.
    """
    from nnseg_core.pipeline.cascade import as_trained

    stage = plan.configurations[name].previous
    if stage is None or folder is None or any(path.startswith(f"{stage}.") for path in settings):
        return plan
    return as_trained(folder, plan, stage)


def stages_before(
    project: Project,
    plan: Plan,
    name: str,
    folder: Path | None,
    splits: Mapping[str, Split],
    write: bool = True,
) -> dict[str, EarlierStage]:
    """What each of some folds of a cascade starts from; nothing for other configurations."""
    from nnseg_core.pipeline import earlier_stage

    if folder is None:
        return {}
    found = {}
    for fold, split in splits.items():
        cases = tuple(sorted({*split.train, *split.validation}))
        folds = folds_of(project, fold, write)
        found[fold] = earlier_stage(plan, name, folder, fold, folds, cases)
    return found


def folds_of(project: Project, fold: str, write: bool = True) -> Splits | None:
    """All folds; None where there are too few cases, which fold ``all`` can do without."""
    from nnseg_core.pipeline.drawing_folds import FOLDS
    from nnseg_core.pipeline.splitting import current_state, read_or_make_all_splits

    drawn = project.workspace.splits(project.name).is_file()
    if fold == "all" and not drawn and len(project.dataset.cases) < FOLDS:
        return None
    return read_or_make_all_splits(project) if write else current_state(project).splits


def says(earlier: Iterable[EarlierStage], name: str) -> str:
    """What a cascade starts from, and what of it is missing; nothing where there is none."""
    stages = list(earlier)
    if not stages:
        return ""
    needed = dict.fromkeys(fold for stage in stages for fold in stage.folds)
    missing = dict.fromkeys(fold for stage in stages for fold in stage.missing)
    said = f"{name} starts from segmentations by {stages[0].name} ({stages[0].folder})."
    if not missing:
        return f"{said} It is trained: {_folds(needed)}."
    done = _folds(fold for fold in needed if fold not in missing)
    there = f" {done} there." if done else ""
    return f"{said}{there} Missing, and trained first: {_folds(missing)}."


def _folds(folds: Iterable[str]) -> str:
    named = list(folds)
    return f"fold{'s' if len(named) > 1 else ''} {', '.join(named)}" if named else ""
