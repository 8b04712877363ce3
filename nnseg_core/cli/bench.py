"""``nnseg bench``: how fast this machine trains and predicts, and what limits it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.check import require_usable
from nnseg_core.cli.options import (
    Device,
    PlanName,
    PlannerName,
    Settings,
    Workers,
    WorkspacePath,
    named_parts,
    open_project,
    parse_settings,
    planner_options,
)
from nnseg_core.cli.order import with_choices
from nnseg_core.cli.plan import plan_folder, require_configuration
from nnseg_core.errors import NnsegError
from nnseg_core.plan import ComponentRef, Plan

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
    configuration: Annotated[
        str, typer.Argument(help="2d, 3d_fullres, ...: a configuration of the plan.")
    ] = "3d_fullres",
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps to time, at least; a few more warm up.")
    ] = 10,
    stages: Annotated[
        bool, typer.Option(help="Time reading, preprocessing, predicting and exporting a case.")
    ] = True,
    trainer: Annotated[
        str | None, typer.Option(help="Trainer: a name, or module:attribute.")
    ] = None,
    settings: Settings = None,
    planner: PlannerName = "standard",
    plan_name: PlanName = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    trust: Annotated[
        list[str] | None, typer.Option(help="Import path that a plan may name. Repeatable.")
    ] = None,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Time training steps and a prediction, on real and on dummy data, and name the bottleneck.

    Takes about a minute, after what a training would prepare too. No model is touched.

    Example: nnseg bench Dataset004_Hippocampus 3d_fullres --set trainer.batch_size=2
    """
    from nnseg_core.pipeline import (
        TrainingRequest,
        preprocess,
        read_or_make_plan,
        read_or_make_splits,
    )
    from nnseg_core.pipeline.benching import as_record, remember
    from nnseg_core.pipeline.benching import bench as run

    given = parse_settings(settings)
    own, others = planner_options(given)
    typed = [planner, trainer, *named_parts(given), *(trust or ())]
    with tempfile.TemporaryDirectory() as temporary:
        if dataset is None:
            others = {"batch_size": PHANTOM_BATCH, **others}
        folder = dataset or _phantom(Path(temporary))
        place = workspace if dataset else Path(temporary) / "workspace"
        project = open_project(context.obj, folder, place, workers, typed)
        plan_name = plan_folder(planner, plan_name)
        reference = ComponentRef(name=planner, options=own)
        require_usable(project, reference)
        plan = read_or_make_plan(project, reference, plan_name)
        _require_no_cascade(plan, require_configuration(plan, configuration))
        plan = with_choices(project, plan, configuration, {"trainer": trainer}, others)
        request = TrainingRequest(
            plan=plan,
            name=configuration,
            fold="0",
            split=read_or_make_splits(project, "0"),
            store=preprocess(project, plan, plan_name, configuration),
            folder=Path(temporary),
            device=device,
            workers=min(project.workers, 1),
        )
        measured = run(project, request, steps, stages)
        if dataset:
            remember(project, plan_name, configuration, measured)
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
