"""What a model folder holds, and where: opened and written without loading any network.

    MODEL/
        plan.json       everything decided, for the one configuration that was trained
        model.json      which configuration, and which plugin each part came from
        fold_0/weights.safetensors
        previous/       of a cascade: the model folder of the stage before it

Several models that predict together, as ``nnseg select`` chooses them, are

    MODEL/
        model.json          the members in their order, and the postprocessor
        members/NAME/       a complete model folder each
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnseg_core import files
from nnseg_core.errors import ModelError, writing_tensors
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.training import TrainedModel

if TYPE_CHECKING:
    from torch import nn

PLAN_FILE = "plan.json"
MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"

MEMBERS = "members"
"""Subfolder with the members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What ``model.json`` holds: which configuration, and where each part came from."""

    configuration: str
    providers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleRecord:
    """What ``model.json`` of an ensemble holds; ``provider`` is the plugin of its postprocessor."""

    members: tuple[str, ...]
    postprocessor: ComponentRef
    provider: str


def open_model(folder: Path) -> TrainedModel:
    """Read what a model folder holds, without its weights.

    Raises ``ModelError`` when it is not a model folder or no fold of it is trained.
    """
    if is_ensemble(folder):
        raise ModelError(
            f"{folder} is an ensemble, which can predict but not be trained. "
            "Its members are models by themselves: see its subfolder members."
        )
    if not (folder / MODEL_FILE).is_file() or not (folder / PLAN_FILE).is_file():
        raise ModelError(
            f"{folder} is not a model folder: it needs {MODEL_FILE} and {PLAN_FILE}. "
            "'nnseg train' prints the path of the folder it makes as its last line."
        )
    about = files.load(_About, folder / MODEL_FILE)
    plan = files.read_plan(folder / PLAN_FILE)
    if about.configuration not in plan.configurations:
        raise ModelError(
            f"{folder / MODEL_FILE} names configuration {about.configuration!r}, but "
            f"{PLAN_FILE} beside it has {', '.join(plan.configurations)}."
        )
    folds = trained_folds(folder)
    if not folds:
        raise ModelError(f"{folder} holds no trained fold yet (fold_*/{WEIGHTS_FILE}).")
    return TrainedModel(
        folder=folder,
        name=about.configuration,
        plan=plan,
        folds=folds,
        providers=about.providers,
    )


def trained_folds(folder: Path) -> tuple[str, ...]:
    """The folds of a model folder that have weights, sorted; none where there is no folder."""
    paths = folder.glob(f"fold_*/{WEIGHTS_FILE}")
    return tuple(sorted(path.parent.name.removeprefix("fold_") for path in paths))


def fold_folder(folder: Path, fold: str | int) -> Path:
    """Where a fold's weights, checkpoints and pictures are."""
    return folder / f"fold_{fold}"


def write_model(folder: Path, plan: Plan, name: str, providers: dict[str, str]) -> None:
    """Write what a model folder holds beside its folds."""
    files.write_json(folder / PLAN_FILE, plan)
    files.write_json(folder / MODEL_FILE, _About(configuration=name, providers=providers))


def save_weights(network: nn.Module, fold: Path) -> None:
    """Write a network's weights; they appear complete or not at all. Raises ``DiskFull``."""
    from safetensors.torch import save_model

    beside = fold / f".{WEIGHTS_FILE}.part"
    with writing_tensors(fold / WEIGHTS_FILE):
        save_model(network, str(beside))
    beside.replace(fold / WEIGHTS_FILE)


def delete_fold(folder: Path, fold: str) -> None:
    """Throw away all that a fold has."""
    shutil.rmtree(fold_folder(folder, fold), ignore_errors=True)


def is_ensemble(folder: Path) -> bool:
    """Whether a folder holds an ensemble of models."""
    return (folder / MODEL_FILE).is_file() and (folder / MEMBERS).is_dir()


def read_record(folder: Path) -> EnsembleRecord:
    """What ``model.json`` of an ensemble says."""
    return files.load(EnsembleRecord, folder / MODEL_FILE)


def read_plan_of(folder: Path) -> Plan:
    """The plan of a model, or of an ensemble's first member."""
    if is_ensemble(folder):
        return open_model(folder / MEMBERS / read_record(folder).members[0]).plan
    return open_model(folder).plan
