"""A worker process: take one case after another from standard input, and answer with what became
of it.

It needs nothing but two pipes: no shared memory, no semaphores, and no second run of the main
script, so that it works in a notebook and in a script without ``if __name__ == "__main__"``.
Messages are pickled, between two processes of the same program; nothing of it reaches a disk.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.spawn import get_executable
from queue import SimpleQueue
from typing import Any, BinaryIO

from nnseg_core.desk import Desk, at
from nnseg_core.outcome import Outcome, attempt

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from nnseg_core.worker import serve; serve()"
)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Worker:
    """A worker process as its parent sees it.

    ``events`` receives (worker, message) for each message, and (worker, None) when it has ended.
    ``item`` is what it works on, ``stage`` what it last said about that.
    """

    def __init__(self, room: int, events: SimpleQueue[tuple[Worker, Any]]) -> None:
        self.item: Any = None
        self.stage = "starting"
        self.ready = False
        self._function: bytes | None = None
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
        self.process = subprocess.Popen(
            [os.fsdecode(get_executable() or sys.executable), "-c", BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._listener = threading.Thread(target=_listen, args=(self, events), daemon=True)
        self._listener.start()
        self._send(room)

    def give(self, function: bytes, item: Any, patience: float) -> None:
        """Start work on an item; ``function`` is pickled, and sent only when it is another."""
        self.item, self.stage = item, "starting"
        if function != self._function:
            self._function = function
            self._send(function)
        self._send((item, patience))

    def end(self) -> None:
        """Kill it, which loses what it was doing."""
        self.process.kill()
        self.process.wait()
        self._listener.join()  # it reads to the end, which has come
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was not sent any more
                pipe.close()

    def ending(self) -> tuple[str, int | None]:
        """How a process that has died ended, and the most memory in bytes that it had."""
        used = None
        if hasattr(os, "wait4") and self.process.returncode is None:
            try:
                _, status, usage = os.wait4(self.process.pid, 0)
            except ChildProcessError:
                pass
            else:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                used = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        code = self.process.wait()
        if code < 0:
            return f"killed by {signal.Signals(-code).name}", used
        return f"ended with exit code {code}", used

    def _send(self, message: Any) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # it has died, which the listener tells
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()


def _listen(worker: Worker, events: SimpleQueue[tuple[Worker, Any]]) -> None:
    assert worker.process.stdout is not None
    while True:
        try:
            message = pickle.load(worker.process.stdout)
        except Exception:  # the end, or half a message before it
            events.put((worker, None))
            return
        events.put((worker, message))


def serve() -> None:
    """The life of a worker. It ends when its standard input does, at whatever point it is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    faulthandler.enable()
    requests, replies = _private_pipes()
    tasks: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(requests, tasks), daemon=True).start()
    desk = Desk(room=tasks.get())
    _reply(replies, "ready")
    function: Callable[[Any], Any] | None = None
    while True:
        task = tasks.get()
        if isinstance(task, bytes):
            function = _unpickled(task)
            continue
        item, patience = task
        assert function is not None
        desk.tell = _teller(replies, patience)
        with at(desk):
            outcome = attempt(function, item, desk)
        faulthandler.cancel_dump_traceback_later()
        _reply(replies, _sendable(outcome))


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Pipes to the parent that no library can read or print into by mistake."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _receive(requests: BinaryIO, tasks: SimpleQueue[Any]) -> None:
    while True:
        try:
            tasks.put(pickle.load(requests))
        except Exception:  # the parent is gone
            os._exit(0)


def _reply(replies: BinaryIO, message: Any) -> None:
    replies.write(message if isinstance(message, bytes) else pickle.dumps(message))
    replies.flush()


def _teller(replies: BinaryIO, patience: float) -> Callable[[str], None]:
    """Tells the parent of each stage; one that takes too long prints where it is."""

    def tell(stage: str) -> None:
        faulthandler.dump_traceback_later(patience)
        _reply(replies, ("stage", stage))

    return tell


def _unpickled(function: bytes) -> Callable[[Any], Any]:
    """The function, or one that raises why it cannot be had."""
    try:
        loaded: Callable[[Any], Any] = pickle.loads(function)
    except Exception as error:
        problem = error

        def refuse(item: Any) -> Any:
            raise problem

        return refuse
    return loaded


def _sendable(outcome: Outcome[Any, Any]) -> bytes:
    """Pickled; what cannot be is replaced by an error that says so."""
    try:
        message = pickle.dumps(("done", outcome))
        if outcome.error is not None:
            pickle.loads(message)  # some errors cannot be made again from what they keep
    except Exception as problem:
        said = outcome.error if outcome.error is not None else problem
        return pickle.dumps(("done", Outcome(outcome.item, error=RuntimeError(repr(said)))))
    return message
