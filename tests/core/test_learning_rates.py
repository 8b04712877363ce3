import math
from pathlib import Path

import pytest
from PIL import Image

from nnseg_core.errors import NnsegError
from nnseg_core.learning_rates import RateCurve, draw, has_broken, ramp, suggest


def falling(rate: float) -> float:
    """Flat, steepest at 0.01, flat again, and broken from 0.3 on."""
    return 1 / (1 + (rate / 0.01) ** 2) + (max(0.0, rate - 0.3) * 5)


def curve(steps: int = 200) -> RateCurve:
    rates = ramp(1e-5, 1.0, steps)
    return RateCurve(rates=rates, losses=tuple(falling(rate) for rate in rates))


def test_rates_grow_by_the_same_factor():
    assert ramp(0.001, 1.0, 4) == pytest.approx((0.001, 0.01, 0.1, 1.0))


def test_the_moving_average_has_no_bias_at_its_beginning():
    smoothed = RateCurve(rates=(1.0, 2.0, 3.0), losses=(4.0, 4.0, 4.0)).smoothed

    assert smoothed == pytest.approx((4.0, 4.0, 4.0))


def test_the_steepest_fall_is_suggested_or_a_little_more_as_averages_come_late():
    assert 0.01 <= suggest(curve()) <= 0.02


def test_a_loss_that_does_not_fall_suggests_nothing():
    rates = ramp(1e-5, 1.0, 50)
    rising = RateCurve(rates=rates, losses=tuple(1 + rate for rate in rates))

    with pytest.raises(NnsegError, match="the loss fell at none of these learning rates"):
        suggest(rising)


def test_a_loss_is_broken_when_it_has_risen_as_far_as_it_had_fallen():
    down = [1 - step / 20 for step in range(15)]

    assert not has_broken(down)
    assert not has_broken([*down, 1.2])
    assert has_broken([*down, *[5.0] * 5])
    assert has_broken([1.0, math.nan])


def test_the_curve_is_drawn(tmp_path: Path):
    draw(curve(), 0.01, "a title", tmp_path / "curve.png")

    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (900, 600)
