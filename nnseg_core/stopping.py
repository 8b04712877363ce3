"""Requests to stop, by a signal or by a file. Long work asks between its steps for one.

A scheduler sends SIGTERM or SIGUSR1 before it takes a machine away; whoever cannot send a signal
makes a file. Windows has CTRL_BREAK and the file.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from nnseg_core.errors import Stopped

Stop = Callable[[], str | None]
"""Tells why to stop, such as ``SIGTERM``; None to go on."""

STOP_FILE = "STOP"
"""Made in the folder of a fold it ends the training of that fold; it is deleted when it is seen."""

SIGNALS = ("SIGTERM", "SIGUSR1", "SIGBREAK")
"""Those of them that the platform has are requests to stop."""

EVERY = 1.0
"""Seconds between two looks for a file: on a network disk a look may take milliseconds."""


def never() -> str | None:
    """Nobody asks."""
    return None


@dataclass(kw_only=True)
class StopRequest:
    """Remembers the first request, and tells it whenever it is called.

    ``own`` is a file that is deleted when it is seen; ``files`` are others', and stay.
    """

    own: Path | None = None
    files: Sequence[Path] = ()
    clock: Callable[[], float] = time.monotonic
    _reason: str | None = field(default=None, init=False)
    _looked: float = field(default=float("-inf"), init=False)

    def __call__(self) -> str | None:
        """Why to stop; None to go on."""
        if self._reason is None and self.clock() - self._looked >= EVERY:
            self._looked = self.clock()
            self._reason = self._file()
        return self._reason

    def ask(self, reason: str) -> None:
        """Request it; the first reason is kept."""
        self._reason = self._reason or reason

    def _file(self) -> str | None:
        if self.own is not None and self.own.exists():
            self.own.unlink(missing_ok=True)
            return f"the file {self.own}"
        return next((f"the file {path}" for path in self.files if path.exists()), None)


def stop_request(folder: Path, file: Path | None = None) -> StopRequest:
    """For the training of the fold in ``folder``; the user may have named another ``file``.

    Raises ``Stopped`` where that is there already. What was left in the folder is deleted.
    """
    (folder / STOP_FILE).unlink(missing_ok=True)
    request = StopRequest(own=folder / STOP_FILE, files=() if file is None else (file,))
    if reason := request():
        raise Stopped(f"{reason} says to stop: delete it to train.")
    return request


def stop_at_once(reason: str) -> None:
    """For work that is begun anew anyway. Raises ``Stopped``."""
    raise Stopped(f"stopped by {reason}. The same command goes on from what is complete.")


def require_not_asked(stop: Stop) -> None:
    """Raise ``Stopped`` where it was asked for too late for the work before."""
    if reason := stop():
        stop_at_once(reason)


@contextmanager
def heeding_signals(heed: Callable[[str], None]) -> Generator[None]:
    """Signals are told by name to ``heed`` until the block ends, and do not end the process.

    Python hears signals in its main thread only; in another one this does nothing.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        heed(signal.Signals(number).name)

    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        known = []
    before = {number: signal.signal(number, handle) for number in known}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
