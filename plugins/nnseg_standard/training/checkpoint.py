"""Checkpoints: one safetensors file each, which is replaced at once or not at all.

Its tensors are the network's weights (``network.NAME``) and what the optimizer remembers
(``optimizer.PARAMETER.NAME``), the average of the weights if one is kept (``average.NAME``), and in
the middle of an epoch its losses (``epoch.losses``); the rest is JSON in the file's header. Nothing
is pickled.
A process that is killed leaves the old file or the new one, and at most a ``.part`` beside it,
which the next save overwrites. What is written is a copy in the host's memory, so the training may
go on meanwhile.
"""

from __future__ import annotations

import json
import logging
import operator
import os
import platform
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import nnseg_core
from nnseg_core.errors import ModelError, writing_tensors
from nnseg_standard.training.distributed import main_process
from nnseg_standard.training.state import LoopState

LAST = "checkpoint_last.safetensors"
BEST = "checkpoint_best.safetensors"

MINUTE = 60.0
"""Seconds of training after which the state is saved too: a kill loses no more, or an epoch."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one training.

    ``run`` describes it as JSON values: only a run of the same description goes on from them.
    ``usual`` are values of options by default: what a run was like that did not have them yet.
    ``precision`` is what it computes in. ``every`` is how many epochs lie between two saves of the
    last state at most; one a minute is there besides. ``begin`` is given the writing of files to
    do, in this order; it does so at once, or in a thread.
    """

    folder: Path
    run: Mapping[str, Any]
    precision: str
    every: int
    begin: Callable[[Callable[[], None]], None] = operator.call
    usual: Mapping[str, Any] = field(default_factory=dict)

    def save(self, state: LoopState) -> None:
        """Keep the last state when it is due, and the best one whenever there is a new best."""
        due = {LAST: is_due(state, self.every), BEST: state.is_best}
        names = [name for name, wanted in due.items() if wanted]
        if names and main_process():
            contents = contents_of(state, self.run, self.precision)
            self.begin(lambda: self._write(names, contents))

    def _write(self, names: Sequence[str], contents: Contents) -> None:
        for name in names:
            write(self.folder / name, contents)

    def resume(self, state: LoopState) -> None:
        """Take ``state`` to where the last save was; without one it stays at the beginning.

        Raises ``ModelError`` when that was another run, or the file cannot be read.
        """
        path = self.folder / LAST
        if not path.is_file():
            return
        tensors, description = read(path)
        require_same_run(path, {**self.usual, **description["run"]}, {**self.usual, **self.run})
        try:
            restore(state, tensors, description)
        except (RuntimeError, ValueError, KeyError) as error:  # torch's words for what differs
            raise ModelError(
                f"{path} does not fit this network or optimizer: {error}. Go on with the parts it "
                "was started with, or start anew with --restart."
            ) from None
        steps = len(state.under_way.losses)
        more = f" and {steps} steps of the next one" if steps else ""
        log.info("going on from %s, after epoch %d%s", path, state.epoch, more)


def is_due(state: LoopState, every: int) -> bool:
    """Whether the last state should be saved now."""
    if state.in_mid_epoch:
        return True
    *before, last = (report.seconds for report in state.reports)
    minutes = (sum(before) + last) // MINUTE - sum(before) // MINUTE
    return state.epochs_left == 0 or state.epoch % every == 0 or minutes > 0


def saved_precision(folder: Path) -> str | None:
    """What the run that was saved last computed in; None where there is none."""
    path = folder / LAST
    return str(read_description(path)["precision"]) if path.is_file() else None


def saved_run(folder: Path) -> dict[str, Any] | None:
    """What the run that was saved last said of itself; None where there is none."""
    path = folder / LAST
    return dict(read_description(path)["run"]) if path.is_file() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A state as it will be written: tensors in memory that nothing changes, JSON for the rest."""

    tensors: dict[str, Tensor]
    header: str


def contents_of(state: LoopState, run: Mapping[str, Any], precision: str) -> Contents:
    """Copy ``state`` as it stands; a GPU is waited for once."""
    saved = state.state_dict()
    optimizer = saved["optimizer"]
    weights = {f"network.{name}": tensor for name, tensor in saved["network"].items()}
    tensors, values = split_memory(optimizer["state"])
    under_way = saved["under_way"]
    losses = {f"epoch.{name}": tensor for name, tensor in under_way.get("tensors", {}).items()}
    averaged = saved["average"].get("tensors", {})
    average = {f"average.{name}": tensor for name, tensor in averaged.items()}
    description = {
        "run": run,
        "precision": precision,
        "versions": versions(),
        "reports": saved["reports"],
        "under_way": under_way.get("times"),
        "scaler": saved["scaler"],
        "optimizer": {"param_groups": optimizer["param_groups"], "values": values},
        "averaged_steps": saved["average"].get("steps", 0),
    }
    return Contents(
        tensors=on_cpu({**weights, **tensors, **losses, **average}),
        header=json.dumps(description, allow_nan=False),
    )


def write(path: Path, contents: Contents) -> None:
    """Replace the file at ``path`` by one that holds ``contents``. Raises ``DiskFull``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    with writing_tensors(path):
        save_file(contents.tensors, beside, metadata={"nnseg": contents.header})
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors by name, and the description beside them.

    Raises ``ModelError`` when the file is damaged, or was written by something else.
    """
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, described(file)  # noqa: SIM118


def read_description(path: Path) -> dict[str, Any]:
    """The description alone; raises as ``read`` does."""
    with opened(path) as file:
        return described(file)


def described(file: Any) -> dict[str, Any]:
    """What a checkpoint's header says."""
    description: dict[str, Any] = json.loads(file.metadata()["nnseg"])
    return description


@contextmanager
def opened(path: Path) -> Generator[Any]:
    """A checkpoint as safetensors opens it; what goes wrong in the block is a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as a checkpoint: {error}. Delete it to start anew."
        ) from None


def restore(
    state: LoopState, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Take ``state`` to where the one that was written stood."""
    optimizer = description["optimizer"]
    times = description.get("under_way")  # checkpoints of nnseg 0.1 have none
    averaged = description.get("averaged_steps", 0)
    state.load_state_dict(
        {
            "network": named(tensors, "network."),
            "optimizer": {
                "state": join_memory(tensors, optimizer["values"]),
                "param_groups": optimizer["param_groups"],
            },
            "scaler": description["scaler"],
            "reports": description["reports"],
            "under_way": {"tensors": named(tensors, "epoch."), "times": times} if times else {},
            "average": {"tensors": named(tensors, "average."), "steps": averaged},
        }
    )


def named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def split_memory(
    memory: Mapping[int, Mapping[str, Any]],
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """What an optimizer remembers per parameter: tensors as ``optimizer.0.name``, then the rest."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for parameter, entries in memory.items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{parameter}.{name}"] = value
            else:
                values.setdefault(str(parameter), {})[name] = value
    return tensors, values


def join_memory(
    tensors: Mapping[str, Tensor], values: Mapping[str, Mapping[str, Any]]
) -> dict[int, dict[str, Any]]:
    """The inverse of ``split_memory``."""
    memory = {int(parameter): dict(entries) for parameter, entries in values.items()}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, parameter, name = key.split(".", maxsplit=2)
            memory.setdefault(int(parameter), {})[name] = tensor
    return memory


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies with memory of their own, as safetensors wants it; tied weights are written twice.

    Memory that CUDA copies to is pinned, or each copy would be waited for.
    """
    copies = {
        name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        for name, tensor in tensors.items()
    }
    for name, tensor in tensors.items():
        copies[name].copy_(tensor.detach(), non_blocking=True)
    for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()
    return copies


def require_same_run(path: Path, saved: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Raise ``ModelError`` naming every difference between two descriptions of a run."""
    saved, now = (json.loads(json.dumps(each)) for each in (saved, run))
    differences = [
        f"{name} was {saved.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted({*saved, *now})
        if saved.get(name) != now.get(name)
    ]
    if differences:
        raise ModelError(
            f"{path} is of another training: {'; '.join(differences)}. Go on with the options it "
            "was started with, or start anew with --restart."
        )


def versions() -> dict[str, str]:
    """What wrote a checkpoint, for whoever has to explain it later."""
    return {
        "nnseg": nnseg_core.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
