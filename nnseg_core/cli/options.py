"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nnseg_core.dataset import open_dataset
from nnseg_core.errors import PlanError
from nnseg_core.parallel import PATIENCE, Crew, default_workers
from nnseg_core.plugins import Plugins
from nnseg_core.project import Project
from nnseg_core.workspace import VARIABLE, find_workspace

DatasetPath = Annotated[
    Path,
    typer.Argument(metavar="DATASET", help="Dataset folder with dataset.json, imagesTr, labelsTr."),
]
WorkspacePath = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        envvar=VARIABLE,
        help="Folder for everything nnseg writes. Default: your platform's data folder.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes for whole cases; 0 works in this one.  [default: one per core, at most 8]",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PART.OPTION=VALUE",
        help="Set an option of a part: trainer.epochs=250, planner.memory=16, ... Repeatable; "
        "'nnseg plugins KIND NAME' lists them.",
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(help="Target spacing in mm, z,y,x as the images have them: 0.8,0.9,1.1."),
]
PlannerName = Annotated[
    str,
    typer.Option("--planner", help="Planner: a name from 'nnseg plugins', or module:attribute."),
]
PlanName = Annotated[
    str | None,
    typer.Option("--plan", help="Name under which the plan is kept.  [default: the planner's]"),
]
Memory = Annotated[
    str | None,
    typer.Option(help="GPU memory to plan for, such as 16GB. Short for --set planner.memory=16."),
]
ConfigurationName = Annotated[
    str, typer.Argument(help="2d, 3d_fullres, ...: a configuration of the plan.")
]
Trainer = Annotated[str | None, typer.Option(help="Trainer: a name, or module:attribute.")]
Loss = Annotated[str | None, typer.Option(help="Loss: a name, or module:attribute.")]
Architecture = Annotated[str | None, typer.Option(help="Network: a name, or module:attribute.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Trust = Annotated[
    list[str] | None, typer.Option(help="Import path that a plan may name. Repeatable.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done and what it costs; write nothing."),
]
FreezePlan = Annotated[
    bool,
    typer.Option(
        "--freeze-plan",
        help="Let new cases join without a new plan: only they are checked and preprocessed.",
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. auto takes the best there is.")
]

PATIENCE_VARIABLE = "NNSEG_PATIENCE"
"""Minutes without any progress after which work on cases is ended; 15 where it is not set."""


def open_project(
    plugins: Plugins,
    dataset: Path,
    workspace: Path | None,
    workers: int | None = None,
    typed: Iterable[str | None] = (),
    freeze_plan: bool = False,
) -> Project:
    """The dataset in its workspace; says where that is when nobody chose it."""
    from nnseg_core.cli.display import note, reporter

    place = find_workspace(workspace)
    if workspace is None:
        note(f"workspace: {place.root}  (choose another with --workspace or {VARIABLE})")
    return Project(
        dataset=open_dataset(dataset.resolve()),
        workspace=place,
        plugins=plugins,
        workers=default_workers() if workers is None else workers,
        report=reporter(),
        note=note,
        freeze_plan=freeze_plan,
        crew=Crew(patience=_patience()),
        typed=frozenset(reference for reference in typed if reference),
    )


def _patience() -> float:
    """Seconds, from minutes in the environment."""
    minutes = os.environ.get(PATIENCE_VARIABLE)
    if minutes is None:
        return PATIENCE
    try:
        value = float(minutes)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise PlanError(f"{PATIENCE_VARIABLE} is {minutes!r}: it must be a number of minutes.")
    return 60 * value


def parse_settings(given: Iterable[str] | None) -> dict[str, Any]:
    """``["a.b=1"]`` becomes ``{"a.b": 1}``: values are JSON, or else text."""
    settings: dict[str, Any] = {}
    for item in given or ():
        path, equals, value = item.partition("=")
        if not equals or not path.strip():
            raise PlanError(f"--set {item}: write PART.OPTION=VALUE, such as trainer.epochs=250.")
        settings[path.strip()] = _json_or_text(value)
    return settings


def folder_name(option: str, name: str) -> str:
    """``name``, if it can be the name of one folder. Raises ``PlanError``."""
    if not name.strip(". ") or set(name) & set("/\\:\0"):
        raise PlanError(f"{option} {name!r}: it names a folder, so no path, colon or empty name.")
    return name


def named_parts(settings: Mapping[str, Any]) -> list[str]:
    """References that ``--set PART=REFERENCE`` typed, those of normalizations included."""
    references = [v for path, v in settings.items() if "." not in path and isinstance(v, str)]
    for path, value in settings.items():
        if path.rpartition(".")[2] == "normalization":
            entries = value.values() if isinstance(value, Mapping) else value
            references += [entry for entry in entries if isinstance(entry, str)]
    return references


def planner_options(
    settings: Mapping[str, Any], memory: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings for the planner, and all others."""
    prefix = "planner."
    own = {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}
    others = {path: value for path, value in settings.items() if not path.startswith(prefix)}
    if memory is not None:
        own["memory"] = parse_memory(memory)
    return own, others


def parse_memory(text: str) -> float:
    """``16GB`` or ``16`` is 16.0, in GB."""
    number = text.strip().lower().removesuffix("gib").removesuffix("gb").removesuffix("g").strip()
    try:
        value = float(number)
    except ValueError:
        raise PlanError(f"--memory {text}: write it like 16GB.") from None
    if not 0 < value < math.inf:
        raise PlanError(f"--memory {text}: it must be more than 0, and finite.")
    return value


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def spacing_option(spacing: str | None) -> dict[str, Any]:
    """``--spacing`` as an option of the planner."""
    return {"spacing": parse_numbers(spacing, float)} if spacing else {}


def parse_numbers(text: str, number: type) -> list[Any]:
    """``0.8,0.9,1.1``, ``0.8 0.9 1.1`` or ``40x56x40`` as a list."""
    try:
        return [number(part) for part in text.replace(",", " ").replace("x", " ").split()]
    except ValueError:
        raise PlanError(f"{text!r} is not a list of numbers; write it like 40,56,40.") from None
