"""``nnseg predict``: masks for new images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import Device
from nnseg_core.errors import PlanError
from nnseg_core.team import current

if TYPE_CHECKING:
    from nnseg_core.stages import Stopwatch

STAGES = ("read", "preprocess", "network", "export", "write")


def predict(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Model folder, as printed by nnseg train.")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUTS...", help="Images: files, or folders of them.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the masks.")],
    fold: Annotated[
        list[str] | None, typer.Option(help="Fold to use. Repeatable.  [default: all there are]")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option(help="Also write class probabilities (float32, npz).")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--continue", help="Leave out cases whose mask is there already.")
    ] = False,
    part: Annotated[int, typer.Option(min=0, help="Which of the --parts to predict, from 0.")] = 0,
    parts: Annotated[
        int, typer.Option(min=1, help="Deal the cases out, such as to the jobs of an array.")
    ] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PART.OPTION=VALUE",
            help="Set an option of a part, such as predictor.mirror_axes=[]. Repeatable.",
        ),
    ] = None,
    device: Device = "auto",
    trust: Annotated[
        list[str] | None, typer.Option(help="Import path that the model may name. Repeatable.")
    ] = None,
) -> None:
    """Segment images with a model. Each mask is written as it is done, on the grid of its image.

    Launched by torchrun or srun, each process predicts its share of the cases.

    Example: nnseg predict MODEL imagesTs masks
    """
    from nnseg_core.cli.display import note, reporter
    from nnseg_core.cli.options import parse_settings
    from nnseg_core.errors import CasesFailed, NnsegError
    from nnseg_core.model import load_model
    from nnseg_core.pipeline.prediction import find_inputs
    from nnseg_core.pipeline.prediction import predict as run
    from nnseg_core.stages import Stopwatch

    require_part(part, parts)
    started, team = time.monotonic(), current()
    loaded = load_model(
        model,
        device,
        folds=fold,
        trust=tuple(trust or ()),
        plugins=context.obj,
        settings=parse_settings(settings),
    )
    cases = find_inputs(inputs, loaded.plan.dataset.file_ending)[part::parts]
    note(f"cases: {len(cases)}, networks: {len(loaded.networks)}")
    watch, done, failed = Stopwatch(), 0, None
    mine = team.ranks.mine(cases)
    try:
        for _ in run(loaded, mine, output, probabilities, skip_existing, reporter(), watch):
            done += 1
    except NnsegError as error:
        if team.ranks.count == 1 and not isinstance(error, CasesFailed):
            raise
        failed = error  # of the cases of this rank; others go on with theirs
    _show_stages(watch, done)
    shares = team.together([done, str(failed or "")])
    seconds = time.monotonic() - started
    done = sum(written for written, _ in shares)
    each = f" ({seconds / done:.2f} s each)" if done else ""
    note(f"masks written: {done}, in {seconds:.1f} s{each}")
    if len(shares) > 1 and any(reason for _, reason in shares):
        failed = CasesFailed("\n".join(reason for _, reason in shares if reason))
    if failed:
        raise failed
    print(output)


def _show_stages(watch: Stopwatch, cases: int) -> None:
    """Print what the stages took, if anything was done."""
    from nnseg_core.cli.display import table

    rows = [(stage, watch.seconds[stage]) for stage in STAGES if stage in watch.seconds]
    cells = [(name, f"{spent:.1f}", f"{spent / max(cases, 1):.3f}") for name, spent in rows]
    if watch.seconds:
        table(("stage", "seconds", "per case"), cells, stderr=True)


def require_part(part: int, parts: int) -> None:
    """Raise ``PlanError`` for a part that there is none of."""
    if part >= parts:
        raise PlanError(f"--part {part} of --parts {parts}: parts are numbered from 0.")
