"""``nnseg bench``: how fast this machine trains and predicts, and what limits it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import (
    ConfigurationName,
    Device,
    PlanName,
    PlannerName,
    Settings,
    Trainer,
    Trust,
    Workers,
    WorkspacePath,
    named_parts,
    open_project,
    parse_settings,
)
from nnseg_core.cli.order import chosen_plan, ordered, trial
from nnseg_core.errors import NnsegError
from nnseg_core.plan import Plan

if TYPE_CHECKING:
    from nnseg_core.pipeline.benching import Bench

PHANTOM = "Dataset000_Phantom"
PHANTOM_BATCH = 2  # nnU-Net's least, so that a CPU has an answer within a minute


def bench(
    context: typer.Context,
    dataset: Annotated[
        Path | None,
        typer.Argument(metavar="[DATASET]", help="Dataset folder.  [default: a phantom]"),
    ] = None,
    configuration: ConfigurationName = "3d_fullres",
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps to time, at least; a few more warm up.")
    ] = 10,
    stages: Annotated[
        bool, typer.Option(help="Time reading, preprocessing, predicting and exporting a case.")
    ] = True,
    trainer: Trainer = None,
    settings: Settings = None,
    planner: PlannerName = "standard",
    plan_name: PlanName = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    trust: Trust = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Time training steps and a prediction, on real and on dummy data, and name the bottleneck.

    Takes about a minute, after what a training would prepare too. No model is touched.

    Example: nnseg bench Dataset004_Hippocampus 3d_fullres --set trainer.batch_size=2
    """
    from nnseg_core.pipeline.benching import as_record, remember
    from nnseg_core.pipeline.benching import bench as run

    given = parse_settings(settings)
    typed = [planner, trainer, *named_parts(given), *(trust or ())]
    with tempfile.TemporaryDirectory() as temporary:
        if dataset is None:
            given = {"batch_size": PHANTOM_BATCH, **given}
        folder = dataset or _phantom(Path(temporary))
        place = workspace if dataset else Path(temporary) / "workspace"
        project = open_project(context.obj, folder, place, workers, typed)
        parts = {"trainer": trainer}
        order = ordered(configuration, planner, plan_name, given, parts=parts, device=device)
        plan = chosen_plan(project, order)
        _require_no_cascade(plan, configuration)
        request = trial(project, order, plan, "0", Path(temporary))
        request = replace(request, workers=min(project.workers, 1))
        measured = run(project, request, steps, stages)
        if dataset:
            remember(project, order.plan_name, configuration, measured)
    if as_json:
        print(json.dumps(as_record(measured), indent=2))
    else:
        show(measured)


def _require_no_cascade(plan: Plan, name: str) -> None:
    if plan.configurations[name].previous:
        raise NnsegError(
            f"{name} starts from segmentations by {plan.configurations[name].previous}, which "
            "takes a training. Its steps last as long as those of 3d_fullres: bench that."
        )


def show(measured: Bench) -> None:
    """Print what was measured, and the sentence that says what it means."""
    from nnseg_core.cli.display import table

    share, memory = measured.peak_share, measured.memory
    table(
        (f"{measured.device}, {measured.precision}", f"batches of {measured.batch_size}"),
        [
            ("step", f"{measured.real.milliseconds:.1f} ms"),
            ("step with dummy data", f"{measured.dummy.milliseconds:.1f} ms"),
            ("waiting for data", f"{measured.waiting_share * measured.real.milliseconds:.1f} ms"),
            ("samples per second", f"{measured.samples_per_second:.2f}"),
            (
                "share of the device's peak",
                "not counted"
                if share is None
                else f"{share:.0%} of {measured.peak / 1e12:.2f} TFLOP/s (a large matrix product)",
            ),
            ("memory at most", "not told" if memory is None else f"{memory / 1e9:.2f} GB"),
            *(
                (f"{stage} {measured.stage_case}", f"{seconds:.3f} s")
                for stage, seconds in measured.stages.items()
            ),
        ],
    )
    print(f"What limits training here: {measured.bottleneck}")


def _phantom(folder: Path) -> Path:
    from nnseg_core.testing.phantoms import write_phantom

    write_phantom(folder / PHANTOM)
    return folder / PHANTOM
