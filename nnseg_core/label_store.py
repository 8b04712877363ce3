"""Segmentations of one stage on the network's grid of the next, on disk, read by patch.

A case is one file, ``CASE.b2nd`` (int16), which appears only when it is complete. What it was made
from stands in the same file, so that an outdated one is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.arrays import chunk_shape, open_array, read_box, save_array
from nnseg_core.case import OUTSIDE
from nnseg_core.errors import DatasetError, disk_full
from nnseg_core.geometry import Box
from nnseg_core.machine import free_disk
from nnseg_core.store import require_file_name

ENDING = ".b2nd"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStore:
    """Label maps (z, y, x) by case. Holds no open files, as ``CaseStore``."""

    folder: Path

    def write(
        self, identifier: str, label: NDArray[Any], patch_size: Sequence[int], key: str
    ) -> None:
        """Add a label map, in blocks that suit patches of ``patch_size``; replaces an older one.

        The argument ``key`` tells what it was made from. Raises ``DiskFull`` where it does not
        fit; then nothing of it is left.
        """
        require_file_name(identifier)
        self.folder.mkdir(parents=True, exist_ok=True)
        chunks, blocks = chunk_shape((1, *label.shape), patch_size)
        beside = self.folder / f".{identifier}.new{ENDING}"
        beside.unlink(missing_ok=True)
        voxels = label.astype(np.int16, copy=False)
        try:
            save_array(beside, voxels, chunks[1:], blocks[1:], about={"key": key})
            beside.replace(self._file(identifier))
        except Exception as error:
            beside.unlink(missing_ok=True)
            if free_disk(self.folder) < voxels.nbytes:
                raise disk_full(self.folder) from error
            raise

    def key(self, identifier: str) -> str | None:
        """What ``write`` was told of a case; None where there is none, or it is damaged."""
        if not self._file(identifier).is_file():
            return None
        try:
            label = open_array(self._file(identifier))
            return str(label.schunk.vlmeta["key"])
        except (DatasetError, KeyError):
            return None

    def read(self, identifier: str) -> NDArray[np.int16]:
        """A whole label map."""
        return np.asarray(self._open(identifier)[:])

    def patch(self, identifier: str, box: Box) -> NDArray[np.int16]:
        """The label map (z, y, x) within a box, which may reach outside: ``OUTSIDE`` there."""
        return np.asarray(read_box(self._open(identifier), box, fill=OUTSIDE))

    def _open(self, identifier: str) -> Any:
        if not self._file(identifier).is_file():
            raise DatasetError(
                f"the segmentation of case {identifier!r} by the previous stage is not in "
                f"{self.folder} any more. Run the same 'nnseg train' again, which makes it anew."
            )
        return open_array(self._file(identifier))

    def _file(self, identifier: str) -> Path:
        return self.folder / f"{identifier}{ENDING}"
