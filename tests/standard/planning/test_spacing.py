"""Rules of resolution."""

import pytest

from nnseg_standard.planning.spacing import axis_order, coarser, median_shape, target_spacing


def test_target_is_the_median_per_axis():
    spacings = [(1.0, 0.5, 0.7), (2.0, 0.6, 0.7), (3.0, 0.9, 0.7), (2.5, 0.6, 0.7)]

    assert target_spacing(spacings, [(100, 100, 100)] * 4).spacing == (2.25, 0.6, 0.7)


def test_a_coarse_short_axis_gets_its_tenth_percentile():
    spacings = [(float(length), 1.0, 1.0) for length in range(3, 14)]  # 3 ... 13, median 8

    assert target_spacing(spacings, [(20, 200, 200)] * 11).spacing == (4.0, 1.0, 1.0)


def test_but_not_where_it_is_not_short():
    spacings = [(float(length), 1.0, 1.0) for length in range(3, 14)]

    assert target_spacing(spacings, [(67, 200, 200)] * 11).spacing == (8.0, 1.0, 1.0)


def test_nor_where_it_is_only_three_times_as_coarse():
    assert target_spacing([(3.0, 1.0, 1.0), (3.0, 1.0, 1.0)], [(9, 99, 99)] * 2).spacing[0] == 3.0


def test_the_tenth_percentile_does_not_get_finer_than_the_other_axes():
    spacings = [(0.5, 1.0, 1.2)] * 2 + [(8.0, 1.0, 1.2)] * 3

    assert target_spacing(spacings, [(20, 200, 200)] * 5).spacing == (1.2 + 1e-5, 1.0, 1.2)


def test_a_coarse_axis_may_be_any_axis():
    spacings = [(1.0, 1.0, float(length)) for length in range(3, 14)]

    assert target_spacing(spacings, [(200, 200, 20)] * 11).spacing == (1.0, 1.0, 4.0)


@pytest.mark.parametrize(
    ("spacing", "order"),
    [
        ((5.0, 1.0, 1.0), (0, 1, 2)),
        ((1.0, 5.0, 1.0), (1, 0, 2)),
        ((1.0, 1.0, 5.0), (2, 0, 1)),
        ((1.0, 1.0, 1.0), (0, 1, 2)),
        ((0.5, 1.0, 1.0), (1, 0, 2)),
    ],
)
def test_the_coarsest_axis_goes_first(spacing, order):
    assert axis_order(spacing) == order


def test_median_shape_keeps_halves():
    shapes = [(10, 20, 30), (11, 21, 31)]

    assert median_shape([(1.0, 1.0, 1.0)] * 2, shapes, (1.0, 1.0, 1.0)) == (10.5, 20.5, 30.5)


def test_median_shape_is_taken_at_the_target_spacing():
    assert median_shape([(2.0, 1.0, 1.0)], [(10, 21, 30)], (1.0, 2.0, 1.0)) == (20, 10, 30)


def test_median_shape_is_never_empty():
    assert median_shape([(1.0, 1.0, 1.0)], [(3, 30, 30)], (10.0, 1.0, 1.0)) == (1, 30, 30)


def test_finer_axes_give_way_first():
    assert coarser((5.0, 1.0, 2.5)) == (5.0, 1.03, 2.5)  # 2.5 is not more than twice as fine


def test_then_all_axes_get_coarser():
    assert coarser((5.0, 2.5, 2.5)) == (5.15, 2.575, 2.575)
