"""Costs follow from shapes, sizes and what the machine was measured at."""

from dataclasses import replace
from math import prod

import pytest

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.errors import NnsegError
from nnseg_core.files import write_json
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_core.pipeline import costs as module
from nnseg_core.pipeline.budget import GRID_BYTES, PROCESS_BYTES, RAW_BYTES
from nnseg_core.pipeline.costs import (
    ELEMENT_BYTES,
    disk_of_cases,
    estimate,
    known_speed,
    require_room,
)
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.planning.planner import StandardPlanner

BRAIN = DatasetDescription(
    name="Brain",
    channels=("T1", "T2"),
    labels=Labels(values={"lesion": (1,)}),
    file_ending=".nii.gz",
)
NOTHING = IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 1.0))
FINGERPRINT = Fingerprint(
    spacings=((2.0, 1.0, 1.0),) * 3,
    shapes=((50, 100, 100), (60, 120, 120), (50, 100, 100)),
    relative_size=0.5,
    intensities=(NOTHING, NOTHING),
)


def plan_for(**options):
    return StandardPlanner(**options).plan(BRAIN, FINGERPRINT, PlainUnet())


def cost_of(plan, name="3d_fullres", **more):
    networks = dict.fromkeys(plan.configurations, PlainUnet())
    return estimate(plan, name, FINGERPRINT, networks, **more)


def test_disk_grows_with_the_voxels_at_the_target_spacing():
    coarse, fine = plan_for(), plan_for(spacing=(1.0, 1.0, 1.0))

    before = disk_of_cases(coarse, coarse.configurations["3d_fullres"], FINGERPRINT)
    after = disk_of_cases(fine, fine.configurations["3d_fullres"], FINGERPRINT)

    assert before[1] > before[0] == before[2]
    raw = 2 * 4 * 50 * 100 * 100  # float32, two channels
    assert 0.4 * raw < before[0] < raw
    assert after[0] == pytest.approx(2 * before[0], rel=0.02)
    assert cost_of(coarse).disk == sum(before)


def test_slices_of_2d_keep_their_distance_and_take_no_more_room():
    fine = plan_for(spacing=(1.0, 1.0, 1.0))

    flat, deep = (
        disk_of_cases(fine, fine.configurations[name], FINGERPRINT) for name in ("2d", "3d_fullres")
    )

    assert flat[0] < 0.6 * deep[0]


def test_preprocessing_takes_the_memory_of_the_largest_case_uncropped():
    largest = 2 * 60 * 120 * 120  # two channels

    memory = cost_of(plan_for()).preprocessing_memory - PROCESS_BYTES

    assert memory == largest * (2 * RAW_BYTES + GRID_BYTES)  # half of it is left by the crop


def test_training_memory_is_about_what_was_planned_for():
    big = replace(FINGERPRINT, shapes=((400, 400, 400),) * 3)
    plan = StandardPlanner().plan(BRAIN, big, PlainUnet())

    networks = dict.fromkeys(plan.configurations, PlainUnet())
    memory = estimate(plan, "3d_fullres", big, networks).training_memory

    assert memory % ELEMENT_BYTES == 0
    assert 6e9 < memory < 8e9


def bench(tmp_path, **milliseconds):
    path = tmp_path / "bench.json"
    records = {
        f"Dataset001_Brain/standard/{name}": {
            "milliseconds_per_step": number,
            "batch_size": 2,
            "stage_seconds": {"read": 1.0, "preprocess": 3.0},
        }
        for name, number in milliseconds.items()
    }
    write_json(
        path,
        {
            "a GPU": records,
            "slower": {k: r | {"milliseconds_per_step": 1e6} for k, r in records.items()},
        },
    )
    return known_speed(path, "Dataset001_Brain", "standard")


def test_steps_that_were_measured_are_not_guessed(tmp_path):
    plan = plan_for()
    batch = plan.configurations["3d_fullres"].batch_size

    cost = cost_of(plan, speed=bench(tmp_path, **{"3d_fullres": 500.0}))

    assert cost.step_seconds == pytest.approx(0.25 * batch)
    assert cost.basis == "measured by nnseg bench on a GPU"
    assert cost.preprocessing_seconds == 3 * 4.0


def test_steps_of_another_configuration_are_scaled_by_their_work(tmp_path):
    plan = plan_for(patch_size=(32, 64, 64))
    halved = plan_for(patch_size=(32, 64, 32))
    speed = bench(tmp_path, **{"2d": 100.0})

    whole, half = (
        cost.step_seconds / p.configurations["3d_fullres"].batch_size
        for p in (plan, halved)
        for cost in [cost_of(p, speed=speed)]
    )

    assert half == pytest.approx(whole / 2, rel=0.05)
    assert cost_of(plan, speed=speed).basis == "scaled from nnseg bench of 2d on a GPU"


def test_without_a_measurement_the_figure_is_called_rough(monkeypatch):
    plan = plan_for()
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module, "_processor_rate", lambda: 2e11)

    cost = cost_of(plan)
    monkeypatch.setattr(module, "_processor_rate", lambda: 4e11)
    faster = cost_of(plan)

    assert cost.basis.startswith("rough: from matrix products on this CPU")
    assert faster.step_seconds == pytest.approx(cost.step_seconds / 2)
    assert prod(plan.configurations["3d_fullres"].patch_size) > 0 < cost.step_seconds


def test_with_an_nvidia_gpu_the_figure_is_that_of_one(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: "/usr/bin/nvidia-smi")

    assert cost_of(plan_for()).basis.startswith("rough: a data-centre GPU")


def test_too_little_room_is_refused_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_disk", lambda folder: 3_100_000_000)
    require_room(tmp_path, 3_100_000_000)

    with pytest.raises(NnsegError) as raised:
        require_room(tmp_path, 12_000_000_000)

    assert str(raised.value) == (
        f"the preprocessed cases need about 12 GB in {tmp_path}, but only 3.1 GB are free there. "
        "Free some, or choose another --workspace."
    )
