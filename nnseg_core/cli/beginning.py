"""``--from``: which trained model a training starts from, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.errors import ModelError

if TYPE_CHECKING:
    from nnseg_core.pipeline.starting import TransferRecord
    from nnseg_core.plan import ComponentRef, Plan
    from nnseg_core.project import Project
    from nnseg_core.transfer.starting import Start

From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="MODEL",
        help="Start from this model: its plan is adopted, its weights are taken over. A model "
        "folder, a fold of it, or weights.safetensors beside plan.json.",
    ),
]
SourceFold = Annotated[
    str | None, typer.Option(help="Fold of MODEL to start from.  [default: its first]")
]
Adapt = Annotated[
    bool,
    typer.Option(help="Keep the dataset's own plan, and take over what fits of MODEL's weights."),
]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the user asked to start from. ``start`` is None where it is gone by now."""

    source: Path
    start: Start | None
    adapt: bool

    @property
    def label(self) -> str:
        """What it is called in the names of plans and models."""
        from nnseg_core.transfer.starting import label_of

        return f"from-{label_of(self.source)}"

    def plan(self, project: Project, planner: ComponentRef, name: str) -> Plan:
        """The plan to train with: the model's for this dataset, or the dataset's own."""
        from nnseg_core.pipeline import read_or_make_plan
        from nnseg_core.pipeline.starting import adopted_plan

        if self.adapt:
            return read_or_make_plan(project, planner, name)
        if self.start is not None:
            return adopted_plan(project, planner, name, self.start)
        if not project.workspace.plan(project.name, name).is_file():
            raise self._gone()
        return read_or_make_plan(project, planner, name)

    def planned(self, own: Plan) -> Plan:
        """The plan to train with, from the dataset's own or the adopted one that is there."""
        from nnseg_core.transfer.adopting import adopt_plan

        if self.adapt or self.start is None:
            return own
        return adopt_plan(self.start.plan, own)

    def show(
        self, project: Project, plan: Plan, name: str, folds: Iterable[Path], restart: bool
    ) -> None:
        """Print what becomes of each weight, or that ``folds`` have begun already.

        Raises ``ModelError`` where the weights do not fit.
        """
        from nnseg_core.cli.display import note
        from nnseg_core.pipeline.starting import rehearse_start, require_same_start, started_from

        records = {fold: None if restart else started_from(fold) for fold in folds}
        for fold, record in records.items():
            if not restart:
                require_same_start(fold, self.start)
            if record is not None:
                note(f"{fold.name} was begun from {record.model} and keeps those weights")
        if all(record is not None for record in records.values()):
            return
        if self.start is None:
            raise self._gone()
        show_transfer(rehearse_start(project, plan, name, self.start))

    def _gone(self) -> ModelError:
        return ModelError(f"there is no model at {self.source}.")


def beginning(
    source: Path | None, fold: str | None, adapt: bool, configuration: str
) -> Beginning | None:
    """What ``--from`` asks for; None where it is not given. Raises ``ModelError``.

    A path where nothing is may belong to a fold that has begun, which needs it no more.
    """
    if source is None:
        if fold is not None or adapt:
            raise ModelError("--source-fold and --adapt say how to start: give --from MODEL too.")
        return None
    from nnseg_core.transfer.starting import open_start

    source = source.resolve()
    start = open_start(source, fold, adapt) if source.exists() else None
    if start is not None and not adapt and configuration not in start.plan.stages(start.name):
        raise ModelError(
            f"{source} was trained in {start.name}. Name that, or use --adapt to train "
            f"{configuration} with the dataset's own plan."
        )
    return Beginning(source, start, adapt)


def show_transfer(record: TransferRecord) -> None:
    """Print what became of each part of the network, of channels and of labels."""
    from nnseg_core.cli.display import table
    from nnseg_core.transfer.tensors import by_part

    taken, all_weights = record.weights("loaded", "adapted"), record.weights()
    of_fold = "" if record.fold is None else f", fold {record.fold}"
    print(f"from {record.model}{of_fold}: {taken:,} of {all_weights:,} weights are taken over")
    table(
        ("part of the network", "loaded", "adapted", "initialised", ""),
        [
            (part, *(counts[fate] or "" for fate in ("loaded", "adapted", "initialised")), how)
            for part, counts, how in by_part(record.tensors)
        ],
    )
    print(_pairs("channels", record.channels, "all of them, shared out"))
    print(_pairs("labels", record.labels, "new"))


def _pairs(what: str, pairs: dict[str, str | None], missing: str) -> str:
    """``labels: liver from liver, spleen (new)``."""
    words = (
        f"{name} from {other}" if other else f"{name} ({missing})" for name, other in pairs.items()
    )
    return f"{what}: {', '.join(words)}"
