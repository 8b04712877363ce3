"""Step 5: train one fold, and leave a model folder."""

from __future__ import annotations

import platform
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from nnseg_core import files, kinds
from nnseg_core.cascade import with_previous
from nnseg_core.case import PreprocessedCase
from nnseg_core.claims import claim
from nnseg_core.contracts import Callback, Extends, Trainer
from nnseg_core.dataset.annotated import partly_annotated
from nnseg_core.errors import NnsegError, PlanError
from nnseg_core.model import build_network
from nnseg_core.model_folder import (
    WEIGHTS_FILE,
    delete_fold,
    fold_folder,
    open_model,
    save_weights,
    write_model,
)
from nnseg_core.normalizing import reference_of
from nnseg_core.pipeline.starting import (
    forget_start,
    require_same_start,
    start_from,
    start_summary,
)
from nnseg_core.pipeline.trained_plan import require_same_plan
from nnseg_core.pipeline.trained_splits import require_same_split
from nnseg_core.plan import Configuration, Plan
from nnseg_core.project import PARTS, Project, check_partial_labels, facts_of
from nnseg_core.splits import Split
from nnseg_core.stopping import Stop, never
from nnseg_core.store import CaseStore
from nnseg_core.team import current
from nnseg_core.training import PreviousStage, TrainedModel, TrainingTask
from nnseg_core.transfer.starting import Start

RECORD_FILE = "run.json"

RECORDED_PACKAGES = ("nnseg", "torch", "numpy", "scipy", "SimpleITK", "blosc2", "safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """One training: which configuration of which plan, on which cases, into which model folder.

    ``settings`` are recorded as typed. ``restart`` throws away what the fold has; otherwise an
    unfinished training goes on, and a finished one is left as it is, unless it is to go on too:
    ``extend_to`` so many epochs in all. ``stop`` may ask the trainer to stop. ``keep_logits``
    stores those of the validation, which choosing an ensemble needs. ``previous`` is what a cascade
    starts from (``pipeline/cascade.py`` provides it).
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
    stop: Stop = never
    extend_to: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep_logits: bool = True
    previous: PreviousStage | None = None
    start: Start | None = None

    def case(self, identifier: str) -> PreprocessedCase:
        """A case as the network takes it; in a cascade with the channels of the stage before."""
        case = self.store.read(identifier)
        if self.previous is None:
            return case
        return with_previous(case, self.previous.store.read(identifier), self.previous.values)


def train(
    project: Project,
    request: TrainingRequest,
    callbacks: Sequence[Callback] = (),
    wait: bool = False,
) -> TrainedModel:
    """Train one fold.

    Raises ``ModelError`` when the model folder holds folds that were trained with other settings,
    and ``NnsegError`` while another run trains this one, unless that is to ``wait`` for.
    """
    require_previous(request)
    if not current().ranks.main:
        return _train_beside(project, request)
    fold = fold_folder(request.folder, request.fold)
    with claim(fold, "training", wait, reads=request.store.name):
        return _train(project, request, callbacks)


def _train(
    project: Project, request: TrainingRequest, callbacks: Sequence[Callback]
) -> TrainedModel:
    configuration = request.plan.configurations[request.name]
    if request.restart:
        delete_fold(request.folder, request.fold)
    require_same_plan(request.folder, request.plan, request.name)
    fold = fold_folder(request.folder, request.fold)
    require_same_split(fold, request.split)
    require_same_start(fold, request.start)
    if (fold / WEIGHTS_FILE).is_file() and request.extend_to is None:
        current().agree(False)
        return open_model(request.folder)
    require_extendable(project, request)
    kept = request.plan.only(request.name)
    write_model(request.folder, kept, request.name, _providers(project, configuration))
    write_record(fold, _run_record(project, request), request.extend_to)
    current().agree(True)
    _fit(project, request, callbacks)
    model = open_model(request.folder)
    project.plugins.manager.hook.nnseg_model_trained(model=model)
    return model


def _train_beside(project: Project, request: TrainingRequest) -> TrainedModel:
    """The part of all ranks but the first, which alone writes anything."""
    if current().agree():
        _fit(project, request, ())
    return open_model(request.folder)


def require_samples_for_all(project: Project, plan: Plan, name: str) -> None:
    """Raise ``NnsegError`` where ranks outnumber the samples of a batch, before any long work."""
    configuration = plan.configurations[name]
    facts = facts_of(configuration, plan.dataset)
    trainer = project.build(kinds.TRAINER, configuration.trainer, **facts)
    current().ranks.samples(getattr(trainer, "batch_size", None) or configuration.batch_size)


def _fit(project: Project, request: TrainingRequest, callbacks: Sequence[Callback]) -> None:
    check_partial_labels(project, request.plan.configurations[request.name], request.plan.dataset)
    task = make_task(project, request)
    trainer = build_trainer(project, request)
    if start_from(project, request.plan, request.name, request.start, task):
        _seed(request.seed)  # a resumed training has not built as many networks by now
    network = trainer.fit(task, callbacks)
    if current().ranks.main:
        save_weights(network, task.folder)
        forget_start(task.folder)
    current().together()


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
        stop=request.stop,
        extend_to=request.extend_to,
        previous=request.previous,
        report=project.report,
        annotated=partly_annotated(
            (*request.split.train, *request.split.validation),
            dataset.annotated,
            tuple(dataset.labels.values),
        ),
    )


def require_extendable(project: Project, request: TrainingRequest) -> None:
    """Raise ``NnsegError`` where the fold is to be trained for longer and cannot be."""
    if request.extend_to is None:
        return
    trainer = build_trainer(project, request)
    if not isinstance(trainer, Extends):
        name = request.plan.configurations[request.name].trainer.name
        raise PlanError(f"the trainer {name!r} cannot extend a training, so leave out --extend.")
    trainer.check_extension(fold_folder(request.folder, request.fold), request.extend_to)


def write_record(fold: Path, record: Mapping[str, Any], extend_to: int | None) -> None:
    """Write ``run.json``; an extension is noted in the record of the run that it extends."""
    path = fold / RECORD_FILE
    if extend_to is None or not path.is_file():
        files.write_json(path, record)
        return
    before = files.read_json(path)
    extensions = [e for e in before.get("extensions", []) if e["epochs"] != extend_to]
    extensions.append({"epochs": extend_to, "started": record["started"]})
    files.write_json(path, {**before, "extensions": extensions})


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


def require_previous(request: TrainingRequest) -> None:
    """Raise ``NnsegError`` for a cascade that nobody has prepared the stage before for."""
    previous = request.plan.configurations[request.name].previous
    if previous and request.previous is None:
        raise NnsegError(
            f"{request.name} is a cascade: it starts from segmentations by {previous}. Train it "
            "with 'nnseg train', which makes them; from Python, with_previous_stage does."
        )


def _providers(project: Project, configuration: Configuration) -> dict[str, str]:
    def provider(part: str) -> str:
        name = getattr(configuration, part).name
        return f"{name} from {project.component(PARTS[part], name).provider}"

    names = dict.fromkeys(reference_of(one).name for one in configuration.normalization)
    known = project.plugins.of_kind(kinds.NORMALIZATION)  # a preprocessor may know other names
    origins = {name: known[name].provider for name in names if name in known}
    origins |= {name: name.partition(":")[0] for name in names if ":" in name}
    normalization = ", ".join(f"{name} from {origin}" for name, origin in origins.items())
    return {**{part: provider(part) for part in PARTS}, "normalization": normalization}


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
        "start": start_summary(fold_folder(request.folder, request.fold), request.start),
        "previous": None if request.previous is None else request.previous.folder.name,
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
