"""The trained model that another training starts from: found, told apart, and never unpickled."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from nnseg_core import files
from nnseg_core.errors import ModelError
from nnseg_core.model_folder import MODEL_FILE, PLAN_FILE, WEIGHTS_FILE, fold_folder, open_model
from nnseg_core.plan import Configuration, Plan

PICKLES = (".pth", ".pt", ".ckpt", ".model", ".pkl")
"""Endings of files that may run code when they are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Weights to start from, and the plan that they were trained with. ``fold`` may be unknown.

    ``adapt`` lets a network begin with them that has another plan: what does not fit is left out.
    """

    folder: Path
    weights: Path
    plan: Plan
    name: str
    fold: str | None = None
    adapt: bool = False

    @property
    def configuration(self) -> Configuration:
        """The configuration that the weights were trained in."""
        return self.plan.configurations[self.name]

    def hash(self) -> str:
        """SHA-256 of the file of weights."""
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def open_start(path: Path, fold: str | None = None, adapt: bool = False) -> Start:
    """A model folder, one of its folds, or a file of weights beside ``plan.json``.

    Of a model folder ``fold`` is taken, by default its first.

    Raises ``ModelError`` that says what ``path`` is instead, and what to give.
    """
    path = path.resolve()
    folder, named = _model_of(path)
    _refuse_pickles(path, folder)
    if not path.exists():
        raise ModelError(f"there is no model at {path}.")
    if (members := sorted(folder.glob(f"members/*/{MODEL_FILE}"))) and not named:
        choice = ", ".join(str(member.parent.relative_to(folder)) for member in members)
        raise ModelError(f"{folder} is an ensemble. Start from one of its members: {choice}.")
    if (folder / MODEL_FILE).is_file():
        return _from_model(folder, fold or named, adapt)
    return _from_weights(folder, path if path.is_file() else folder / WEIGHTS_FILE, adapt)


def label_of(path: Path) -> str:
    """A name for a start, from its path alone: ``Dataset004_Hippocampus-3d_fullres-standard``."""
    folder, _ = _model_of(path.resolve())
    parts = [part for part in folder.parts[-3:] if part not in ("members", folder.anchor)]
    return re.sub(r"[^\w.=+-]", "_", "-".join(parts[-2:]))


def _model_of(path: Path) -> tuple[Path, str | None]:
    """The model folder that ``path`` leads into, and the fold if it names one."""
    folder = path.parent if path.suffix == ".safetensors" or path.suffix in PICKLES else path
    if folder.name.startswith("fold_"):
        return folder.parent, folder.name.removeprefix("fold_")
    return folder, None


def _from_model(folder: Path, fold: str | None, adapt: bool) -> Start:
    trained = open_model(folder)
    if fold is not None and fold not in trained.folds:
        raise ModelError(
            f"{folder} has no trained fold {fold}. It has: {', '.join(trained.folds)}."
        )
    chosen = fold or trained.folds[0]
    return Start(
        folder=folder,
        weights=fold_folder(folder, chosen) / WEIGHTS_FILE,
        plan=trained.plan,
        name=trained.name,
        fold=chosen,
        adapt=adapt,
    )


def _from_weights(folder: Path, weights: Path, adapt: bool) -> Start:
    if not (folder / PLAN_FILE).is_file() or not weights.is_file():
        raise ModelError(
            f"{folder} holds no model to start from: it needs {PLAN_FILE} with {WEIGHTS_FILE} "
            f"beside it, or {MODEL_FILE} and folds as 'nnseg train' makes them."
        )
    plan = files.read_plan(folder / PLAN_FILE)
    if len(plan.configurations) != 1:
        raise ModelError(
            f"{folder / PLAN_FILE} has several configurations: "
            f"{', '.join(plan.configurations)}. Leave the one that the weights were trained in."
        )
    name = next(iter(plan.configurations))
    return Start(folder=folder, weights=weights, plan=plan, name=name, adapt=adapt)


def _refuse_pickles(path: Path, folder: Path) -> None:
    found = (
        path if path.suffix in PICKLES else next(iter(sorted(folder.glob("fold_*/*.pth"))), None)
    )
    if found is not None:
        raise ModelError(
            f"{found} is a pickle, which could run any code when it is read, so nnseg opens none. "
            "A checkpoint of nnU-Net has to be imported first; give a model that nnseg made."
        )
