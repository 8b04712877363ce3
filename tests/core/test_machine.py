"""Limits of the machine, the container and the job: the least one counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnseg_core.machine import (
    Memory,
    address_space,
    free_disk,
    free_memory,
    in_words,
    usable_cores,
)

GIB = 1024**3


def system(root: Path, **files: str) -> Path:
    """A file system with these files; ``__`` stands for a slash, ``_dot_`` for a dot."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def meminfo(available: int) -> str:
    return f"MemTotal:       99999999 kB\nMemAvailable:   {available // 1024} kB\n"


def test_without_limits_the_machine_counts(tmp_path: Path) -> None:
    root = system(tmp_path, proc__meminfo=meminfo(5 * GIB))

    assert free_memory(root) == Memory(5 * GIB, "the machine's memory")
    assert usable_cores(root, {}) == usable_cores(tmp_path / "nothing", {})


def test_a_container_leaves_its_limit_less_what_is_used(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=meminfo(64 * GIB),
        proc__self__cgroup="0::/\n",
        sys__fs__cgroup__memory_dot_max=str(4 * GIB),
        sys__fs__cgroup__memory_dot_current=str(3 * GIB),
        sys__fs__cgroup__memory_dot_stat=f"anon 1\ninactive_file {GIB}\n",
    )

    assert free_memory(root) == Memory(2 * GIB, "the memory limit of this container or job")


def test_the_narrowest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=meminfo(64 * GIB),
        proc__self__cgroup="0::/job/step\n",
        sys__fs__cgroup__job__step__memory_dot_max="max\n",
        sys__fs__cgroup__job__memory_dot_max=str(7 * GIB),
        sys__fs__cgroup__job__memory_dot_current=str(GIB),
    )

    found = free_memory(root)

    assert found is not None
    assert found.free == 6 * GIB


def test_version_1_of_control_groups(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=meminfo(64 * GIB),
        proc__self__cgroup="5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes=str(3 * GIB),
        sys__fs__cgroup__memory__memory_dot_usage_in_bytes=str(GIB),
        sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="100000",
        sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000",
    )

    found = free_memory(root)

    assert found is not None
    assert found.free == 2 * GIB
    assert usable_cores(root, {}) == 1


def test_an_unlimited_group_limits_nothing(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=meminfo(GIB),
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712",
        sys__fs__cgroup__cpu_dot_max="max 100000",
        sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="-1",
    )

    assert free_memory(root) == Memory(GIB, "the machine's memory")
    assert usable_cores(root, {}) == usable_cores(tmp_path / "nothing", {})


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000", 1), ("100000 100000", 1)])
def test_a_quota_of_processor_time_is_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    root = system(tmp_path, sys__fs__cgroup__cpu_dot_max=quota)

    assert usable_cores(root, {}) == cores


def test_a_cluster_job_gets_what_it_asked_for(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, {"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert usable_cores(tmp_path, {"SLURM_CPUS_PER_TASK": ""}) >= 1


def test_this_machine_tells_its_memory() -> None:
    found = free_memory()

    assert found is not None
    assert found.free > 0
    assert address_space() is None or address_space() > 0  # type: ignore[operator]


def test_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "not" / "yet") == pytest.approx(free_disk(tmp_path), rel=0.1)


@pytest.mark.parametrize(
    ("size", "words"),
    [(3.14e9, "3.1 GB"), (8.7e8, "870 MB"), (1.6e10, "16 GB"), (7.1e11, "710 GB"), (0, "0 MB")],
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert in_words(size) == words
