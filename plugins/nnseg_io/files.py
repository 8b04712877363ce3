"""Files at the edge: an unusable one is named in one message, a new one appears whole or not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnseg_core.errors import DatasetError
from nnseg_core.writing import writing


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Around the reading of a file: whatever its decoder raises becomes one ``DatasetError``."""
    if not path.is_file():
        raise DatasetError(f"{path} does not exist.")
    if path.stat().st_size == 0:
        raise DatasetError(f"{path} is empty (0 bytes). Copy it again from where it came from.")
    try:
        yield
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything at a broken file
        raise DatasetError(
            f"{path} cannot be read: {error}. If other software cannot open it either, it is "
            "damaged or not of the format its name says: copy or export it again."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, whose file takes the place of ``path`` once it is complete.

    It has the same name, in a temporary folder beside, so that formats which recognise endings
    or write a second file (``.mhd`` and its ``.zraw``) do so; ``path`` itself is put in place last.
    Raises ``NnsegError`` where nothing can be written.
    """
    with writing(path), tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        yield Path(folder) / path.name
        for written in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
            written.replace(path.parent / written.name)
