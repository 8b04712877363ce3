"""Measure how fast a configuration trains and predicts on this machine, and name what limits it.

Everything is reached through the contracts, so any trainer and any predictor can be measured. A
training runs for some steps on real batches, and again on one batch that costs nothing to make:
the difference is what the data cost.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from nnseg_core import files, kinds
from nnseg_core.case import Prediction, PreprocessedCase, RawCase
from nnseg_core.contracts import Callback, Predictor, Preprocessor
from nnseg_core.dataset import CaseRef
from nnseg_core.normalizing import normalization_facts
from nnseg_core.pipeline.prediction import write_mask
from nnseg_core.pipeline.preprocessing import read_case
from nnseg_core.pipeline.training import TrainingRequest, build_trainer, make_task
from nnseg_core.plan import ComponentRef, Configuration
from nnseg_core.plugins import parameters
from nnseg_core.project import PARTS, Project
from nnseg_core.training import EpochReport, TrainingTask

R = TypeVar("R")

STEPS = 10
"""Steps that are timed at least."""

SECONDS = 5.0
"""Time that the timed steps take at least: on a GPU, ten steps are too short to be told."""

STEPS_PER_EPOCH = 5
"""Steps between two looks at the clock; the first of these epochs is a warm-up."""

WAITING = 0.1
"""Share of a step spent waiting for data from which on the data are what limits it."""

CONTENTION = 1.15
"""How much longer a step may be with real data than with dummy data."""

GOOD_SHARE = 0.3
"""Share of the device's peak that the best implementations of 3D U-Nets reach."""


class Meter(Protocol):
    """What the callback ``meter`` tells beside being a callback."""

    device: str
    computed_in: str
    flops: int | None
    peak: float
    memory: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Training steps that were timed: how many, in how many seconds, waiting for data included."""

    steps: int
    seconds: float
    waiting: float

    @property
    def milliseconds(self) -> float:
        """Of one step."""
        return 1000 * self.seconds / self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What was measured. ``stages`` are seconds for the case ``stage_case``; peak is per second."""

    device: str
    precision: str
    batch_size: int
    real: StepTimes
    dummy: StepTimes
    flops: int | None
    peak: float
    memory: int | None
    stage_case: str
    stages: Mapping[str, float]

    @property
    def samples_per_second(self) -> float:
        """Patches learned from, data and augmentation included."""
        return self.batch_size * self.real.steps / self.real.seconds

    @property
    def peak_share(self) -> float | None:
        """Operations per second as a share of the device's peak; None where none were counted."""
        return self.flops * self.samples_per_second / self.peak if self.flops else None

    @property
    def waiting_share(self) -> float:
        """Share of the time in which the loop waited for its next batch."""
        return self.real.waiting / self.real.seconds

    @property
    def bottleneck(self) -> str:
        """One sentence: what limits the training here, and what to do."""
        return _bottleneck(self)


def bench(
    project: Project, request: TrainingRequest, steps: int = STEPS, stages: bool = True
) -> Bench:
    """Time training steps, on real and on dummy data, and the stages of a prediction.

    The fold's folder is left alone. Raises what the trainer raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        request = replace(request, folder=Path(folder))
        trainer = build_trainer(project, request)
        meter = _meter(project, getattr(trainer, "precision", "auto"))
        real, task = time_steps(project, request, steps, SECONDS, [meter])
        dummy, _ = time_steps(project, with_dummy_data(request), steps, SECONDS)
        case = _usual_case(project, request)
        batch_size = getattr(trainer, "batch_size", None) or task.configuration.batch_size
        return Bench(
            device=meter.device,
            precision=meter.computed_in,
            batch_size=batch_size,
            real=real,
            dummy=dummy,
            flops=meter.flops,
            peak=meter.peak,
            memory=meter.memory,
            stage_case=case.identifier,
            stages=time_stages(project, request, task, case, Path(folder)) if stages else {},
        )


def with_dummy_data(request: TrainingRequest) -> TrainingRequest:
    """The same training on a batch that costs nothing to make."""
    return _with_part(request, "augmentation", ComponentRef(name="constant"))


def time_steps(
    project: Project,
    request: TrainingRequest,
    steps: int,
    seconds: float,
    callbacks: Sequence[Callback] = (),
    per_epoch: int = STEPS_PER_EPOCH,
    warm_up: int = 1,
) -> tuple[StepTimes, TrainingTask]:
    """Train at least ``steps`` steps and ``seconds``, after ``warm_up`` epochs that do not count.

    Returns the task too, whose network has learned a little.
    """
    request = _in_short_epochs(project, request, per_epoch)
    trainer = build_trainer(project, request)
    task = replace(make_task(project, request), resume=False)
    task.folder.mkdir(parents=True, exist_ok=True)
    timer = _Timer(
        steps=steps,
        seconds=seconds,
        per_epoch=getattr(trainer, "iterations", 1),
        warm_up=warm_up,
    )
    with suppress(_Enough):
        trainer.fit(task, [*callbacks, timer])
    return timer.times, task


def time_stages(
    project: Project, request: TrainingRequest, task: TrainingTask, case: CaseRef, folder: Path
) -> dict[str, float]:
    """Seconds that reading, preprocessing, predicting and exporting a case take."""
    reader, configuration = project.reader(), task.configuration
    preprocessor: Preprocessor = project.build(
        kinds.PREPROCESSOR,
        configuration.preprocessor,
        **normalization_facts(project.plugins, configuration, project.typed),
    )
    predictor: Predictor = project.build(kinds.PREDICTOR, configuration.predictor)
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], R]) -> R:
        start = time.perf_counter()
        result = work()
        seconds[stage] = time.perf_counter() - start
        return result

    raw: RawCase = timed("read", lambda: read_case(case, reader))
    preprocessed: PreprocessedCase = timed(
        "preprocess", lambda: preprocessor.run(raw, request.plan, configuration)
    )

    def predict() -> Prediction:
        prediction = predictor.predict([task.network], preprocessed, configuration, request.device)
        return replace(prediction, logits=np.asarray(prediction.logits))  # all of them, now

    prediction = timed("predict", predict)

    def export() -> None:
        segmentation = preprocessor.restore(prediction, request.plan.dataset.labels)
        write_mask(folder, segmentation, reader, request.plan.dataset.file_ending)

    timed("export", export)
    return seconds


def as_record(measured: Bench) -> dict[str, Any]:
    """What was measured, as JSON values: times in ms per step and seconds per stage."""
    return {
        "device": measured.device,
        "precision": measured.precision,
        "batch_size": measured.batch_size,
        "milliseconds_per_step": measured.real.milliseconds,
        "milliseconds_per_step_dummy": measured.dummy.milliseconds,
        "milliseconds_waiting": measured.waiting_share * measured.real.milliseconds,
        "samples_per_second": measured.samples_per_second,
        "peak_share": measured.peak_share,
        "peak_tflops": measured.peak / 1e12,
        "memory_gb": None if measured.memory is None else measured.memory / 1e9,
        "stage_seconds": dict(measured.stages),
        "stage_case": measured.stage_case,
        "bottleneck": measured.bottleneck,
    }


def remember(project: Project, plan_name: str, name: str, measured: Bench) -> None:
    """Keep what was measured in the workspace's ``bench.json``, for estimates of cost."""
    path = project.workspace.bench
    known = files.read_json(path) if path.is_file() else {}
    key = f"{project.name}/{plan_name}/{name}"
    of_device = {**known.get(measured.device, {}), key: as_record(measured)}
    files.write_json(path, {**known, measured.device: of_device})


class _Enough(Exception):
    """Ends a training that has been timed: the only way out that every trainer has."""


@dataclass
class _Timer:
    """A callback that sums epochs up after the warm-up, and ends the training when it has enough.

    Callbacks cannot change a training; an error, which is what ends it, is no change to rely on.
    """

    steps: int
    seconds: float
    per_epoch: int
    warm_up: int
    reports: list[EpochReport] = field(default_factory=list)

    def on_fit_start(self, task: TrainingTask) -> None:
        """Nothing yet."""

    def on_epoch_end(self, report: EpochReport) -> None:
        self.reports.append(report)
        if len(self.reports) <= self.warm_up:
            return
        if self.times.steps >= self.steps and self.times.seconds >= self.seconds:
            raise _Enough

    def on_fit_end(self, reports: Sequence[EpochReport]) -> None:
        """A training shorter than asked for."""

    @property
    def times(self) -> StepTimes:
        timed = self.reports[self.warm_up :] or self.reports
        waiting = sum(report.waiting for report in timed)
        return StepTimes(
            steps=len(timed) * self.per_epoch,
            seconds=waiting + sum(report.stepping for report in timed),
            waiting=waiting,
        )


def _meter(project: Project, precision: str) -> Any:
    return project.build(
        kinds.CALLBACK, ComponentRef(name="meter", options={"precision": precision})
    )


def _in_short_epochs(project: Project, request: TrainingRequest, size: int) -> TrainingRequest:
    """The same training in epochs of ``size`` steps without validation, if the trainer can."""
    reference = request.plan.configurations[request.name].trainer
    known = parameters(project.component(kinds.TRAINER, reference.name).factory)
    wanted = {"iterations": size, "validation_iterations": 0}
    options = {name: value for name, value in wanted.items() if name in known}
    changed = replace(reference, options={**reference.options, **options})
    return _with_part(request, "trainer", changed)


def _with_part(request: TrainingRequest, part: str, reference: ComponentRef) -> TrainingRequest:
    assert part in PARTS
    changes: dict[str, Any] = {part: reference}
    configuration: Configuration = replace(request.plan.configurations[request.name], **changes)
    configurations = {**request.plan.configurations, request.name: configuration}
    return replace(request, plan=replace(request.plan, configurations=configurations))


def _usual_case(project: Project, request: TrainingRequest) -> CaseRef:
    """The case of median size."""
    shapes = {name: request.store.shape(name) for name in request.store.identifiers()}
    ordered = sorted(project.dataset.cases, key=lambda case: prod(shapes[case.identifier]))
    return ordered[len(ordered) // 2]


def _bottleneck(measured: Bench) -> str:
    share = measured.peak_share
    if measured.waiting_share > WAITING:
        return (
            f"The data: {measured.waiting_share:.0%} of the time the training waits for its next "
            "batch. More processor cores, a faster disk or a lighter augmentation would help."
        )
    if measured.real.milliseconds > CONTENTION * measured.dummy.milliseconds:
        return (
            f"The processor cores: a step takes {measured.real.milliseconds:.0f} ms while batches "
            f"are made beside it, {measured.dummy.milliseconds:.0f} ms without. More cores or a "
            "lighter augmentation would help."
        )
    if share is not None and share < GOOD_SHARE:
        return (
            f"The network, at {share:.0%} of what the device reaches in a matrix product. A larger "
            "batch, or another precision, may use it better; a smaller patch costs less."
        )
    return (
        "The network, which the device computes about as fast as it can. A faster device, a "
        "smaller patch or a smaller batch would make steps shorter."
    )
