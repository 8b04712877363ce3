"""Step 2: decide everything from the measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nnseg_core import files, kinds
from nnseg_core.contracts import Planner
from nnseg_core.dataset import DatasetDescription
from nnseg_core.errors import PlanError
from nnseg_core.fingerprint import Fingerprint
from nnseg_core.normalizing import planning_facts
from nnseg_core.pipeline.examine import examine, require_clean
from nnseg_core.pipeline.examined import came_to_frozen_plan
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.plugins import Plugins
from nnseg_core.project import Project, apply_plan_settings, check_parts


def plan_from_fingerprint(
    plugins: Plugins,
    planner: ComponentRef,
    description: DatasetDescription,
    fingerprint: Fingerprint,
    typed: frozenset[str] = frozenset(),
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """A plan without any image: hospitals can share fingerprints instead.

    ``settings`` change what was decided, as ``--set`` does.
    """
    resolved = plugins.resolve(kinds.PLANNER, planner.name, typed=planner.name in typed)
    built: Planner = resolved.build(planner.options, **planning_facts(plugins))
    reference = built.architecture
    architecture = plugins.resolve(
        kinds.ARCHITECTURE, reference.name, typed=reference.name in typed
    ).build(reference.options)
    plan = built.plan(description, fingerprint, architecture)
    return apply_plan_settings(replace(plan, planner=planner), settings or {})


def make_plan(
    project: Project, planner: ComponentRef, name: str, settings: Mapping[str, Any] | None = None
) -> Plan:
    """Check, measure and plan a dataset, and write the plan under ``name``.

    Raises ``DatasetError`` with all errors of the dataset, or what is wrong with ``settings``,
    before anything is written.
    """
    measuring = project.build(kinds.PLANNER, planner)
    fingerprint = require_clean(examine(project, measuring, whole=True))
    plan = plan_from_fingerprint(
        project.plugins,
        planner,
        project.dataset.description,
        fingerprint,
        project.typed,
        settings,
    )
    if settings:
        for configuration in plan.configurations.values():
            check_parts(project, configuration, plan.dataset)
    files.write_json(project.workspace.plan(project.name, name), plan)
    project.plugins.manager.hook.nnseg_plan_made(plan=plan, description=project.dataset.description)
    return plan


def read_or_make_plan(project: Project, planner: ComponentRef, name: str) -> Plan:
    """The plan of that name as it stands, edited or not; made now where there is none.

    Raises ``PlanError`` when channels or labels have changed since the plan was made, or
    ``planner`` has options that it was not made with.
    """
    path = project.workspace.plan(project.name, name)
    if not path.is_file() and not project.freeze_plan:
        return make_plan(project, planner, name)
    plan = files.read_plan(path)
    description = project.dataset.description
    if plan.dataset != description and not _frozen(project, plan):
        grown = replace(plan.dataset, training_cases=description.training_cases) == description
        raise PlanError(
            f"{project.dataset.folder / 'dataset.json'} has changed since the plan {path} was "
            "made. Run nnseg plan again"
            + (", or let the new cases join this plan with --freeze-plan." if grown else ".")
        )
    asked = {**plan.planner.options, **planner.options}
    if planner.options and (plan.planner.name != planner.name or asked != plan.planner.options):
        raise PlanError(
            f"the plan {path} was made with other options of the planner. Run nnseg plan to "
            "replace it, or keep another one beside it with --plan NAME."
        )
    return plan


def _frozen(project: Project, plan: Plan) -> bool:
    """Whether only the number of cases has changed, and new ones join a frozen plan."""
    known = replace(plan.dataset, training_cases=project.dataset.description.training_cases)
    if known != project.dataset.description:
        return False
    return project.freeze_plan or bool(came_to_frozen_plan(project))
