"""``nnseg plan``: decide how to train on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnseg_core.cli.check import require_usable
from nnseg_core.cli.options import (
    Memory,
    PlanName,
    PlannerName,
    Settings,
    Spacing,
    Trust,
    Workers,
    WorkspacePath,
    folder_name,
    named_parts,
    open_project,
    parse_numbers,
    parse_settings,
    planner_options,
    spacing_option,
)
from nnseg_core.cli.painting import show_painting
from nnseg_core.cli.plan_table import as_text, show_plan
from nnseg_core.cli.sides import show_sides
from nnseg_core.errors import PlanError
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.writing import require_file

if TYPE_CHECKING:
    from nnseg_core.explanation import Reason
    from nnseg_core.fingerprint import Fingerprint
    from nnseg_core.pipeline.costs import Cost
    from nnseg_core.plugins import Plugins
    from nnseg_core.project import Project


def plan(
    context: typer.Context,
    dataset: Annotated[
        Path | None, typer.Argument(metavar="[DATASET]", help="Dataset folder.")
    ] = None,
    planner: PlannerName = "standard",
    memory: Memory = None,
    spacing: Spacing = None,
    patch_size: Annotated[
        str | None,
        typer.Option(help="Patch size for configurations with that many axes: 40,56,40."),
    ] = None,
    settings: Settings = None,
    plan_name: PlanName = None,
    fingerprint: Annotated[
        Path | None,
        typer.Option(help="Plan from a fingerprint (ours or nnU-Net's), without images."),
    ] = None,
    dataset_json: Annotated[
        Path | None, typer.Option(help="The dataset.json that belongs to --fingerprint.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PLAN|MODEL",
            help="Take the plan of another dataset or model; only the labels are this dataset's.",
        ),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Explain each choice with its numbers; draw the networks.")
    ] = False,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw the networks into a picture.", dir_okay=False),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the plan as JSON; with --why, reasons and costs too."),
    ] = False,
    trust: Trust = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Check and measure a dataset, and decide how to train on it. Any earlier plan is replaced.

    `--why` and `--draw` by themselves show the plan that is there, edited or not, and keep it.

    Example: nnseg plan Dataset004_Hippocampus --memory 16GB
    """
    if draw is not None:
        require_file(draw)  # before the work
    given = parse_settings(settings)
    own, others = planner_options(given, memory)
    own |= spacing_option(spacing)
    if patch_size:
        own["patch_size"] = parse_numbers(patch_size, int)
    reference = ComponentRef(name=planner, options=own)
    typed = [planner, *named_parts(given), *(trust or ())]
    name = plan_folder(planner, plan_name)
    if source is not None and (own or fingerprint is not None or why):
        raise PlanError(
            "--from takes spacing, patches and networks from another plan: leave out what would "
            "decide or explain them (--memory, --spacing, --patch-size, --fingerprint, --why)."
        )
    if fingerprint is not None:
        made, measured = _from_fingerprint(
            context, reference, fingerprint, dataset_json, typed, others
        )
        subject = _Subject(made, measured, context.obj, frozenset(typed))
    elif dataset is None:
        raise PlanError("give a dataset folder, or --fingerprint with --dataset-json.")
    else:
        from nnseg_core import files

        project = open_project(context.obj, dataset, workspace, workers, typed)
        require_usable(project, reference)
        keep = (why or draw is not None) and not given and not own
        made = _of_dataset(project, reference, name, others, source, keep)
        measured = files.read_fingerprint(project.workspace.fingerprint(project.name))
        subject = _Subject(made, measured, context.obj, frozenset(typed), project, name)
    if draw is not None:
        _draw(subject, draw)
    if as_json:
        print(as_text(made, *(_explained(subject) if why else ())))
    else:
        _show(subject, why)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A plan that was made, and what it takes to explain it; no project without images."""

    plan: Plan
    fingerprint: Fingerprint
    plugins: Plugins
    typed: frozenset[str]
    project: Project | None = None
    plan_name: str = ""


def _of_dataset(
    project: Project,
    planner: ComponentRef,
    name: str,
    settings: dict[str, Any],
    source: Path | None,
    keep: bool,
) -> Plan:
    """The plan, made anew unless one that is there is to be kept; says where it is."""
    from nnseg_core.cli.display import note
    from nnseg_core.pipeline import make_plan, move_plan, read_or_make_plan

    path = project.workspace.plan(project.name, name)
    if source is not None:
        made = move_plan(project, planner, name, source, settings)
    elif keep and path.is_file():
        made = read_or_make_plan(project, planner, name)
        note("the plan that is there is shown as it stands; nnseg plan alone makes it anew")
    else:
        made = make_plan(project, planner, name, settings)
    note(f"plan: {path}")
    return made


def _show(subject: _Subject, why: bool) -> None:
    """Print a plan and its cost; before the cost, the reasons and networks if asked for."""
    from nnseg_core.cli.display import note
    from nnseg_core.cli.dry_run import show_costs
    from nnseg_core.parallel import default_workers

    show_plan(subject.plan)
    show_painting(subject.plan.dataset.labels)
    show_sides(subject.plan)
    reasons, costs = _explained(subject) if why else (None, _costs(subject))
    if why:
        from nnseg_core.cli.reasons import show_diagrams, show_reasons
        from nnseg_core.pipeline.explaining import diagrams

        if reasons is None:
            note(f"planner {subject.plan.planner.name!r} gives no reasons for its choices.")
        else:
            show_reasons(reasons)
        show_diagrams(diagrams(subject.plugins, subject.plan, subject.typed))
    workers = subject.project.workers if subject.project else default_workers()
    show_costs(costs, len(subject.fingerprint.shapes), workers)


def _draw(subject: _Subject, path: Path) -> None:
    from nnseg_core.diagram import as_svg
    from nnseg_core.files import write_text
    from nnseg_core.pipeline.explaining import diagrams

    write_text(path, as_svg(diagrams(subject.plugins, subject.plan, subject.typed)))


def _explained(subject: _Subject) -> tuple[tuple[Reason, ...] | None, dict[str, Cost]]:
    from nnseg_core.pipeline.explaining import explain_plan

    reasons = explain_plan(subject.plugins, subject.plan, subject.fingerprint, subject.typed)
    return reasons, _costs(subject)


def _costs(subject: _Subject) -> dict[str, Cost]:
    from nnseg_core.pipeline.rehearsal import costs

    project = subject.project
    return costs(
        subject.plugins,
        subject.plan,
        subject.fingerprint,
        subject.typed,
        project.workspace.bench if project else None,
        (project.name if project else "", subject.plan_name),
    )


def require_configuration(plan: Plan, name: str) -> str:
    """``name``, if the plan has it. Raises ``PlanError`` listing those it has."""
    if name not in plan.configurations:
        hint = ""
        if name in ("3d_lowres", "3d_cascade_fullres") and "3d_fullres" in plan.configurations:
            hint = " The images are small enough for 3d_fullres to see them nearly whole."
        raise PlanError(
            f"the plan for {plan.dataset.name} has no configuration {name!r}. "
            f"It has: {', '.join(plan.configurations)}.{hint}"
        )
    return name


def plan_folder(planner: str, name: str | None) -> str:
    """The folder of a plan: ``name``, or the planner's, whose import path has a colon."""
    return planner.replace(":", ".") if name is None else folder_name("--plan", name)


def _from_fingerprint(
    context: typer.Context,
    planner: ComponentRef,
    fingerprint: Path,
    dataset_json: Path | None,
    typed: Sequence[str],
    settings: dict[str, Any],
) -> tuple[Plan, Fingerprint]:
    from nnseg_core import files
    from nnseg_core.dataset import read_description
    from nnseg_core.pipeline import plan_from_fingerprint

    if dataset_json is None:
        raise PlanError("--fingerprint needs --dataset-json: the channels and labels are in it.")
    description, _ = read_description(dataset_json)
    measured = files.read_fingerprint(fingerprint)
    plan = plan_from_fingerprint(
        context.obj, planner, description, measured, frozenset(typed), settings
    )
    return plan, measured
