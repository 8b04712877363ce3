"""Weights & Biases: offline by default, so that nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from nnseg_track.following import Following, Run, need
from nnseg_track.memory import Known

MODES = ("offline", "online", "disabled")


class WandBRun:
    """One run. Its x axis is the epoch, so that a resumed training may tell one again."""

    def __init__(self, known: Known) -> None:
        wandb = need("wandb")
        self.known = known
        Path(known["folder"]).mkdir(parents=True, exist_ok=True)
        self._images = wandb.Image
        self._run: Any = wandb.init(
            project=known["project"],
            name=known["name"],
            id=known["id"],
            dir=known["folder"],
            mode=known["mode"],
            resume="allow",
            settings=wandb.Settings(silent=True),
        )
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """See ``Run``."""
        self._run.log({**numbers, "epoch": epoch})

    def show(self, pictures: Sequence[Path], epoch: int) -> None:
        """See ``Run``."""
        images = {f"overlays/{path.stem}": self._images(str(path)) for path in pictures}
        self._run.log({**images, "epoch": epoch})

    def describe(self, facts: Mapping[str, str]) -> None:
        """Keep facts as its configuration."""
        self._run.config.update(dict(facts))

    def close(self, *, finished: bool) -> None:
        """See ``Run``."""
        self._run.finish()


@dataclass
class WandB(Following):
    """Keeps a run for Weights & Biases in files, which ``wandb sync`` uploads when you want it.

    Attributes:
        project: Name of the project; by default that of the dataset.
        mode: ``offline``, ``online`` (sends everything while it trains) or ``disabled``.
        folder: Where the files are kept; by default the folder of the fold.
    """

    tracker = "wandb"
    project: str | None = None
    mode: str = "offline"
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; it can be {', '.join(MODES)}")

    def open(self, folder: Path, name: str, known: Known, epoch: int) -> Run:
        """See ``Following``."""
        return WandBRun(
            known
            or {
                "project": self.project or folder.parent.parent.name,
                "name": name,
                "id": token_hex(4),
                "folder": str(Path(self.folder or folder).absolute()),
                "mode": self.mode,
            }
        )

    def describe(self, run: Run, facts: Mapping[str, str]) -> None:
        """See ``Following``."""
        assert isinstance(run, WandBRun)
        run.describe(facts)


def again(known: Known) -> Run:
    """The run that ``known`` is of."""
    return WandBRun(known)
