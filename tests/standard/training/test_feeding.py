import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnseg_core.errors import NnsegError, PlanError
from nnseg_core.training import TrainingTask
from nnseg_standard.augmentation.batchgenerators import BatchgeneratorsAugmentation
from nnseg_standard.augmentation.recipe import NoAugmentation, StandardAugmentation
from nnseg_standard.data.feed import Batch, PatchFeed
from nnseg_standard.training import feeding
from nnseg_standard.training.feeding import (
    BATCHGENERATORS,
    PROCESSES,
    THREADS,
    Candidates,
    Feeding,
    measured,
    open_feeding,
    seconds_per_batch,
    seconds_per_step,
    with_batchgenerators,
)
from nnseg_standard.training.objective import Objective

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BATCH = Batch(image=torch.ones(3, 1, 4, 4), label=torch.zeros(3, 4, 4, dtype=torch.int16))
OBJECTIVE = Objective(
    loss=lambda outputs, target: outputs.mean(),  # type: ignore[union-attr]
    encode=lambda label: label,
    precision=torch.float32,
)


@pytest.fixture
def make_candidates(make_task: Callable[..., TrainingTask]) -> Callable[..., Candidates]:
    def make(**changes: object) -> Candidates:
        task = make_task()
        feed = PatchFeed(
            store=task.store,
            identifiers=task.split.train,
            patch_size=task.configuration.patch_size,
            batch_size=2,
            channels=1,
            augmentation=StandardAugmentation(),
            seed=0,
        )
        parts: dict[str, object] = {"feed": feed, "stored": feed, "device": CPU, "workers": 4}
        return Candidates(**{**parts, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds per batch by one thread and by each feeder with all workers, and per step."""
    seconds = {"one thread": 0.010, THREADS: 0.010, PROCESSES: 0.010, BATCHGENERATORS: 0.010}
    seconds["step"] = 0.1

    def per_batch(source: object, device: object, workers: int) -> float:
        return seconds["one thread" if workers == 1 else str(source)]

    @contextmanager
    def candidate(self: Candidates, feeder: str, workers: int) -> Generator[Feeding]:
        if seconds[feeder] < 0:
            raise NnsegError("a worker process that makes batches ended by signal 9.")
        yield Feeding(feeder=feeder, source=feeder, feed=self.feed, workers=workers)  # type: ignore[arg-type]

    monkeypatch.setattr(feeding, "seconds_per_batch", per_batch)
    monkeypatch.setattr(feeding, "seconds_per_step", lambda *_, **__: seconds["step"])
    monkeypatch.setattr(feeding, "prefetched", lambda *_, **__: iter([BATCH]))
    monkeypatch.setattr(Candidates, "open", candidate)
    return seconds


def choose(candidates: Candidates, feeder: str = "auto") -> tuple[str, int]:
    with open_feeding(candidates, feeder, nn.Identity(), OBJECTIVE) as chosen:
        return chosen.feeder, chosen.workers


def test_one_thread_feeds_a_network_that_it_keeps_up_with_and_the_log_says_so(
    make_candidates: Callable[..., Candidates],
    times: dict[str, float],
    caplog: pytest.LogCaptureFixture,
):
    with caplog.at_level(logging.INFO, feeding.__name__):
        assert choose(make_candidates()) == (THREADS, 1)

    assert caplog.messages == [
        "feeding: 10 ms per batch and thread, at least 100 ms per step: with one thread the "
        "network is the bottleneck"
    ]


@pytest.mark.parametrize(("step", "threads"), [(0.0126, 1), (0.01, 2), (0.005, 3), (0.0032, 4)])
def test_a_faster_network_gets_more_threads(
    make_candidates: Callable[..., Candidates],
    times: dict[str, float],
    step: float,
    threads: int,
):
    times["step"] = step

    assert choose(make_candidates(device=CUDA)) == (THREADS, threads)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({THREADS: 0.010, PROCESSES: 0.005, BATCHGENERATORS: 0.007}, PROCESSES),
        ({THREADS: 0.010, PROCESSES: 0.007, BATCHGENERATORS: 0.005}, BATCHGENERATORS),
        ({THREADS: 0.010, PROCESSES: 0.009, BATCHGENERATORS: 0.020}, THREADS),
        ({THREADS: 0.010, PROCESSES: -1, BATCHGENERATORS: 0.020}, THREADS),
    ],
)
def test_where_threads_do_not_keep_up_with_a_gpu_the_clearly_fastest_feeds(
    make_candidates: Callable[..., Candidates],
    times: dict[str, float],
    seconds: dict[str, float],
    expected: str,
):
    times |= {"step": 0.001, **seconds}

    assert choose(make_candidates(device=CUDA)) == (expected, 4)


def test_every_time_is_said(
    make_candidates: Callable[..., Candidates],
    times: dict[str, float],
    caplog: pytest.LogCaptureFixture,
):
    times |= {"step": 0.001, PROCESSES: 0.004, BATCHGENERATORS: -1}

    with caplog.at_level(logging.INFO, feeding.__name__):
        choose(make_candidates(device=CUDA))

    assert caplog.messages == [
        "feeding: 10 ms per batch and thread, at least 1 ms per step: with 4 threads the data is "
        "the bottleneck",
        "feeding: batchgenerators cannot be used: a worker process that makes batches ended by "
        "signal 9.",
        "feeding: threads 10 ms, processes 4 ms per batch with 4 workers; using processes",
    ]


def test_on_a_cpu_nothing_but_threads_is_tried(
    make_candidates: Callable[..., Candidates], times: dict[str, float]
):
    times |= {"step": 0.001, PROCESSES: 0.001}

    assert choose(make_candidates()) == (THREADS, 4)


def test_what_is_asked_for_is_not_measured(
    make_candidates: Callable[..., Candidates], times: dict[str, float]
):
    del times["one thread"], times["step"]

    assert choose(make_candidates(), PROCESSES) == (PROCESSES, 4)
    assert choose(make_candidates(workers=0)) == (THREADS, 0)


def test_a_resumed_training_keeps_its_transforms(make_candidates: Callable[..., Candidates]):
    assert make_candidates(began={}).feeders == (THREADS, PROCESSES)
    assert make_candidates(began={"feeder": BATCHGENERATORS}).feeders == (BATCHGENERATORS,)
    assert make_candidates().feeders == (THREADS, PROCESSES, BATCHGENERATORS)


def test_where_results_must_repeat_the_transforms_stay(make_candidates: Callable[..., Candidates]):
    assert make_candidates(same_bits=True).feeders == (THREADS, PROCESSES)


def test_transforms_that_hold_the_gil_go_to_processes(make_candidates: Callable[..., Candidates]):
    feed = replace(make_candidates().feed, augmentation=BatchgeneratorsAugmentation())

    assert make_candidates(feed=feed).feeders == (PROCESSES,)


def test_other_augmentations_are_not_replaced(make_candidates: Callable[..., Candidates]):
    feed = replace(make_candidates().feed, augmentation=NoAugmentation())

    assert make_candidates(feed=feed).feeders == (THREADS, PROCESSES)
    with pytest.raises(PlanError) as caught:
        with_batchgenerators(feed)
    assert str(caught.value) == (
        "trainer.feeder is 'batchgenerators', which replaces the standard augmentation, but this "
        "is NoAugmentation. Use --set trainer.feeder=processes."
    )


def test_batchgenerators_gets_the_options_of_the_plan(make_candidates: Callable[..., Candidates]):
    own = StandardAugmentation(gamma_probability=0.7, mirror_axes=(1,), mask_normalization=(True,))
    feed = replace(make_candidates().feed, augmentation=own)

    assert with_batchgenerators(feed).augmentation == BatchgeneratorsAugmentation(
        gamma_probability=0.7, mirror_axes=(1,), mask_normalization=(True,)
    )


def test_measuring_changes_nothing_of_a_training(make_candidates: Callable[..., Candidates]):
    candidates = make_candidates()
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 3, 1)
    ).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]

    measured(candidates, network, OBJECTIVE)

    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.training
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]


@dataclass
class Slow:
    """A feed that takes its time."""

    seconds: float

    def batch(self, index: int, device: torch.device) -> Batch:
        time.sleep(self.seconds)
        return BATCH


def test_threads_that_sleep_at_once_share_the_time():
    alone, four = (seconds_per_batch(Slow(0.01), CPU, workers) for workers in (1, 4))

    assert 0.009 < alone < 0.05
    assert four < 0.6 * alone


def test_making_batches_is_not_timed_for_long():
    begun = time.perf_counter()

    seconds_per_batch(Slow(0.25), CPU, 1)

    assert time.perf_counter() - begun < 3


class Steps(nn.Module):
    """Counts the steps of all its copies, in samples."""

    def __init__(self, seen: list[tuple[bool, int]], seconds: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen, self.seconds = (seen,), seconds

    def __deepcopy__(self, memo: object) -> "Steps":
        return Steps(self.seen[0], self.seconds)

    def forward(self, image: Tensor) -> Tensor:
        time.sleep(self.seconds)
        self.seen[0].append((self.training, len(image)))
        return image * self.weight


@pytest.mark.parametrize(
    ("enough", "expected"), [(0.001, [(False, 2)]), (10.0, [(False, 2), (True, 3)])]
)
def test_a_cpu_takes_a_whole_step_only_where_two_samples_are_too_fast(
    enough: float, expected: list[tuple[bool, int]]
):
    seen: list[tuple[bool, int]] = []

    seconds = seconds_per_step(Steps(seen, 0.005), OBJECTIVE, BATCH, enough)

    assert seconds >= 0.005
    assert seen == expected
