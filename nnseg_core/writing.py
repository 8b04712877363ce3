"""Writing for users: whole or not at all, and one message where a place takes nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nnseg_core.errors import FULL, NnsegError, disk_full


def make_folder(path: Path) -> None:
    """Make a folder, with those it lies in, and see that it may be written to.

    Raises ``NnsegError`` where it cannot be, ``DiskFull`` where only room is missing.
    """
    with writing(path):
        _make_folder(path)


def require_place(path: Path) -> None:
    """See that a folder could be made at ``path``, and make nothing; raises as ``make_folder``."""
    with writing(path):
        there = next(
            place for place in (path.absolute(), *path.absolute().parents) if _exists(place)
        )
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        _require_access(there)


def require_file(path: Path) -> None:
    """See that a file may be written at ``path``, whose folder is made; raises as ``whole``."""
    with writing(path):
        _make_folder(path.parent)
        if path.is_dir():
            raise NnsegError(f"{path} is a folder. Name the file to write.")


@contextmanager
def whole(path: Path) -> Generator[Path]:
    """A path beside ``path`` to write to, which takes its name when the block ends without error.

    Missing folders are made. Raises ``NnsegError`` where nothing can be written, ``DiskFull``
    where only room is missing.
    """
    require_file(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            yield beside
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Around what writes ``path`` or beside it: what the system refuses is said of ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not of the system: a defect
            raise
        raise _unwritable(path, error) from error


def _make_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    _require_access(path)


def _require_access(folder: Path) -> None:
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _unwritable(path: Path, error: OSError) -> NnsegError:
    if error.errno in FULL:
        return disk_full(path)
    there = next((place for place in (path, *path.parents) if _exists(place)), path)
    reason = error.strerror
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        reason = f"{there} is not a folder"
    elif there != path:
        reason = f"{there} takes nothing new ({error.strerror})"
    return NnsegError(f"{path} cannot be written: {reason}. Name a place where you may write.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that one may not look into
        return False
