"""Step 5: train one fold, and leave a model folder."""

from __future__ import annotations

import platform
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from nnseg_core import files, kinds
from nnseg_core.claims import claim
from nnseg_core.contracts import Callback, Trainer
from nnseg_core.errors import ModelError, NnsegError
from nnseg_core.model import (
    PLAN_FILE,
    WEIGHTS_FILE,
    build_network,
    delete_fold,
    fold_folder,
    open_model,
    save_weights,
    write_model,
)
from nnseg_core.plan import Configuration, Plan
from nnseg_core.project import PARTS, Project, facts_of
from nnseg_core.splits import Split
from nnseg_core.store import CaseStore
from nnseg_core.training import TrainedModel, TrainingTask

RECORDED_PACKAGES = ("nnseg", "torch", "numpy", "scipy", "SimpleITK", "blosc2", "safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """One training: which configuration of which plan, on which cases, into which model folder.

    ``settings`` are recorded as typed. ``restart`` throws away what the fold has; otherwise an
    unfinished training goes on, and a finished one is left as it is.
    """

    plan: Plan
    name: str
    fold: str
    split: Split
    store: CaseStore
    folder: Path
    device: str = "auto"
    seed: int = 0
    workers: int = 1
    restart: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def train(
    project: Project, request: TrainingRequest, callbacks: Sequence[Callback] = ()
) -> TrainedModel:
    """Train one fold.

    Raises ``ModelError`` when the model folder holds folds that were trained with other settings,
    and ``NnsegError`` while another run trains this one.
    """
    require_trainable(request.plan, request.name)
    with claim(fold_folder(request.folder, request.fold), "training"):
        return _train(project, request, callbacks)


def _train(
    project: Project, request: TrainingRequest, callbacks: Sequence[Callback]
) -> TrainedModel:
    configuration = request.plan.configurations[request.name]
    if request.restart:
        delete_fold(request.folder, request.fold)
    require_same_plan(request.folder, request.plan, request.name)
    fold = fold_folder(request.folder, request.fold)
    if (fold / WEIGHTS_FILE).is_file():
        return open_model(request.folder)
    kept = _only(request.plan, request.name)
    write_model(request.folder, kept, request.name, _providers(project, configuration))
    files.write_json(fold / "run.json", _run_record(project, request))
    _fit(project, request, callbacks)
    model = open_model(request.folder)
    project.plugins.manager.hook.nnseg_model_trained(model=model)
    return model


def _fit(project: Project, request: TrainingRequest, callbacks: Sequence[Callback]) -> None:
    task = make_task(project, request)
    trainer = build_trainer(project, request)
    save_weights(trainer.fit(task, callbacks), task.folder)


def make_task(project: Project, request: TrainingRequest) -> TrainingTask:
    """All that a trainer needs, built."""
    dataset, configuration = request.plan.dataset, request.plan.configurations[request.name]
    facts = facts_of(configuration, dataset)
    architecture = project.build(kinds.ARCHITECTURE, configuration.architecture, **facts)
    _seed(request.seed)
    return TrainingTask(
        name=request.name,
        configuration=configuration,
        labels=dataset.labels,
        split=request.split,
        store=request.store,
        network=build_network(architecture, dataset, configuration),
        loss=project.build(kinds.LOSS, configuration.loss, **facts),
        augmentation=project.build(kinds.AUGMENTATION, configuration.augmentation, **facts),
        folder=fold_folder(request.folder, request.fold),
        device=request.device,
        workers=request.workers,
        seed=request.seed,
        resume=True,
        report=project.report,
    )


def build_trainer(project: Project, request: TrainingRequest) -> Trainer:
    """The trainer that the configuration names."""
    configuration = request.plan.configurations[request.name]
    facts = facts_of(configuration, request.plan.dataset)
    return project.build(kinds.TRAINER, configuration.trainer, **facts)


def _seed(seed: int) -> None:
    """Seed every global generator that a network's initial weights may come from."""
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):  # whoever builds networks has imported it by now
        torch.manual_seed(seed)


def require_trainable(plan: Plan, name: str) -> None:
    """Raise ``NnsegError`` for a configuration that is planned but cannot be trained yet."""
    previous = plan.configurations[name].previous
    if previous:
        raise NnsegError(
            f"{name} is a cascade, which this version plans but does not train. "
            f"Train {previous} or 3d_fullres instead."
        )


def require_same_plan(folder: Path, plan: Plan, name: str) -> None:
    """Folds of one model are averaged at prediction: they must be of one kind.

    Raises ``ModelError`` when ``folder`` holds folds that were trained with other settings.
    """
    path = folder / PLAN_FILE
    trained = any(folder.glob(f"fold_*/{WEIGHTS_FILE}"))
    if trained and files.read_plan(path) != _only(plan, name):
        raise ModelError(
            f"{folder} holds folds that were trained with other settings (see {path}). "
            "Give this training a folder of its own with --name."
        )


def _only(plan: Plan, name: str) -> Plan:
    """The part of a plan that a model keeps."""
    return replace(plan, configurations={name: plan.configurations[name]})


def _providers(project: Project, configuration: Configuration) -> dict[str, str]:
    def provider(part: str) -> str:
        name = getattr(configuration, part).name
        return f"{name} from {project.component(PARTS[part], name).provider}"

    return {part: provider(part) for part in PARTS}


def _run_record(project: Project, request: TrainingRequest) -> dict[str, Any]:
    """Everything it takes to say later what this run was."""
    cases = sorted({*request.split.train, *request.split.validation})
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": str(project.dataset.folder),
        "configuration": request.name,
        "fold": request.fold,
        "seed": request.seed,
        "device": request.device,
        "settings": dict(request.settings),
        "split": request.split,
        "case_keys": {case: request.store.key(case) for case in cases},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
