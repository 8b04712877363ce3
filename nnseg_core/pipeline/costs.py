"""What a configuration costs in disk, memory and time, before any of it is spent.

Everything is computed from the fingerprint and the plan, and is about right: within half of it as
a rule. Where ``nnseg bench`` has measured the machine, times are as good as that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from nnseg_core import files
from nnseg_core.contracts import Architecture
from nnseg_core.diagram import levels
from nnseg_core.errors import NnsegError
from nnseg_core.fingerprint import Fingerprint
from nnseg_core.geometry import resampled_shape
from nnseg_core.machine import free_disk, in_words, usable_cores
from nnseg_core.pipeline.budget import (
    GRID_BYTES,
    PREPROCESS_SECONDS,
    PROCESS_BYTES,
    RAW_BYTES,
)
from nnseg_core.plan import Configuration, Plan

IMAGE_SHARE, LABEL_SHARE = 0.85, 0.08
"""What is left after compression, of float32 images and int16 labels. Measured: images 0.47 as
they came, 0.88 once resampled; labels 0.03 to 0.09."""

POINTS = 10_000
"""Foreground voxels that are noted per label, with three coordinates of 4 bytes each."""

SAMPLED = 0.05
"""Of a case's voxels belong to a label at most, as a rule: fewer points of small cases."""

ELEMENT_BYTES = 7
"""Of GPU memory per element that a convolution puts out, in half precision: nnU-Net's network of
1.12e9 elements trains in 7.7 GB."""

GPU_RATE = 6e13
"""Operations per second of a data-centre GPU in training: nnU-Net's 250 000 steps of 128 x 128 x
128 voxels, batches of 2, take 9 hours on an A100 by its documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a configuration costs: bytes and seconds.

    ``disk`` is for all preprocessed cases. Preprocessing memory and time are those of one process;
    the time is that of all cases. ``training_memory`` is the GPU's. ``basis`` says where the
    seconds of a training step come from.
    """

    disk: int
    preprocessing_memory: int
    preprocessing_seconds: float
    training_memory: int
    step_seconds: float
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What is known of the machine: records of ``nnseg bench`` by device and configuration.

    ``place`` is what the names of this plan's configurations begin with in them.
    """

    benches: Mapping[str, Mapping[str, Mapping[str, Any]]]
    place: str

    def of(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Devices and their records for a configuration, the fastest first."""
        found = [
            (device, records[self.place + name])
            for device, records in self.benches.items()
            if self.place + name in records
        ]
        yield from sorted(found, key=lambda item: float(item[1]["milliseconds_per_step"]))


def known_speed(bench: Path | None, dataset: str, plan_name: str) -> Speed:
    """What ``bench.json`` of a workspace knows of a plan."""
    benches = files.read_json(bench) if bench and bench.is_file() else {}
    return Speed(benches=benches, place=f"{dataset}/{plan_name}/")


NOTHING_KNOWN = Speed(benches={}, place="")


def estimate(
    plan: Plan,
    name: str,
    fingerprint: Fingerprint,
    architectures: Mapping[str, Architecture],
    speed: Speed = NOTHING_KNOWN,
) -> Cost:
    """The cost of a configuration. ``architectures`` has that of each configuration."""
    configuration = plan.configurations[name]
    elements = architectures[name].memory(configuration.topology, plan.dataset.labels.declared)
    seconds, basis = _step(plan, name, architectures, speed)
    grids = tuple(_grids(plan, configuration, fingerprint))
    return Cost(
        disk=sum(disk_of_cases(plan, configuration, fingerprint)),
        preprocessing_memory=max(_memory(plan, fingerprint, old, new) for old, new in grids),
        preprocessing_seconds=_preprocessing_seconds(plan, name, grids, speed),
        training_memory=elements * configuration.batch_size * ELEMENT_BYTES,
        step_seconds=seconds,
        basis=basis,
    )


def disk_of_cases(
    plan: Plan, configuration: Configuration, fingerprint: Fingerprint
) -> tuple[int, ...]:
    """Bytes that each case takes once it is preprocessed, in the order of the fingerprint."""
    channels, labels = len(plan.dataset.channels), len(plan.dataset.labels.values)
    sizes = []
    for _, new in _grids(plan, configuration, fingerprint):
        points = labels * min(POINTS, SAMPLED * new)
        sizes.append(round(new * (4 * channels * IMAGE_SHARE + 2 * LABEL_SHARE) + 3 * 4 * points))
    return tuple(sizes)


def require_room(folder: Path, needed: int) -> None:
    """Raise ``NnsegError`` where fewer than ``needed`` bytes can be written."""
    free = free_disk(folder)
    if needed > free:
        raise NnsegError(
            f"the preprocessed cases need about {in_words(needed)} in {folder}, but only "
            f"{in_words(free)} are free there. Free some, or choose another --workspace."
        )


def _grids(
    plan: Plan, configuration: Configuration, fingerprint: Fingerprint
) -> Iterator[tuple[int, int]]:
    """Voxels of each case before and after it is resampled, cropped."""
    flat = len(configuration.spacing) == 2
    for case_spacing, case_shape in zip(fingerprint.spacings, fingerprint.shapes, strict=True):
        old = [case_spacing[axis] for axis in plan.axes]
        shape = [case_shape[axis] for axis in plan.axes]
        new = (old[0], *configuration.spacing) if flat else configuration.spacing
        resampled = (max(1, size) for size in resampled_shape(shape, old, new))
        yield prod(shape), prod(resampled)


def _memory(plan: Plan, fingerprint: Fingerprint, old: int, new: int) -> int:
    """Bytes to preprocess a case, which is read before it is cropped."""
    channels, raw = len(plan.dataset.channels), old / max(fingerprint.relative_size, 0.01)
    return round(PROCESS_BYTES + channels * (RAW_BYTES * raw + GRID_BYTES * new))


def _preprocessing_seconds(
    plan: Plan, name: str, grids: Sequence[tuple[int, int]], speed: Speed
) -> float:
    for _, record in speed.of(name):
        stages = record.get("stage_seconds", {})
        if "read" in stages and "preprocess" in stages:
            return float(stages["read"] + stages["preprocess"]) * len(grids)
    channels = len(plan.dataset.channels)
    return PREPROCESS_SECONDS * channels * sum(max(old, new) for old, new in grids)


def _step(
    plan: Plan, name: str, architectures: Mapping[str, Architecture], speed: Speed
) -> tuple[float, str]:
    """Seconds of a training step: measured, or scaled from another configuration, or rough."""
    batch = plan.configurations[name].batch_size
    for device, record in speed.of(name):
        return batch * _seconds_per_sample(record), f"measured by nnseg bench on {device}"
    work = _operations(plan, name, architectures[name])
    for other in plan.configurations:
        for device, record in speed.of(other):
            share = work / _operations(plan, other, architectures[other])
            seconds = batch * share * _seconds_per_sample(record)
            return seconds, f"scaled from nnseg bench of {other} on {device}"
    if shutil.which("nvidia-smi"):
        return batch * work / GPU_RATE, "rough: a data-centre GPU; nnseg bench measures"
    rough = "rough: from matrix products on this CPU; nnseg bench measures"
    return batch * work / _processor_rate(), rough


def _seconds_per_sample(record: Mapping[str, Any]) -> float:
    return float(record["milliseconds_per_step"]) / 1000 / int(record["batch_size"])


def _operations(plan: Plan, name: str, architecture: Architecture) -> float:
    """To learn from one patch: forward, and twice that backward.

    Every element of a level is taken to sum over the level's features and its kernel. That is 18 %
    too much for a plain U-Net at 40 x 56 x 40 (counted), since the first convolutions have fewer
    inputs.
    """
    configuration, outputs = plan.configurations[name], plan.dataset.labels.declared
    elements = architecture.memory(configuration.topology, outputs)
    forward = sum(
        level.memory * elements * 2 * prod(level.kernel) * level.features
        for level in levels(configuration, architecture, outputs)
    )
    return 3 * forward


def _processor_rate(size: int = 64, seconds: float = 0.03) -> float:
    """Operations per second of all cores: what one reaches in matrix products, times their number.

    Products of 10 microseconds: some run undisturbed on the busiest machine, and on one core. Two
    cores at 186e9 took 1.30 s for a step at 40 x 56 x 40, batch 2, in single precision: 208e9 of
    the operations counted here. In bfloat16, where there are instructions for it, it is half that.
    """
    matrix = np.ones((size, size), dtype=np.float32)
    product, fastest, begun = np.empty_like(matrix), inf, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        np.matmul(matrix, matrix, out=product)
        fastest = min(fastest, time.perf_counter() - start)
    return usable_cores() * 2 * size**3 / fastest
