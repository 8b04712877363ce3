"""Which of several processes that were launched together this is, as torchrun or SLURM tell it.

Each process is a *rank*, numbered from 0. torchrun sets ``RANK``, ``WORLD_SIZE`` and where to meet;
``srun`` sets ``SLURM_PROCID`` and names the nodes, the first of which is where rank 0 runs. A
script of ``sbatch`` that calls nnseg without ``srun`` is one process, whatever the job has asked
for. Nothing here imports torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nnseg_core.errors import NnsegError

T = TypeVar("T")

SLURM_PORTS = range(15000, 30000)
"""Where jobs of SLURM meet: below the ports that systems hand out, each job at one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """One of ``count`` processes; by default the only one.

    ``local`` is its number on its machine, where there are ``beside`` of them. ``bound`` says
    whether each was given cores of its own. They meet at ``address`` and ``port``; ``run`` tells
    this launch from others.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    beside: int = 1
    bound: bool = False
    address: str = "127.0.0.1"
    port: int = 0
    run: str = ""

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> list[T]:
        """This rank's part of some work, dealt out like cards."""
        return list(items[self.rank :: self.count])

    def samples(self, batch_size: int) -> range:
        """This rank's part of a batch: equally many for each, one more for the first ones.

        Raises ``NnsegError`` where there are fewer samples than ranks.
        """
        if self.count > batch_size:
            raise NnsegError(
                f"{self.count} processes cannot share batches of {batch_size}: each needs a sample "
                f"of its own. Launch at most {batch_size}, or train with a larger batch "
                f"(--set batch_size={self.count}, or trainer.batch_size where a preset sets that). "
                "Other folds can use the other GPUs."
            )
        each, more = divmod(batch_size, self.count)
        first = self.rank * each + min(self.rank, more)
        return range(first, first + each + (self.rank < more))

    def cores(self, usable: int) -> int:
        """How many of the ``usable`` cores are this process's; at least 1, and 0 of 0."""
        return usable if self.bound or usable == 0 else max(1, usable // self.beside)


def from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """What torchrun or SLURM say; alone where neither has launched this process.

    Raises ``NnsegError`` for an environment that says only half of it.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _of_torchrun(environment)
    if "SLURM_PROCID" in environment and _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1:
        return _of_slurm(environment)
    return Ranks()


def _of_torchrun(environment: Mapping[str, str]) -> Ranks:
    count = _number(environment, "WORLD_SIZE")
    if count == 1:
        return Ranks()
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not environment.get(name):
            raise NnsegError(
                f"WORLD_SIZE is {count}, but {name} is not set, so the processes cannot meet. "
                "torchrun sets it; with another launcher, export the name of the node of rank 0 "
                "as MASTER_ADDR and a free port as MASTER_PORT. For one process, unset RANK and "
                "WORLD_SIZE."
            )
    rank, port = _number(environment, "RANK"), _number(environment, "MASTER_PORT")
    began = (environment.get(name, "") for name in TORCHRUN_RUN)
    return _checked(
        Ranks(
            rank=rank,
            count=count,
            local=_number(environment, "LOCAL_RANK", rank),
            beside=_number(environment, "LOCAL_WORLD_SIZE", count),
            address=environment["MASTER_ADDR"],
            port=port,
            run="/".join(("torchrun", str(port), *began)),
        )
    )


TORCHRUN_RUN = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")


def _of_slurm(environment: Mapping[str, str]) -> Ranks:
    job, step = (environment.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    restart = environment.get("SLURM_RESTART_COUNT", "0")
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    address = environment.get("MASTER_ADDR") or first_node(nodes)
    if not address:
        raise NnsegError(
            "SLURM has started several processes but does not name their nodes "
            "(SLURM_STEP_NODELIST). Export the name of the node of rank 0 as MASTER_ADDR."
        )
    number = sum(int(digits) for digits in re.findall(r"\d+", f"{job} {step}"))
    return _checked(
        Ranks(
            rank=_number(environment, "SLURM_PROCID"),
            count=_number(environment, "SLURM_STEP_NUM_TASKS"),
            local=_number(environment, "SLURM_LOCALID", 0),
            beside=_tasks_per_node(environment),
            bound=True,
            address=address,
            port=_number(environment, "MASTER_PORT", SLURM_PORTS[16 * number % len(SLURM_PORTS)]),
            run=f"slurm/{job}/{step}/{restart}",
        )
    )


def first_node(nodes: str) -> str:
    """The first name of a list as SLURM writes it: ``gpu[03-05,9],big1`` begins with ``gpu03``."""
    found = re.match(r"([^,\[\s]+)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    return "".join(part or "" for part in found.groups()) if found else ""


def _tasks_per_node(environment: Mapping[str, str]) -> int:
    """The most on any node; SLURM writes ``2(x3),1``."""
    listed = re.sub(r"\(x\d+\)", "", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    return max((int(number) for number in re.findall(r"\d+", listed)), default=1)


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name) or ("" if default is None else str(default))
    if not value.isdecimal():
        raise NnsegError(f"{name} is {value!r} in the environment; it must be a number.")
    return int(value)


def _checked(ranks: Ranks) -> Ranks:
    if ranks.rank >= ranks.count:
        raise NnsegError(
            f"the environment says that this is rank {ranks.rank} of {ranks.count}; they are "
            "numbered from 0."
        )
    return ranks
