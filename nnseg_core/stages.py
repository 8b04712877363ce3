"""How long the stages of a work take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import Logits


class Stopwatch:
    """Seconds by stage, also of stages that run side by side in threads.

    Where one stage runs within another, its time counts for itself only.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes."""
        within_outer = getattr(self._thread, "within", 0.0)
        self._thread.within = 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            with self._lock:
                own = taken - self._thread.within
                self.seconds[stage] = self.seconds.get(stage, 0.0) + own
            self._thread.within = within_outer + taken


@dataclass(frozen=True)
class TimedLogits:
    """Logits whose computing is timed as ``stage``, whenever it happens."""

    logits: Logits
    stopwatch: Stopwatch
    stage: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Outputs, and voxels along z, y and x."""
        return self.logits.shape

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[np.floating]:
        with self.stopwatch.timing(self.stage):
            return self.logits[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        with self.stopwatch.timing(self.stage):
            return np.asarray(self.logits, dtype=dtype)
