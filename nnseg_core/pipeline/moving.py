"""Use the plan of one dataset for another: both are then trained on the same grid and network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnseg_core import files, kinds
from nnseg_core.dataset import DatasetDescription
from nnseg_core.errors import PlanError
from nnseg_core.model_folder import PLAN_FILE
from nnseg_core.pipeline.examine import examine, require_clean
from nnseg_core.pipeline.planning import plan_from_fingerprint
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.project import Project, apply_plan_settings, check_parts
from nnseg_core.transfer.adopting import adopt_plan
from nnseg_core.transfer.matching import counterparts


def move_plan(
    project: Project,
    planner: ComponentRef,
    name: str,
    source: Path,
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """Take another dataset's plan for this one, and write it under ``name``.

    Spacing, patches, networks, normalisation and its intensities are the source's; labels, and the
    parts that train and predict, are those that this dataset would have.

    Raises ``PlanError`` where there is no plan at ``source``, or its channels are others.
    """
    path = find_plan(source)
    given = files.read_plan(path)
    require_same_channels(given, project.dataset.description, path)
    measuring = project.build(kinds.PLANNER, planner)
    fingerprint = require_clean(examine(project, measuring, whole=True))
    description = project.dataset.description
    own = plan_from_fingerprint(project.plugins, planner, description, fingerprint, project.typed)
    plan = apply_plan_settings(adopt_plan(given, own), settings or {})
    for configuration in plan.configurations.values():
        check_parts(project, configuration, plan.dataset)
    files.write_json(project.workspace.plan(project.name, name), plan)
    project.plugins.manager.hook.nnseg_plan_made(plan=plan, description=description)
    return plan


def find_plan(source: Path) -> Path:
    """The ``plan.json`` that is meant: a file, a model folder, or a dataset's in a workspace.

    Raises ``PlanError`` where there is none, or several.
    """
    if source.is_file():
        return source
    if (source / PLAN_FILE).is_file():
        return source / PLAN_FILE
    found = sorted(source.glob(f"*/{PLAN_FILE}"))
    if len(found) > 1:
        named = ", ".join(str(path) for path in found)
        raise PlanError(f"{source} has several plans; give one of them: {named}.")
    if not found:
        raise PlanError(
            f"there is no plan at {source}. Give a plan.json, the folder of a model, or that of a "
            "plan: WORKSPACE/datasets/DATASET/PLAN."
        )
    return found[0]


def require_same_channels(plan: Plan, description: DatasetDescription, source: Path) -> None:
    """Raise ``PlanError`` where a plan is for other channels; their order does not matter."""
    ours, theirs = description.channels, plan.dataset.channels
    if len(ours) == len(theirs) and None not in counterparts(ours, theirs):
        return
    raise PlanError(
        f"the plan {source} is for the channels {', '.join(theirs)}, but {description.name} has "
        f"{', '.join(ours)}. How a channel is normalised goes by its name: where both mean the "
        "same, write the same into channel_names of dataset.json. Else make a plan of its own "
        "with nnseg plan, without --from."
    )
