"""Start a training from a trained model: its plan adopted, its weights put where they fit.

What a fold started from lies in its folder, so that it can go on when the model is gone:
``transfer.json`` says what became of each tensor, ``start.safetensors`` holds the weights until
the fold is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save, save_file

from nnseg_core import files, kinds
from nnseg_core.errors import ModelError, PlanError, writing_tensors
from nnseg_core.model import build_network
from nnseg_core.pipeline.examine import examine, require_clean
from nnseg_core.pipeline.planning import plan_from_fingerprint, read_or_make_plan
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_core.project import Project, facts_of
from nnseg_core.team import current
from nnseg_core.training import TrainingTask
from nnseg_core.transfer.adopting import adopt_plan
from nnseg_core.transfer.correspondence import correspondence
from nnseg_core.transfer.slots import place_of, slots_of
from nnseg_core.transfer.starting import Start
from nnseg_core.transfer.tensors import Moved, Slot, transfer, trunk_kernels

if TYPE_CHECKING:
    from torch import nn

START_FILE = "start.safetensors"
RECORD_FILE = "transfer.json"

Tensors = dict[str, NDArray[np.floating]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRecord:
    """What a training started from. ``sha256`` is of the file of weights.

    ``channels`` and ``labels`` give, for each of ours, the one of the source that it was taken
    from; None where there was none.
    """

    model: Path
    fold: str | None
    configuration: str
    sha256: str
    adapted: bool
    channels: dict[str, str | None]
    labels: dict[str, str | None]
    tensors: tuple[Moved, ...]

    def weights(self, *fates: str) -> int:
        """How many numbers met one of these fates, or any."""
        return sum(one.weights for one in self.tensors if not fates or one.fate in fates)


def adopted_plan(project: Project, planner: ComponentRef, name: str, start: Start) -> Plan:
    """The start's plan for this dataset, written under ``name``; as it stands where it is there.

    Raises ``PlanError`` where another plan has that name, or one that would not fit the weights.
    """
    path = project.workspace.plan(project.name, name)
    if path.is_file():
        plan = read_or_make_plan(project, planner, name)
        _require_adopted(path, plan, start)
        return plan
    plan = plan_adopting(project, planner, start)
    files.write_json(path, plan)
    project.plugins.manager.hook.nnseg_plan_made(plan=plan, description=plan.dataset)
    return plan


def plan_adopting(project: Project, planner: ComponentRef, start: Start) -> Plan:
    """The start's plan for this dataset, which is checked and measured for it; nothing written."""
    measuring = project.build(kinds.PLANNER, planner)
    fingerprint = require_clean(examine(project, measuring, whole=True))
    own = plan_from_fingerprint(
        project.plugins, planner, project.dataset.description, fingerprint, project.typed
    )
    return adopt_plan(start.plan, own)


def _require_adopted(path: Path, plan: Plan, start: Start) -> None:
    """Trainer, batch size and the like may have been edited; what the weights rely on may not."""
    wanted = adopt_plan(start.plan, plan)
    differing = [
        name for name in ("axes", "intensities") if getattr(plan, name) != getattr(wanted, name)
    ]
    has, needs = plan.configurations.get(start.name), wanted.configurations[start.name]
    fields = (
        *("spacing", "normalization", "mask_normalization", "preprocessor"),
        *("features", "strides", "kernel_sizes", "architecture"),
    )
    differing += [
        name for name in fields if has is None or getattr(has, name) != getattr(needs, name)
    ]
    if differing:
        raise PlanError(
            f"the plan {path} is not that of {start.folder}: {', '.join(differing)} differ. Delete "
            "it to adopt the model's, keep another one beside it with --plan NAME, or use --adapt."
        )


def transferred(
    project: Project, plan: Plan, name: str, start: Start, network: nn.Module
) -> tuple[Tensors, TransferRecord]:
    """The weights to begin with, and what became of each of them.

    ``network`` is the new one, whose own first weights stay where the start has none that fit.
    Unless it is to be adapted, all must fit but those of the first layer and the heads.

    Raises ``ModelError`` where they do not, or nothing fits at all.
    """
    theirs, ours = start.configuration, plan.configurations[name]
    _require_same_architecture(start, name, theirs, ours)
    facts = facts_of(ours, plan.dataset)
    architecture = project.build(kinds.ARCHITECTURE, ours.architecture, **facts)
    slots = slots_of(architecture, plan, ours, network)
    weights = _read(start.weights)
    names = {place_of(architecture, weight, theirs.topology): weight for weight in weights}
    matching = correspondence(start.plan, start.name, plan, name)
    tensors, moved = transfer(slots, weights, names, matching)
    _require_fit(start, name, slots, moved)
    record = TransferRecord(
        model=start.folder,
        fold=start.fold,
        configuration=start.name,
        sha256=start.hash(),
        adapted=start.adapt,
        channels=matching.channels,
        labels=matching.labels,
        tensors=moved,
    )
    return tensors, record


def rehearse_start(project: Project, plan: Plan, name: str, start: Start) -> TransferRecord:
    """What would become of each weight; raises what ``transferred`` does."""
    configuration = plan.configurations[name]
    facts = facts_of(configuration, plan.dataset)
    architecture = project.build(kinds.ARCHITECTURE, configuration.architecture, **facts)
    network = build_network(architecture, plan.dataset, configuration)
    return transferred(project, plan, name, start, network)[1]


def start_from(
    project: Project, plan: Plan, name: str, start: Start | None, task: TrainingTask
) -> bool:
    """Put the weights to begin with into the network of ``task``; whether there are any.

    A fold that has begun keeps those that it began with, and needs no start any more.
    """
    fold, network = task.folder, task.network
    kept = fold / START_FILE
    if (fold / RECORD_FILE).is_file():
        if kept.is_file():
            _load(network, kept.read_bytes())
        return True  # without them the trainer has checkpoints of its own
    if start is None:
        return False
    tensors, record = transferred(project, plan, name, start, network)
    if current().ranks.main:
        _write(fold, tensors, record)
    _load(network, save(tensors))
    return True


def forget_start(fold: Path) -> None:
    """Delete the weights that a trained fold began with; the record of them stays."""
    (fold / START_FILE).unlink(missing_ok=True)


def started_from(fold: Path) -> TransferRecord | None:
    """What a fold began with; None where it began from nothing, or has not begun."""
    path = fold / RECORD_FILE
    return files.load(TransferRecord, path) if path.is_file() else None


def require_same_start(fold: Path, start: Start | None) -> None:
    """Raise ``ModelError`` where a fold that has begun began with other weights than ``start``."""
    if start is None or not (fold / "run.json").is_file():
        return
    record = started_from(fold)
    if record is None or record.sha256 != start.hash():
        began = "from nothing" if record is None else f"from other weights ({record.model})"
        raise ModelError(
            f"{fold} was begun {began}. Begin anew with --restart, or give this training a folder "
            "of its own with --name."
        )


def start_summary(fold: Path, start: Start | None) -> dict[str, Any] | None:
    """What ``run.json`` says of the start; the whole of it is in ``transfer.json``."""
    record = started_from(fold)
    if record is not None:
        model, number, sha256 = record.model, record.fold, record.sha256
    elif start is not None:
        model, number, sha256 = start.folder, start.fold, start.hash()
    else:
        return None
    return {"model": str(model), "fold": number, "sha256": sha256, "table": RECORD_FILE}


def _read(path: Path) -> Tensors:
    """All weights of a file; those that safetensors stored once under several names, under each."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tied = dict(file.metadata() or {})
    except (OSError, SafetensorError, TypeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    return tensors | {name: tensors[kept] for name, kept in tied.items() if kept in tensors}


def _write(fold: Path, tensors: Tensors, record: TransferRecord) -> None:
    fold.mkdir(parents=True, exist_ok=True)
    beside = fold / f".{START_FILE}.part"
    with writing_tensors(fold / START_FILE):
        save_file(tensors, beside)
    beside.replace(fold / START_FILE)
    files.write_json(fold / RECORD_FILE, record)


def _load(network: nn.Module, content: bytes) -> None:
    from safetensors.torch import load

    network.load_state_dict(load(content))


def _require_same_architecture(
    start: Start, name: str, theirs: Configuration, ours: Configuration
) -> None:
    if theirs.architecture.name != ours.architecture.name:
        raise ModelError(
            f"{start.folder} has a {theirs.architecture.name}, and {name} is planned as a "
            f"{ours.architecture.name}: nothing fits. Plan for the same network, such as with "
            f"--architecture {theirs.architecture.name}, or leave --adapt out to adopt its plan."
        )


def _require_fit(
    start: Start, name: str, slots: tuple[Slot, ...], moved: tuple[Moved, ...]
) -> None:
    taken, kernels = trunk_kernels(slots, moved)
    if kernels and not taken:
        raise ModelError(
            f"nothing of {start.folder} fits the network of {name}: of {kernels} convolutions "
            f"none could be taken over ({_reasons(moved)})."
        )
    if not start.adapt and taken < kernels:
        raise ModelError(
            f"{start.folder} does not fit the network of {name}: {_reasons(moved)}. Use --adapt to "
            "take over what fits."
        )


def _reasons(moved: tuple[Moved, ...]) -> str:
    """The first tensors that did not fit, and why."""
    misfits = [f"{one.name}: {one.how}" for one in moved if one.fate == "initialised"]
    return "; ".join(misfits[:3]) + (f"; and {len(misfits) - 3} more" if len(misfits) > 3 else "")
