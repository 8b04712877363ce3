from collections.abc import Callable
from itertools import pairwise

import pytest

from nnseg_standard.training.schedule import (
    MINIMUM_EPOCHS,
    SCHEDULES,
    advance,
    cosine,
    epochs_left,
    poly,
    warmed_up,
)


def plan_run(
    epochs: int, duration: Callable[[int], float], budget: float | None
) -> tuple[list[float], list[float]]:
    """Progress at the start of each epoch and at the end, and the seconds of each epoch."""
    progress, seconds, planned = [0.0], [], epochs
    while planned:
        seconds.append(duration(len(seconds)))
        planned = epochs_left(epochs, planned, seconds, budget)
        progress.append(advance(progress[-1], planned))
    return progress, seconds


def test_without_a_budget_the_learning_rate_is_nnunets():
    progress, _ = plan_run(1000, lambda epoch: 1.0, budget=None)

    rates = [0.01 * poly(done) for done in progress]

    expected = [0.01 * (1 - epoch / 1000) ** 0.9 for epoch in range(1001)]
    assert rates == pytest.approx(expected, rel=1e-9, abs=1e-18)


def test_cosine_falls_from_one_through_a_half_to_zero():
    assert [cosine(0), cosine(0.5), cosine(1)] == pytest.approx([1, 0.5, 0])


def test_warm_up_rises_from_a_tenth_and_leaves_the_rest_to_the_schedule():
    shares = [warmed_up(poly, progress, warm_up=0.2) for progress in (0, 0.1, 0.2, 0.6, 1)]

    assert shares == pytest.approx([0.1, 0.55, 1, 0.5**0.9, 0])


def test_no_warm_up_is_the_schedule_itself():
    assert [warmed_up(poly, p, 0.0) for p in (0.0, 0.3)] == [poly(0.0), poly(0.3)]


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        ("constant", 1000, {0: 1, 999: 1}),
        ("steps", 1000, {499: 1, 500: 0.1, 675: 0.01, 850: 0.001, 999: 0.001}),
        ("step_poly", 1000, {499: 1, 500: 0.1, 675: 0.1, 999: 0.1 * (1 / 325) ** 0.9}),
        ("poly_cycle", 1100, {0: 1, 500: 0.5**0.9, 999: 0.001**0.9, 1050: 0.1, 1075: 0.05}),
        ("poly_high_cycle", 1200, {0: 1, 500: 0.5**0.9, 1050: 0.5, 1100: 1, 1150: 0.5}),
    ],
)
def test_the_other_schedules_of_nnunets_first_version(schedule, epochs, expected):
    shares = {epoch: SCHEDULES[schedule](epoch / epochs) for epoch in expected}

    assert shares == pytest.approx(expected, rel=1e-6)


PACES: dict[str, Callable[[int], float]] = {
    "steady": lambda epoch: 10.0,
    "slow first epoch": lambda epoch: 60.0 if epoch == 0 else 10.0,
    "twice as slow from the middle on": lambda epoch: 10.0 if epoch < 30 else 20.0,
    "twice as fast from the middle on": lambda epoch: 10.0 if epoch < 30 else 5.0,
    "every fourth is slow": lambda epoch: 13.0 if epoch % 4 == 0 else 9.0,
}


@pytest.mark.parametrize("pace", PACES)
def test_a_run_ends_with_its_budget_and_its_schedule(pace: str):
    progress, seconds = plan_run(1000, PACES[pace], budget=600.0)

    assert progress[-1] == 1
    assert all(before < after for before, after in pairwise(progress))
    assert 600 - 2 * seconds[-1] < sum(seconds) < 600 + seconds[-1]
    assert progress[-2] > 0.9  # the last epoch learned at the end of the schedule


def test_a_steady_run_gives_each_epoch_the_same_share():
    progress, _ = plan_run(1000, PACES["steady"], budget=600.0)

    assert progress == pytest.approx([epoch / 60 for epoch in range(61)])


def test_a_stall_at_the_end_costs_one_epoch_more_than_the_budget():
    _, seconds = plan_run(1000, lambda epoch: 50.0 if epoch == 57 else 10.0, budget=600.0)

    assert sum(seconds[:-1]) > 600 > sum(seconds[:-2])


def test_a_tiny_budget_still_gets_a_few_epochs():
    progress, seconds = plan_run(1000, lambda epoch: 10.0, budget=1.0)

    assert len(seconds) == MINIMUM_EPOCHS
    assert progress == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_a_generous_budget_stops_at_the_number_of_epochs():
    _, seconds = plan_run(7, lambda epoch: 1.0, budget=1e6)

    assert len(seconds) == 7
