"""Go on with a finished training, to more epochs than it was planned for.

The learning rate falls again, from where a run planned for so many epochs would be by now. What
the finished training left stays until the new end is reached: its weights, and a copy of its last
checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from nnseg_core.errors import ModelError
from nnseg_core.writing import whole
from nnseg_standard.training.checkpoint import LAST, read_description
from nnseg_standard.training.state import LoopState

ENDED = "checkpoint_ended.safetensors"
"""The last checkpoint of a training that is being extended."""


def begin_extension(folder: Path, state: LoopState, epochs: int) -> None:
    """Plan ``state`` for ``epochs`` in all, and keep the checkpoint of a finished training."""
    if state.epochs_left == 0 and state.epoch < epochs:
        with whole(folder / ENDED) as beside:
            shutil.copyfile(folder / LAST, beside)
    state.extend(epochs)


def end_extension(folder: Path) -> None:
    """Delete what was kept, if there is any."""
    (folder / ENDED).unlink(missing_ok=True)


def require_extendable(folder: Path, epochs: int) -> None:
    """Raise ``ModelError`` where nothing can go on, or the training is as long already."""
    path = folder / LAST
    if not path.is_file():
        raise ModelError(
            f"{path} is missing, so this training cannot be extended. Leave out --extend to train "
            "what has not been trained, or start anew with --restart."
        )
    reports = read_description(path)["reports"]
    planned = reports[-1]["epochs"] if reports else 0
    if epochs < planned:
        raise ModelError(
            f"{folder} was trained for {planned} epochs; --extend gives the epochs in all, so it "
            f"must be more than that, not {epochs}."
        )
