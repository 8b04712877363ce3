"""Preprocessed cases on disk, read by patch: compressed, memory-mapped, written atomically.

A case is a folder with ``image.b2nd`` (float32), ``label.b2nd`` (int16, where there is a label),
``foreground.safetensors`` and ``case.json``. The folder appears only when it is complete; while a
case is replaced, the old one stays readable until the new one stands.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from nnseg_core.arrays import chunk_shape, open_array, read_box, save_array
from nnseg_core.case import OUTSIDE, PreprocessedCase, Restoration
from nnseg_core.errors import FULL, DatasetError, disk_full
from nnseg_core.geometry import Box, Geometry
from nnseg_core.machine import free_disk


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStore:
    """The preprocessed cases of one configuration, one folder each.

    Holds no open files: opening a case takes 0.1 ms, a patch some. So it can be sent to other
    processes, used from several threads, and read however many cases there are.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Plan and configuration, the same on every machine: ``standard/3d_fullres``."""
        return "/".join(self.folder.parts[-2:])

    def identifiers(self) -> tuple[str, ...]:
        """The complete cases, sorted."""
        names = {_identifier(file.parent.name) for file in self.folder.glob("*/case.json")}
        return tuple(sorted(name for name in names if name))

    def write(self, case: PreprocessedCase, patch_size: Sequence[int], key: str = "") -> None:
        """Add a case, in blocks that suit patches of ``patch_size``; replaces one of that name.

        The argument ``key`` tells what the case was made from, so that a later run can compare.
        Raises ``DatasetError`` when the identifier cannot be the name of a folder, ``DiskFull``
        when the case does not fit; then nothing of it is left.
        """
        require_file_name(case.identifier)
        new = self.folder / f".{case.identifier}.new"
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(parents=True)
            _write_case(new, case, patch_size, key)
        except Exception as error:
            full = _is_full(error, self.folder, case)
            shutil.rmtree(new, ignore_errors=True)
            if full:
                raise disk_full(self.folder) from error
            raise
        self._publish(new, case.identifier)

    def read(self, identifier: str) -> PreprocessedCase:
        """A whole case."""
        folder = self._case(identifier)
        raw = _described(folder)
        label = folder / "label.b2nd"
        return PreprocessedCase(
            identifier=raw["identifier"],
            image=open_array(folder / "image.b2nd")[:],
            label=open_array(label)[:] if label.is_file() else None,
            foreground=self.foreground(identifier),
            restoration=_restoration(raw["restoration"]),
        )

    def key(self, identifier: str) -> str | None:
        """What ``write`` was told that the case was made from; None where there is no such case."""
        folder = self._find(identifier)
        return None if folder is None else str(_described(folder)["key"])

    def shape(self, identifier: str) -> tuple[int, int, int]:
        """Voxels per axis (z, y, x)."""
        _, z, y, x = open_array(self._case(identifier) / "image.b2nd").shape
        return z, y, x

    def foreground(self, identifier: str) -> dict[str, NDArray[np.int32]]:
        """Coordinates (n, 3) to sample around, by label or region name, in order of the names."""
        coordinates = load_file(self._case(identifier) / "foreground.safetensors")
        return {name: coordinates[name] for name in sorted(coordinates)}

    def patch(self, identifier: str, box: Box) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Image (channel, z, y, x) and label (z, y, x) of a box, which may reach outside.

        Beyond the case the image is 0 and the label ``OUTSIDE``, as nnU-Net pads.
        """
        folder = self._case(identifier)
        if not (folder / "label.b2nd").is_file():
            raise DatasetError(
                f"case {identifier!r} in {self.folder} was prepared without a label, so it has no "
                "patches to train on. Add its label file and run 'nnseg preprocess' again."
            )
        image = read_box(open_array(folder / "image.b2nd"), box, fill=0)
        label = read_box(open_array(folder / "label.b2nd"), box, fill=OUTSIDE)
        return image, label

    def _find(self, identifier: str) -> Path | None:
        """The folder of a case: the usual one, or where it waits while it is being replaced."""
        folders = (self.folder / identifier, self.folder / f".{identifier}.old")
        return next((folder for folder in folders if (folder / "case.json").is_file()), None)

    def _case(self, identifier: str) -> Path:
        folder = self._find(identifier)
        if folder is None:
            raise DatasetError(
                f"case {identifier!r} is not in {self.folder}. "
                "Run 'nnseg preprocess' for this dataset."
            )
        return folder

    def _publish(self, new: Path, identifier: str) -> None:
        """Rename, having moved the old one away: no platform replaces a folder in one step."""
        target, old = self.folder / identifier, self.folder / f".{identifier}.old"
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _write_case(folder: Path, case: PreprocessedCase, patch_size: Sequence[int], key: str) -> None:
    chunks, blocks = chunk_shape(case.image.shape, patch_size)
    save_array(folder / "image.b2nd", case.image.astype(np.float32, copy=False), chunks, blocks)
    if case.label is not None:
        label = case.label.astype(np.int16, copy=False)
        save_array(folder / "label.b2nd", label, chunks[1:], blocks[1:])
    coordinates = {
        name: np.ascontiguousarray(points, dtype=np.int32)
        for name, points in case.foreground.items()
    }
    save_file(coordinates, folder / "foreground.safetensors")
    described = {
        "identifier": case.identifier,
        "key": key,
        "restoration": asdict(case.restoration),
    }
    (folder / "case.json").write_text(json.dumps(described, indent=1), encoding="utf-8")


def _is_full(error: Exception, folder: Path, case: PreprocessedCase) -> bool:
    """Whether there was no room: blosc2 and safetensors raise errors of their own."""
    if isinstance(error, OSError):
        return error.errno in FULL
    label = 0 if case.label is None else case.label.nbytes
    return "os error 28" in str(error) or free_disk(folder) < case.image.nbytes + label


def _described(folder: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    return described


def _restoration(raw: Mapping[str, Any]) -> Restoration:
    original = {name: tuple(numbers) for name, numbers in raw["original"].items()}
    return Restoration(
        original=Geometry(**original),
        axes=tuple(raw["axes"]),
        crop=Box(start=tuple(raw["crop"]["start"]), stop=tuple(raw["crop"]["stop"])),
        spacing=tuple(raw["spacing"]),
    )


def require_file_name(identifier: str) -> None:
    """Raise ``DatasetError`` for a case that no file can be named after."""
    if not identifier or identifier.startswith(".") or set(identifier) & set("/\\\0"):
        raise DatasetError(
            f"case {identifier!r} cannot be the name of a folder: it must not be empty, start with "
            "a dot, or hold / or \\. Rename its files."
        )


def _identifier(folder: str) -> str | None:
    """The case that a folder's name stands for: hidden folders are being written or replaced."""
    if not folder.startswith("."):
        return folder
    return folder[1:].removesuffix(".old") if folder.endswith(".old") else None
