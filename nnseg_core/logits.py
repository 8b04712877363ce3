"""Logits on disk: half precision, on the network's grid, in 2.7 % of what float32 takes.

What an ensemble cannot notice is left out: of exclusive classes only the distance to the highest
logit is kept, probabilities below ``NEGLIGIBLE`` count as that, and numbers have 5 bits after the
first, so that a probability is wrong by at most 0.005. What is left compresses well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core import files
from nnseg_core.case import Logits, Prediction, Restoration
from nnseg_core.errors import DatasetError, disk_full
from nnseg_core.machine import free_disk
from nnseg_core.writing import whole

ENDING = ".logits.b2nd"

NEGLIGIBLE = 1e-4
"""Probability that does not matter to an ensemble. With 1e-5 files are twice as large."""

DROPPED_BITS = 5
"""Of the 10 that float16 has behind the first: 5 stay. An ensemble then labels 66 of 978624
voxels of Hippocampus otherwise, and 71 with ``COARSE`` (measured)."""

COARSE = ((4.0, 0.25), (5.5, 0.5))
"""From that distance to 0 on, logits are multiples of that step: a probability changes by 0.002 at
most, and files shrink by a fifth (measured)."""

SLICES = 16
"""Per chunk, the unit of compression."""


@contextmanager
def recorded(path: Path, prediction: Prediction, exclusive: bool) -> Generator[Prediction]:
    """The same prediction, whose logits are written to ``path`` as they are read.

    ``exclusive`` says that the outputs are classes, of which one is true, and not regions. The
    file appears whole when the block ends. Raises ``DiskFull`` where it does not fit.
    """
    with whole(path) as beside, _room(path):
        recording = _Recording(prediction.logits, _Writer(beside, prediction, exclusive))
        yield replace(prediction, logits=recording)
        recording.finish()


def write_logits(path: Path, prediction: Prediction, exclusive: bool) -> None:
    """Write all logits of a prediction; raises as ``recorded``."""
    with recorded(path, prediction, exclusive):
        pass


def read_logits(path: Path) -> Prediction:
    """What was recorded; its logits are read and decompressed slice by slice.

    Raises ``DatasetError`` when the file is damaged.
    """
    import blosc2  # takes 0.3 s, which most commands can do without

    try:
        array = blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))
        described = json.loads(array.schunk.vlmeta["case"])
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DatasetError(f"{path} is damaged: {error}. Remove it; it is made again.") from error
    return Prediction(
        identifier=described["identifier"],
        logits=_Stored(array),
        restoration=files.validate(Restoration, described["restoration"], str(path)),
    )


def compact(logits: NDArray[np.floating], exclusive: bool) -> NDArray[np.float16]:
    """Logits (output, ...) as they are stored."""
    values = logits.astype(np.float32)
    if exclusive:
        values -= values.max(axis=0)
    limit = -math.log(NEGLIGIBLE)
    np.clip(values, -limit, limit, out=values)
    for distance, step in COARSE:
        far = np.abs(values) >= distance
        values[far] = np.rint(values[far] / step) * step
    half = values.astype(np.float16)
    bits = half.view(np.uint16)
    bits += 1 << (DROPPED_BITS - 1)  # round: a carry into the exponent is the next power of two
    bits &= 0xFFFF << DROPPED_BITS & 0xFFFF
    return half


class _Stored:
    """Logits in a file, decompressed as they are asked for."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape: tuple[int, ...] = array.shape

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[np.floating]:
        return np.asarray(self._array[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._array[:], dtype=dtype)


class _Recording:
    """Logits that are handed to a writer when they are first read."""

    def __init__(self, logits: Logits | NDArray[np.floating], writer: _Writer) -> None:
        self.shape: tuple[int, ...] = logits.shape
        self._logits, self._writer = logits, writer

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[np.floating]:
        outputs, slices = index
        start, stop, _ = slices.indices(self.shape[1])
        done = self._writer.done
        first = min(start, done)  # slices that the reader skips are written all the same
        read = self._logits[:, first:stop]
        if stop > done:
            self._writer.write(read[:, done - first :])
        return read[outputs, start - first :]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:, :], dtype=dtype)

    def finish(self) -> None:
        """Write what nobody read."""
        while self._writer.done < self.shape[1]:
            start = self._writer.done
            self[:, start : start + SLICES]
        self._writer.flush()


@dataclass
class _Writer:
    """Takes slices as they come and writes them by whole chunks, which never change again."""

    path: Path
    prediction: Prediction
    exclusive: bool

    def __post_init__(self) -> None:
        import blosc2

        outputs, slices, *plane = self.prediction.logits.shape
        self.done = self._flushed = 0
        self._waiting: list[NDArray[np.float16]] = []
        self._array = blosc2.empty(
            (outputs, slices, *plane),
            dtype=np.float16,
            urlpath=str(self.path),
            mode="w",
            chunks=(1, min(SLICES, slices), *plane),
            # A byte shuffle: after a bit shuffle, files are 1.5 times as large (measured).
            cparams=blosc2.CParams(
                codec=blosc2.Codec.ZSTD, clevel=5, filters=[blosc2.Filter.SHUFFLE], nthreads=1
            ),
        )
        described = {
            "identifier": self.prediction.identifier,
            "restoration": asdict(self.prediction.restoration),
        }
        self._array.schunk.vlmeta["case"] = json.dumps(described)

    def write(self, logits: NDArray[np.floating]) -> None:
        """Add the slices (output, slices, y, x) that follow."""
        self._waiting.append(compact(logits, self.exclusive))
        self.done += logits.shape[1]
        if self.done - self._flushed >= SLICES:
            self._put(self.done // SLICES * SLICES)

    def flush(self) -> None:
        """Write what is left, less than a chunk."""
        if self._flushed < self.done:
            self._put(self.done)

    def _put(self, stop: int) -> None:
        held = np.concatenate(self._waiting, axis=1)
        count = stop - self._flushed
        self._array[:, self._flushed : stop] = np.ascontiguousarray(held[:, :count])
        self._waiting, self._flushed = [held[:, count:]], stop


@contextmanager
def _room(path: Path) -> Generator[None]:
    """blosc2 raises an error of its own where there is no room."""
    try:
        yield
    except RuntimeError as error:
        if free_disk(path.parent) > 2**20:
            raise
        raise disk_full(path) from error
