"""TensorBoard: event files in the folder of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nnseg_track.following import Following, Run, need
from nnseg_track.memory import Known

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardRun:
    """Event files of one training."""

    def __init__(self, folder: Path, epoch: int | None = None) -> None:
        need("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.known: Known = {"folder": str(folder)}
        # What a resumed training had told of this epoch and later ones is hidden.
        self.writer: SummaryWriter = SummaryWriter(str(folder), purge_step=epoch)

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """See ``Run``; written at once, so that a run that is killed has it."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def show(self, pictures: Sequence[Path], epoch: int) -> None:
        """See ``Run``."""
        for path in pictures:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self.writer.add_image(f"overlays/{path.stem}", pixels, epoch, dataformats="HWC")

    def close(self, *, finished: bool) -> None:
        """See ``Run``."""
        self.writer.close()


@dataclass
class TensorBoard(Following):
    """Writes event files for TensorBoard: ``tensorboard --logdir`` on the models shows them all.

    Attributes:
        folder: Where to write them; by default into ``tensorboard`` in the folder of the fold.
    """

    tracker = "tensorboard"
    folder: str | None = None

    def open(self, folder: Path, name: str, known: Known, epoch: int) -> Run:
        """See ``Following``."""
        place = (
            Path(self.folder) / name.replace(" ", "-") if self.folder else folder / "tensorboard"
        )
        again = known.get("folder")
        return TensorBoardRun(Path(again) if again else place.absolute(), epoch)

    def describe(self, run: Run, facts: Mapping[str, str]) -> None:
        """See ``Following``."""
        assert isinstance(run, TensorBoardRun)
        rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
        run.writer.add_text("training", f"| | |\n|---|---|\n{rows}", 0)


def again(known: Known) -> Run:
    """The run that ``known`` is of."""
    return TensorBoardRun(Path(known["folder"]))
