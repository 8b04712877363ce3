import numpy as np
import pytest

from nnseg_core.case import Logits
from nnseg_standard.inference.swept import SweptLogits

WHOLE = np.random.default_rng(0).normal(size=(3, 20, 2, 2)).astype(np.float32)


def slabs(*depths):
    """The whole in slabs that lie in one buffer, as those of a sweep do."""
    buffer, first = np.empty((3, max(depths), 2, 2), dtype=np.float32), 0
    for depth in depths:
        buffer[:, :depth] = WHOLE[:, first : first + depth]
        yield buffer[:, :depth]
        buffer[:] = np.nan
        first += depth


def logits(*depths):
    return SweptLogits(slabs(*depths), 20)


def as_logits(given: Logits) -> Logits:
    return given


def test_its_shape_is_that_of_the_whole():
    assert as_logits(logits(6, 6, 8)).shape == (3, 20, 2, 2)


@pytest.mark.parametrize("depths", [(20,), (4,) * 5, (1,) * 20, (7, 1, 12)])
@pytest.mark.parametrize(("width", "step"), [(1, 1), (5, 3), (6, 6), (20, 20), (2, 5)])
def test_slices_in_rising_order_are_those_of_the_whole(depths, width, step):
    swept = logits(*depths)

    for start in range(0, 20, step):
        assert np.array_equal(swept[:, start : start + width], WHOLE[:, start : start + width])


def test_slices_come_no_earlier_than_asked_for():
    taken = []

    def counted():
        for slab in slabs(5, 5, 5, 5):
            taken.append(slab.shape)
            yield slab

    swept = SweptLogits(counted(), 20)
    swept[:, 3:5]
    assert len(taken) == 1
    swept[:, 4:6]
    assert len(taken) == 2


def test_outputs_can_be_chosen():
    assert np.array_equal(logits(4, 16)[1:2, 2:9], WHOLE[1:2, 2:9])


def test_all_of_them_are_an_array():
    assert np.array_equal(np.asarray(logits(4, 8, 8)), WHOLE)
    assert np.asarray(logits(20)).dtype == np.float32


def test_slices_that_are_gone_are_an_error():
    swept = logits(4, 8, 8)
    swept[:, 5:9]

    with pytest.raises(ValueError, match="slices 3 to 4 of these logits are gone"):
        swept[:, 3:9]
