"""Step 3: bring every case to the network's grid, and store it for reading by patch."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

from nnseg_core import desk, kinds
from nnseg_core.case import RawCase
from nnseg_core.claims import ENDING, claim, read_claim
from nnseg_core.contracts import Planner, Preprocessor, Reader
from nnseg_core.dataset import CaseRef
from nnseg_core.errors import NnsegError
from nnseg_core.normalizing import normalization_facts
from nnseg_core.parallel import values
from nnseg_core.pipeline.budget import PREPROCESS_SECONDS, budget
from nnseg_core.pipeline.costs import disk_of_cases, require_room
from nnseg_core.pipeline.examine import examine, require_clean
from nnseg_core.pipeline.examined import decoded_key
from nnseg_core.plan import Configuration, Plan
from nnseg_core.project import Project
from nnseg_core.store import CaseStore


def preprocess(project: Project, plan: Plan, plan_name: str, name: str) -> CaseStore:
    """Preprocess the cases of a dataset for the configuration ``name``.

    A case already there is kept if its files and everything it depends on are the same; so an
    interrupted run goes on where it stopped. All other cases are tried even if one fails.

    Raises ``CasesFailed`` naming every case that was set aside, once all others are done; before
    any work ``NnsegError`` where the disk has too little room, or a training is reading cases that
    would be replaced. Another run at work on the same cases is waited for.
    """
    configuration = plan.configurations[name]
    planner: Planner = project.build(kinds.PLANNER, plan.planner)
    examination = examine(project, planner)
    fingerprint = require_clean(examination)
    store = store_of(project, plan, plan_name, name)
    keys = case_keys(plan, configuration, examination.hashes)
    if not _missing(project, store, keys):
        project.crew.close()
        return store
    sizes = disk_of_cases(plan, configuration, fingerprint)
    reader = project.reader()
    work = partial(
        _preprocess_case,
        reader=reader,
        preprocessor=project.build(
            kinds.PREPROCESSOR,
            configuration.preprocessor,
            **normalization_facts(project.plugins, configuration, project.typed),
        ),
        plan=plan,
        configuration=configuration,
        store=store,
        keys=keys,
    )
    # Folds that start together wait for the first of them, and find the cases done.
    with project.crew, claim(store.folder, f"preprocessing {name}", wait=True):
        missing = _missing(project, store, keys)
        _require_unread(project, store, missing)
        require_room(store.folder, sum(sizes) * len(missing) // len(sizes))
        needed = budget(missing, reader, project.workers, _in_order_of_files(plan, configuration))
        seconds = needed.voxels * PREPROCESS_SECONDS
        if project.crew.starts(needed.workers, seconds):
            project.note(str(needed))
        made = values(project.crew.map(work, missing, needed.workers, seconds))
        for done, (case, _) in enumerate(made, start=1):
            project.report("preprocess", done, len(missing), case.identifier)
    return store


def store_of(project: Project, plan: Plan, plan_name: str, name: str) -> CaseStore:
    """Where the cases of a configuration are; a cascade reads those of its full resolution."""
    shared = shares_cases_with(plan, name)
    return CaseStore(folder=project.workspace.store(project.name, plan_name, shared))


def shares_cases_with(plan: Plan, name: str) -> str:
    """The configuration whose cases are those of ``name``: of a cascade, an equal one if any."""
    configuration = plan.configurations[name]
    if configuration.previous is None:
        return name
    wanted = _fixed_by(plan, configuration)
    others = [other for other, one in plan.configurations.items() if one.previous is None]
    equal = (o for o in others if _fixed_by(plan, plan.configurations[o]) == wanted)
    return next(equal, name)


def _missing(project: Project, store: CaseStore, keys: Mapping[str, str]) -> list[CaseRef]:
    """The cases that are not in the store as they would be made now."""
    cases = project.dataset.cases
    return [case for case in cases if store.key(case.identifier) != keys[case.identifier]]


def _require_unread(project: Project, store: CaseStore, missing: Sequence[CaseRef]) -> None:
    """Refuse to replace cases under a training: it would go on with the cases of another plan."""
    outdated = [case for case in missing if store.key(case.identifier) is not None]
    models = project.workspace.models(project.name)
    for path in sorted(models.glob(f"*/*{ENDING}")) if outdated else ():
        there = read_claim(path)
        if there is not None and there.reads == store.name and not there.is_gone(time.time()):
            raise NnsegError(
                f"{path.with_name(path.name.removesuffix(ENDING))} is being trained with the cases "
                f"in {store.folder} (process {there.pid} on {there.host}), and {len(outdated)} of "
                "them are to be made anew. Let it end, or stop it; or keep the new plan beside the "
                "old one, with --plan NAME."
            )


def case_keys(
    plan: Plan, configuration: Configuration, hashes: Mapping[str, str]
) -> dict[str, str]:
    """What each preprocessed case depends on, in short: its files' content and the plan."""
    settings = _fixed_by(plan, configuration)
    return {case: _key(content, settings) for case, content in hashes.items()}


def read_case(case: CaseRef, reader: Reader) -> RawCase:
    """A case from its files."""
    image, geometry = reader.read(case.images)
    label = reader.read_label(case.label)[0] if case.label else None
    return RawCase(identifier=case.identifier, image=image, label=label, geometry=geometry)


def _preprocess_case(
    case: CaseRef,
    *,
    reader: Reader,
    preprocessor: Preprocessor,
    plan: Plan,
    configuration: Configuration,
    store: CaseStore,
    keys: dict[str, str],
) -> None:
    raw: RawCase | None = desk.take(decoded_key(case))
    if raw is None:
        desk.stage("reading its files")
        raw = read_case(case, reader)
    desk.stage("preprocessing it")
    preprocessed = preprocessor.run(raw, plan, configuration)
    desk.stage("writing it")
    store.write(preprocessed, configuration.patch_size, key=keys[case.identifier])


def _in_order_of_files(plan: Plan, configuration: Configuration) -> list[float | None]:
    """The spacing along the axes that files have; the slices of 2D stay as they are."""
    spacing: list[float | None] = [None] * (3 - len(configuration.spacing))
    spacing += configuration.spacing
    return [spacing[plan.axes.index(axis)] for axis in range(3)]


def _fixed_by(plan: Plan, configuration: Configuration) -> str:
    """Everything in the plan that the content of a preprocessed case depends on."""
    return json.dumps(
        {
            "axes": plan.axes,
            "labels": asdict(plan.dataset.labels),
            "intensities": [asdict(channel) for channel in plan.intensities],
            "spacing": configuration.spacing,
            "normalization": [
                entry if isinstance(entry, str) else asdict(entry)
                for entry in configuration.normalization
            ],
            "mask_normalization": configuration.mask_normalization,
            "preprocessor": asdict(configuration.preprocessor),
        },
        sort_keys=True,
    )


def _key(content: str, settings: str) -> str:
    return hashlib.sha256(f"{content}\n{settings}".encode()).hexdigest()
