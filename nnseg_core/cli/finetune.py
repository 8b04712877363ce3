"""``nnseg finetune``: a training that starts from a trained model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from nnseg_core.cli.beginning import Adapt, SourceFold
from nnseg_core.cli.train import train
from nnseg_core.errors import PlanError

TRAINER = "finetune"
"""Chosen where the user chooses none: a lower learning rate, and a rise to it."""


def finetune(context: typer.Context, source: Path, **given: Any) -> None:
    """Train on from a model, on another dataset: other labels, channels and images are welcome.

    The model's plan is adopted: spacing, patch, normalisation, network. Heads keep the labels of
    the same name and begin anew for others. With `--adapt` the dataset's own plan is kept, and
    what fits is taken over. Everything else is as in `nnseg train`, all options included.

    Example: nnseg finetune Dataset005_Prostate --from models/Dataset004/3d_fullres-standard
    """
    if given["configuration"] is None:
        given["configuration"] = _configuration_of(source, given["source_fold"])
    given["trainer"] = given["trainer"] or TRAINER
    train(context, source=source, **given)


def _configuration_of(source: Path, fold: str | None) -> str:
    """That which the model was trained in."""
    if not source.exists():
        raise PlanError(f"there is no model at {source}. To go on without it, name CONFIGURATION.")
    from nnseg_core.transfer.starting import open_start

    return open_start(source, fold).name


def _signature() -> inspect.Signature:
    """That of ``train``, so that the two never differ, with a model that has to be given."""
    parameters = dict(inspect.signature(train, eval_str=True).parameters)
    own = inspect.signature(_own, eval_str=True).parameters
    return inspect.Signature(list((parameters | own).values()))


def _own(
    configuration: Annotated[
        str | None,
        typer.Argument(help="Configuration to train.  [default: the model's]"),
    ] = None,
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="A model folder, a fold of it, or weights.safetensors beside plan.json.",
        ),
    ] = ...,
    source_fold: SourceFold = None,
    adapt: Adapt = False,
) -> None:
    """Parameters that are not as in ``train``."""


finetune.__signature__ = _signature()  # type: ignore[attr-defined]
