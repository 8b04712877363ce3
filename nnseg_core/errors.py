"""Errors that the user can mend: one clear message, no traceback. Exit code 2, or 1 where work was
done before.

NnsegError
├── DatasetError        something in the dataset folder, named by case and file
├── PlanError           a plan, fingerprint or option that cannot be used
├── PluginError         a component that is missing, clashes, or breaks its contract
├── ModelError          a model folder that cannot be opened
├── DiskFull            nothing more can be written
├── CasesFailed         cases that were set aside, while all others were done (exit code 1)
└── Stopped             work that was asked to stop, and can go on later (exit code 75)

Every other exception is a defect of nnseg or of a plugin and keeps its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager


class NnsegError(Exception):
    """Something the user can mend. The message says what, which, where, and what to do now."""

    exit_code = 2


class DatasetError(NnsegError):
    """A finding in the dataset that makes the work impossible.

    ``code`` is the kind of finding, as ``nnseg check --json`` names it.
    """

    def __init__(self, message: str, code: str = "unreadable") -> None:
        super().__init__(message)
        self.code = code


class PlanError(NnsegError):
    """A plan, a fingerprint or an option that cannot be used."""


class PluginError(NnsegError):
    """A component that is missing, clashes with another, or breaks its contract."""


class ModelError(NnsegError):
    """A model folder that cannot be opened."""


class DiskFull(NnsegError):
    """Nothing more can be written; what was written before is whole."""


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the system's errors that mean a full disk, or a user's share of it."""

REFUSALS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE),
)
"""Of those that the system may answer to any use of a file, through no fault of the program."""


def refusal(error: OSError) -> NnsegError | None:
    """What the system refused, in one line with the path; None for what may be a defect."""
    path = error.filename or "a file"
    if error.errno in FULL:
        return disk_full(path)
    return NnsegError(f"{path}: {error.strerror}.") if error.errno in REFUSALS else None


def disk_full(path: object) -> DiskFull:
    """The error for a disk that was full when ``path`` was to be written."""
    return DiskFull(
        f"{path} cannot be written: the disk is full, or your share of it. Free some room, or "
        "choose another --workspace. What was written before is whole, and the same command goes "
        "on from there."
    )


@contextmanager
def writing_tensors(path: object) -> Generator[None]:
    """Raise ``DiskFull`` where safetensors finds no room: it has errors of its own for that."""
    try:
        yield
    except Exception as error:
        if "os error 28" not in str(error):
            raise
        raise disk_full(path) from error


class CasesFailed(NnsegError):
    """Cases that were set aside, each with its reason, while all others were done."""

    exit_code = 1


class Stopped(NnsegError):
    """Work that was asked to stop in the middle; the same command goes on from there."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h, "try again later": schedulers can be told to queue it again."""
