import threading
from itertools import count

import pytest
import torch

from nnseg_standard.data.feed import Batch
from nnseg_standard.training.streams import Stream, open_stream


class Numbers:
    """A feed whose batches are their own numbers."""

    def batch(self, index: int, device: torch.device) -> Batch:
        return Batch(image=torch.tensor(index), label=torch.tensor(0))


def numbers(stream: Stream) -> list[int]:
    return [int(batch.image) for batch in stream.epoch()]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_numbered_through_the_epochs(workers: int):
    with open_stream(Numbers(), 3, 0, torch.device("cpu"), workers) as stream:  # type: ignore[arg-type]
        assert [numbers(stream), numbers(stream)] == [[0, 1, 2], [3, 4, 5]]


def test_a_stream_begins_at_the_batch_asked_for():
    with open_stream(Numbers(), 3, 6, torch.device("cpu"), 0) as stream:  # type: ignore[arg-type]
        assert numbers(stream) == [6, 7, 8]


def test_threads_end_with_the_block():
    before = threading.active_count()

    with open_stream(Numbers(), 3, 0, torch.device("cpu"), 2) as stream:  # type: ignore[arg-type]
        numbers(stream)
        assert threading.active_count() > before

    assert threading.active_count() == before


def test_waiting_is_that_of_the_last_epoch(monkeypatch: pytest.MonkeyPatch):
    ticks = count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    stream = Stream(batches=iter([Batch(image=torch.zeros(1), label=torch.zeros(1))] * 4), size=2)

    for _ in range(2):
        list(stream.epoch())

        assert stream.waited == 2
