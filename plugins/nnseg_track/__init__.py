"""Runs followed in TensorBoard, MLflow or Weights & Biases: what this plugin offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnseg_core import hookimpl

if TYPE_CHECKING:
    from nnseg_core.scoring.scores import Scores


@hookimpl
def nnseg_callbacks() -> dict[str, str]:
    """One for each tracker; nothing is imported before it is chosen."""
    return {
        "tensorboard": "nnseg_track.tensorboard:TensorBoard",
        "mlflow": "nnseg_track.mlflow:MLflow",
        "wandb": "nnseg_track.wandb:WandB",
    }


@hookimpl
def nnseg_scored(scores: Scores, folder: Path) -> None:
    """Scores and overlays of whole cases go to the runs that have followed the training."""
    from nnseg_track.scored import add_scores

    add_scores(scores, folder)
