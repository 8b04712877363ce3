"""A training as it is ordered on the command line, and its carrying out: for train and for run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnseg_core.cli.check import require_usable
from nnseg_core.cli.control import check_budget
from nnseg_core.cli.folds import is_done
from nnseg_core.cli.options import planner_options
from nnseg_core.cli.plan import plan_folder, require_configuration
from nnseg_core.cli.stages import earlier_folder, says, stages_before, with_earlier
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.stopping import heeding_signals, require_not_asked, stop_at_once, stop_request
from nnseg_core.team import current

if TYPE_CHECKING:
    from nnseg_core.cli.beginning import Beginning
    from nnseg_core.contracts import Callback
    from nnseg_core.pipeline import TrainingRequest
    from nnseg_core.pipeline.cascade import EarlierStage
    from nnseg_core.project import Project
    from nnseg_core.scoring.scores import Scores
    from nnseg_core.splits import Split
    from nnseg_core.store import CaseStore

CALLBACKS = ("line", "csv", "plot", "watchdog")
"""Always there; more come with ``--callback``."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One configuration, and how to train it; options of ``nnseg train`` under their names.

    ``parts`` are those chosen by options of their own, None where the plan decides. ``settings``
    are those for the configuration, ``typed`` all of them as they were typed, and ``limits``
    those that came of ``--epochs`` and ``--max-time``.
    """

    configuration: str
    planner: ComponentRef
    plan_name: str
    parts: Mapping[str, str | None]
    settings: Mapping[str, Any] = field(default_factory=dict)
    typed: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Sequence[str] = ()
    folds: Sequence[str] | None = None
    name: str | None = None
    previous: str | None = None
    begun: Beginning | None = None
    device: str = "auto"
    seed: int = 0
    restart: bool = False
    extend: int | None = None
    stop_file: Path | None = None
    logits: bool = True


def ordered(
    configuration: str,
    planner: str,
    plan_name: str | None,
    typed: Mapping[str, Any],
    memory: str | None = None,
    **others: Any,
) -> Order:
    """An order from options as they were typed; ``others`` are further fields of it."""
    own, settings = planner_options(typed, memory)
    return Order(
        configuration=configuration,
        planner=ComponentRef(name=planner, options=own),
        plan_name=plan_folder(planner, plan_name),
        settings=settings,
        typed=typed,
        **others,
    )


@dataclass(frozen=True, kw_only=True)
class _Job:
    """An order once everything before the training is settled."""

    order: Order
    plan: Plan
    folder: Path
    splits: Mapping[str, Split]
    earlier: Mapping[str, EarlierStage]
    store: CaseStore


def carry_out(project: Project, order: Order) -> Path:
    """Do all that an order asks for and that has not been done; returns the model folder."""
    job = _prepared(project, order)
    for fold in job.splits:
        _train_fold(project, job, fold)
    return job.folder


def planned(project: Project, order: Order) -> Plan:
    """The plan to train with, whose other configurations are as they were. Nothing is checked."""
    with current().first():
        require_usable(project, order.planner)
        if order.begun is not None:
            return order.begun.plan(project, order.planner, order.plan_name)
        from nnseg_core.pipeline import read_or_make_plan

        return read_or_make_plan(project, order.planner, order.plan_name)


def chosen_plan(project: Project, order: Order) -> Plan:
    """The plan to train with, parts and settings of the order in its configuration."""
    plan = planned(project, order)
    name = require_configuration(plan, order.configuration)
    return with_choices(project, plan, name, order.parts, order.settings)


def trial(project: Project, order: Order, plan: Plan, fold: str, folder: Path) -> TrainingRequest:
    """What a training of an order would be given, its cases preprocessed: to take a few steps."""
    from nnseg_core.pipeline import TrainingRequest, preprocess, read_or_make_splits

    return TrainingRequest(
        plan=plan,
        name=order.configuration,
        fold=fold,
        split=read_or_make_splits(project, fold),
        store=preprocess(project, plan, order.plan_name, order.configuration),
        folder=folder,
        device=order.device,
        seed=order.seed,
        workers=project.workers,
        settings=order.typed,
    )


def settled(project: Project, order: Order, plan: Plan) -> tuple[Plan, Path, Path | None]:
    """The plan as ordered, the model folder, and that of the stage before a cascade."""
    name = require_configuration(plan, order.configuration)
    plan = with_choices(project, plan, name, order.parts, order.settings)
    before = earlier_folder(project, plan, name, order.plan_name, order.parts, order.previous)
    plan = with_earlier(plan, name, before, order.settings)
    return plan, model_folder(project, order, plan), before


def model_folder(project: Project, order: Order, plan: Plan) -> Path:
    """Where the model of an order is, or will be."""
    made = model_name(order.plan_name, order.configuration, plan, order.parts, order.begun)
    return project.workspace.model(project.name, order.name or made)


def _prepared(project: Project, order: Order) -> _Job:
    """Plan, check what was asked for, choose the folds, preprocess."""
    from nnseg_core.cli.display import note
    from nnseg_core.model_folder import fold_folder
    from nnseg_core.pipeline import preprocess, read_or_make_folds, require_samples_for_all
    from nnseg_core.project import check_device

    _callbacks(project, order)  # a wrong name is known before the work
    name = order.configuration
    plan = planned(project, order)
    require_configuration(plan, name)
    check_budget(project, _trainer(order, plan), order.limits)
    plan, folder, before = settled(project, order, plan)
    check_device(project, plan.configurations[name], plan.dataset, order.device)
    require_samples_for_all(project, plan, name)
    with current().first():
        splits = read_or_make_folds(project, order.folds)
    if not order.restart:
        _require_same(folder, plan, name, splits)
    if order.begun is not None:
        folds = [fold_folder(folder, fold) for fold in splits]
        order.begun.show(project, plan, name, folds, order.restart)
    earlier = stages_before(project, plan, name, before, splits)
    if earlier:
        note(says(earlier.values(), name))
    with current().first():
        store = preprocess(project, plan, order.plan_name, name)
    return _Job(order=order, plan=plan, folder=folder, splits=splits, earlier=earlier, store=store)


def _require_same(folder: Path, plan: Plan, name: str, splits: Mapping[str, Split]) -> None:
    """What is trained in the folder must be of the same plan and the same splits."""
    from nnseg_core.model_folder import fold_folder
    from nnseg_core.pipeline import require_same_plan, require_same_split

    require_same_plan(folder, plan, name)
    for fold, split in splits.items():
        require_same_split(fold_folder(folder, fold), split)


def _train_fold(project: Project, job: _Job, fold: str) -> None:
    """Train a fold, and predict and score its validation cases, as far as that is to be done."""
    from nnseg_core.cli.display import note
    from nnseg_core.model_folder import fold_folder
    from nnseg_core.pipeline import TrainingRequest, train, validate, with_previous_stage

    order, split, place = job.order, job.splits[fold], fold_folder(job.folder, fold)
    if len(job.splits) > 1:
        if not (order.restart or order.extend) and is_done(place, split):
            note(f"fold {fold} is trained and scored already")
            return
        note(f"fold {fold}: {len(split.train)} to train, {len(split.validation)} to validate")
    stop = stop_request(place, order.stop_file)
    request = TrainingRequest(
        plan=job.plan,
        name=order.configuration,
        fold=fold,
        split=split,
        store=job.store,
        folder=job.folder,
        device=order.device,
        seed=order.seed,
        workers=project.workers,
        restart=order.restart,
        stop=stop,
        extend_to=order.extend,
        settings=order.typed,
        keep_logits=order.logits,
        start=None if order.begun is None else order.begun.start,
    )

    def watching() -> list[Callback]:
        return _callbacks(project, order)

    with heeding_signals(stop.ask):
        if fold in job.earlier:
            stage = job.earlier[fold]
            request = with_previous_stage(project, request, order.plan_name, stage, watching)
        model = train(project, request, watching())
    require_not_asked(stop)
    with heeding_signals(stop_at_once):
        show_scores(validate(project, model, request))


def _callbacks(project: Project, order: Order) -> list[Callback]:
    from nnseg_core import kinds

    names = (*CALLBACKS, *order.callbacks)
    return [project.component(kinds.CALLBACK, name).build() for name in names]


def _trainer(order: Order, plan: Plan) -> str:
    """The trainer that will be used: as typed, set, or planned."""
    known = plan.configurations[order.configuration].trainer.name
    return order.parts.get("trainer") or order.settings.get("trainer") or known


def with_choices(
    project: Project,
    plan: Plan,
    name: str,
    parts: Mapping[str, str | None],
    settings: Mapping[str, Any],
) -> Plan:
    """The plan with the user's parts and settings in one configuration, all of them checked.

    In a cascade they hold for the stage before it too; ``3d_lowres.trainer.epochs`` for one.
    """
    from dataclasses import replace

    from nnseg_core.project import (
        apply_settings,
        check_parts,
        choose_part,
        mirror_as_trained,
        require_same_cases,
        settings_for,
    )

    stages = {}
    for stage in plan.stages(name):
        planned = plan.configurations[stage]
        own = settings_for(stage, plan, settings)
        chosen = apply_settings(choose_part(planned, parts), own)
        require_same_cases(planned, chosen)
        check_parts(project, chosen, plan.dataset)
        stages[stage] = mirror_as_trained(project, chosen, plan.dataset)
    return replace(plan, configurations={**plan.configurations, **stages})


def model_name(
    plan_name: str,
    configuration: str,
    plan: Plan,
    parts: Mapping[str, str | None],
    begun: Beginning | None = None,
) -> str:
    """``3d_fullres-quick``: what tells this model from others of the dataset."""
    trainer = plan.configurations[configuration].trainer.name
    others = [given for part, given in parts.items() if given and part != "trainer"]
    pieces = [*([] if plan_name == "standard" else [plan_name]), configuration, trainer, *others]
    if begun is not None and begun.label not in pieces:
        pieces.append(begun.label)
    return "-".join(pieces).replace(":", ".")


def show_scores(scores: Scores) -> None:
    """Print a table of means with their intervals, and what was missed."""
    from nnseg_core.cli.display import table
    from nnseg_core.scoring.tables import table as rows_of

    columns, *rows = rows_of(scores)
    table(columns, rows, title=f"cases: {len(scores.cases)}; mean (95 % interval)")
