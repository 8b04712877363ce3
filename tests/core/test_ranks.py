from __future__ import annotations

import pytest

from nnseg_core.errors import NnsegError
from nnseg_core.ranks import Ranks, first_node, from_environment

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_a_process_that_nobody_launched_with_others_is_alone():
    assert from_environment({}) == Ranks()
    assert from_environment({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}) == Ranks()


def test_torchrun_says_which_rank_this_is():
    ranks = from_environment(TORCHRUN)

    assert (ranks.rank, ranks.count, ranks.local, ranks.beside) == (5, 8, 1, 4)
    assert (ranks.address, ranks.port) == ("node1", 29500)
    assert not ranks.main


def test_srun_says_which_rank_this_is():
    ranks = from_environment(SRUN)

    assert (ranks.rank, ranks.count, ranks.local, ranks.beside) == (3, 4, 1, 2)
    assert ranks.address == "gpu07"
    assert ranks.bound
    assert from_environment({**SRUN, "MASTER_ADDR": "here"}).address == "here"


def test_the_tasks_of_a_step_meet_at_one_port_and_other_jobs_at_another():
    ports = {from_environment({**SRUN, "SLURM_PROCID": rank}).port for rank in "0123"}

    assert len(ports) == 1
    assert from_environment({**SRUN, "SLURM_JOB_ID": "1235"}).port not in ports
    assert from_environment({**SRUN, "MASTER_PORT": "4000"}).port == 4000


def test_torchrun_within_a_task_of_slurm_is_what_counts():
    assert from_environment({**SRUN, **TORCHRUN}).rank == 5


def test_a_batch_script_without_srun_is_one_process():
    job = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}

    assert from_environment(job) == Ranks()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu03", "gpu03"),
        ("gpu03,gpu04", "gpu03"),
        ("gpu[03-05,9],big1", "gpu03"),
        ("r[1-2]-ib,x", "r1-ib"),
        ("", ""),
    ],
)
def test_the_first_node_of_a_list(nodes: str, first: str):
    assert first_node(nodes) == first


def test_half_an_environment_is_refused():
    with pytest.raises(NnsegError, match="WORLD_SIZE is 8, but MASTER_ADDR is not set"):
        from_environment({**TORCHRUN, "MASTER_ADDR": ""})
    with pytest.raises(NnsegError, match="RANK is 'one' in the environment; it must be a number"):
        from_environment({**TORCHRUN, "RANK": "one"})
    with pytest.raises(NnsegError, match="rank 8 of 8; they are numbered from 0"):
        from_environment({**TORCHRUN, "RANK": "8"})
    with pytest.raises(NnsegError, match="does not name their nodes"):
        from_environment({**SRUN, "SLURM_STEP_NODELIST": ""})


@pytest.mark.parametrize(
    ("batch", "count", "parts"),
    [(4, 2, ["01", "23"]), (5, 2, ["012", "34"]), (7, 3, ["012", "34", "56"]), (2, 1, ["01"])],
)
def test_a_batch_is_divided_and_the_remainder_goes_to_the_first(
    batch: int, count: int, parts: list[str]
):
    divided = [Ranks(rank=rank, count=count).samples(batch) for rank in range(count)]

    assert ["".join(map(str, samples)) for samples in divided] == parts


def test_more_ranks_than_samples_are_refused():
    with pytest.raises(NnsegError, match="8 processes cannot share batches of 2"):
        Ranks(rank=0, count=8).samples(2)


def test_cases_are_dealt_out():
    assert [Ranks(rank=rank, count=3).mine("abcdefg") for rank in range(3)] == [
        ["a", "d", "g"],
        ["b", "e"],
        ["c", "f"],
    ]


def test_cores_are_shared_where_the_launcher_has_not_bound_them():
    assert Ranks(count=4, beside=4).cores(16) == 4
    assert Ranks(count=4, beside=4).cores(2) == 1
    assert Ranks(count=4, beside=4).cores(0) == 0
    assert Ranks(count=4, beside=4, bound=True).cores(16) == 16
