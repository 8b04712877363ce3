"""Time by stage, also where stages lie within each other or side by side."""

import threading

import numpy as np
import pytest

from nnseg_core import stages
from nnseg_core.stages import Stopwatch, TimedLogits


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set by the test."""
    now = [0.0]
    monkeypatch.setattr(stages.time, "perf_counter", lambda: now[0])
    return now


def test_times_of_a_stage_add_up(clock):
    watch = Stopwatch()

    for _ in range(3):
        with watch.timing("read"):
            clock[0] += 2

    assert watch.seconds == {"read": 6}


def test_an_inner_stage_counts_for_itself_only(clock):
    watch = Stopwatch()

    with watch.timing("export"):
        clock[0] += 1
        for _ in range(2):
            with watch.timing("network"):
                clock[0] += 10
            clock[0] += 2

    assert watch.seconds == {"export": 5, "network": 20}


def test_a_stage_that_fails_is_timed(clock):
    watch = Stopwatch()

    with pytest.raises(KeyError), watch.timing("read"):
        clock[0] += 4
        raise KeyError

    assert watch.seconds == {"read": 4}


def test_a_stage_in_another_thread_is_not_an_inner_one(clock):
    watch = Stopwatch()

    def write():
        with watch.timing("write"):
            clock[0] += 3

    with watch.timing("network"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    assert watch.seconds == {"write": 3, "network": 3}


def test_logits_are_timed_when_they_are_read(clock):
    class Slow:
        shape = (2, 5, 1, 1)

        def __getitem__(self, index):
            clock[0] += 7
            return np.zeros(self.shape)[index]

        def __array__(self, dtype=None, copy=None):
            return self[:, :].astype(dtype)

    watch = Stopwatch()
    logits = TimedLogits(Slow(), watch, "network")

    assert logits.shape == (2, 5, 1, 1)
    assert logits[:, 1:3].shape == (2, 2, 1, 1)
    assert np.asarray(logits, dtype=np.float32).shape == (2, 5, 1, 1)
    assert watch.seconds == {"network": 14}
