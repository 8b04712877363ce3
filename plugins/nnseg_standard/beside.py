"""Work done beside the training loop: one thread, one piece after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Beside:
    """Runs pieces of work in a thread, in the order given, at most one at a time.

    What a piece raises is raised by the next call here. As a context it ends with all work done.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin a piece of work, once the one before has ended."""
        self.finish()
        # No daemon: an interpreter that ends in the middle waits for what has been begun.
        self._thread = threading.Thread(target=self._run, args=(work,), name="nnseg-beside")
        self._thread.start()

    def finish(self) -> None:
        """Wait for the work under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.finish()
        except Exception as late:
            if error is None:
                raise
            error.add_note(f"Work beside the training failed too: {late}")

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised where the work comes from, not here
            self._error = error
