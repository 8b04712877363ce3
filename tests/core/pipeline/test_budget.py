"""Workers by memory: as many as fit beside each other, at least one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnseg_core.dataset import CaseRef
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry
from nnseg_core.machine import Memory
from nnseg_core.pipeline.budget import PROCESS_BYTES, Budget, budget

GB = 1_000_000_000


class Headers:
    """A reader of files that say nothing but how large they are: ``100.nii``, ``400.nii``."""

    endings = (".nii",)

    def peek(self, path: Path) -> tuple[Geometry, int]:
        if path.stem == "0":
            raise DatasetError(f"{path} is damaged.")
        size = int(path.stem)
        return Geometry(shape=(size, size, size), spacing=(2.0, 1.0, 1.0)), 1


def cases(folder: Path, *sizes: int) -> list[CaseRef]:
    made = []
    for size in sizes:
        path = folder / f"{size}.nii"
        path.write_bytes(bytes(size))
        made.append(CaseRef(identifier=str(size), images=(path,), label=None))
    return made


def plan_for(folder: Path, free: float, *sizes: int, **options: object) -> Budget:
    memory = Memory(int(free), "the machine's memory")
    return budget(cases(folder, *sizes), Headers(), 4, free=memory, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("free", "workers"), [(100 * GB, 4), (3 * GB, 2), (0.1 * GB, 1)])
def test_as_many_workers_as_fit(tmp_path: Path, free: float, workers: int) -> None:
    found = plan_for(tmp_path, free, 400, 100, 100, 100, 100)

    assert found.peak == PROCESS_BYTES + 14 * 400**3
    assert found.workers == workers


def test_no_more_workers_than_cases(tmp_path: Path) -> None:
    assert plan_for(tmp_path, 100 * GB, 10).workers == 1
    assert budget(cases(tmp_path, 10), Headers(), 0).workers == 0  # type: ignore[arg-type]


def test_a_finer_grid_needs_more(tmp_path: Path) -> None:
    found = plan_for(tmp_path, 100 * GB, 100, spacing=[1.0, None, 0.5])

    assert found.peak == PROCESS_BYTES + 14 * 100**3 + 12 * 4 * 100**3
    assert found.voxels == 4 * 100**3


def test_a_damaged_file_is_left_to_the_check(tmp_path: Path) -> None:
    assert plan_for(tmp_path, 100 * GB, 0).peak == PROCESS_BYTES


def test_what_is_said(tmp_path: Path) -> None:
    assert str(plan_for(tmp_path, 3 * GB, 400, 300)) == (
        "2 workers: the largest case needs about 1.1 GB of 3.0 GB free"
    )


def test_decoded_cases_get_what_the_workers_leave(tmp_path: Path) -> None:
    found = plan_for(tmp_path, 3 * GB, 400, 300)

    assert found.room == int(0.8 * 3 * GB - 2 * found.peak)
    assert plan_for(tmp_path, 0.1 * GB, 400).room == 0
    assert plan_for(tmp_path, 100 * GB, 10).room == 25 * GB
