"""``nnseg plan``: decide how to train on a dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nnseg_core.cli.check import require_usable
from nnseg_core.cli.options import (
    Memory,
    PlanName,
    PlannerName,
    Settings,
    Workers,
    WorkspacePath,
    folder_name,
    named_parts,
    open_project,
    parse_numbers,
    parse_settings,
    planner_options,
)
from nnseg_core.errors import PlanError
from nnseg_core.plan import ComponentRef, Plan


def plan(
    context: typer.Context,
    dataset: Annotated[
        Path | None, typer.Argument(metavar="[DATASET]", help="Dataset folder.")
    ] = None,
    planner: PlannerName = "standard",
    memory: Memory = None,
    spacing: Annotated[
        str | None,
        typer.Option(help="Target spacing in mm, z,y,x as the images have them: 0.8,0.9,1.1."),
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    trust: Annotated[
        list[str] | None, typer.Option(help="Import path that may be followed. Repeatable.")
    ] = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Check and measure a dataset, and decide how to train on it. Any earlier plan is replaced.

    Example: nnseg plan Dataset004_Hippocampus --memory 16GB
    """
    given = parse_settings(settings)
    own, others = planner_options(given, memory)
    if spacing:
        own["spacing"] = parse_numbers(spacing, float)
    if patch_size:
        own["patch_size"] = parse_numbers(patch_size, int)
    reference = ComponentRef(name=planner, options=own)
    typed = [planner, *named_parts(given), *(trust or ())]
    name = plan_folder(planner, plan_name)
    if fingerprint is not None:
        made = _from_fingerprint(context, reference, fingerprint, dataset_json, typed, others)
    elif dataset is None:
        raise PlanError("give a dataset folder, or --fingerprint with --dataset-json.")
    else:
        from nnseg_core.pipeline import make_plan

        project = open_project(context.obj, dataset, workspace, workers, typed)
        require_usable(project, reference)
        made = make_plan(project, reference, name, others)
        from nnseg_core.cli.display import note

        note(f"plan: {project.workspace.plan(project.name, name)}")
    if as_json:
        print(as_text(made))
    else:
        show_plan(made)


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


def show_plan(plan: Plan) -> None:
    """Print what was decided, one column per configuration."""
    from nnseg_core.cli.display import table

    names = list(plan.configurations)
    chosen = [plan.configurations[name] for name in names]

    def row(title: str, values: Sequence[Any]) -> tuple[str, ...]:
        return (title, *map(str, values))

    table(
        ("", *names),
        [
            row("spacing (mm)", [_numbers(c.spacing) for c in chosen]),
            row("median shape", [_numbers(c.median_shape) for c in chosen]),
            row("patch size", [_numbers(c.patch_size) for c in chosen]),
            row("batch size", [c.batch_size for c in chosen]),
            row("stages", [len(c.features) for c in chosen]),
            row("features", [f"{c.features[0]} to {c.features[-1]}" for c in chosen]),
            row("strides", [_rows(c.strides) for c in chosen]),
            row("kernels", [_rows(c.kernel_sizes) for c in chosen]),
            row("normalization", [", ".join(dict.fromkeys(c.normalization)) for c in chosen]),
            row("network", [c.architecture.name for c in chosen]),
            row("after", [c.previous or "" for c in chosen]),
        ],
        title=f"{plan.dataset.name}: axes in the order {', '.join('zyx'[a] for a in plan.axes)}",
    )


def as_text(plan: Plan) -> str:
    """A plan as JSON."""
    from dataclasses import asdict

    return json.dumps(asdict(plan), indent=2)


def _from_fingerprint(
    context: typer.Context,
    planner: ComponentRef,
    fingerprint: Path,
    dataset_json: Path | None,
    typed: Sequence[str],
    settings: dict[str, Any],
) -> Plan:
    from nnseg_core import files
    from nnseg_core.dataset import read_description
    from nnseg_core.pipeline import plan_from_fingerprint

    if dataset_json is None:
        raise PlanError("--fingerprint needs --dataset-json: the channels and labels are in it.")
    description, _ = read_description(dataset_json)
    return plan_from_fingerprint(
        context.obj,
        planner,
        description,
        files.read_fingerprint(fingerprint),
        frozenset(typed),
        settings,
    )


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _rows(rows: Sequence[Sequence[int]]) -> str:
    return " ".join("".join(map(str, row)) for row in rows)
