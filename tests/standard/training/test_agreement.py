import math

import torch

from nnseg_standard.training.agreement import difference

ONES = torch.ones(4)


def test_it_is_a_share_of_the_length_of_all_tensors_together():
    ours = [torch.tensor([3.0, 4.5]), torch.tensor([0.0])]
    expected = [torch.tensor([3.0, 4.0]), torch.tensor([0.0])]

    assert difference(ours, expected) == 0.1


def test_equal_zeros_agree_and_unequal_ones_do_not():
    assert difference([0 * ONES], [0 * ONES]) == 0
    assert difference([ONES], [0 * ONES]) == math.inf
    assert difference([], []) == 0


def test_what_is_broken_in_both_alike_agrees():
    broken = torch.tensor([math.inf, math.nan, 1.0])

    assert difference([broken], [broken.clone()]) == 0


def test_what_is_broken_in_one_only_is_no_number_to_tolerate():
    for value in (math.inf, math.nan):
        broken = torch.tensor([value, 1.0, 1.0, 1.0])

        assert not difference([broken], [ONES]) <= 1
        assert not difference([ONES], [broken]) <= 1


def test_counts_are_compared_as_numbers():
    assert difference([torch.tensor([12])], [torch.tensor([8])]) == 0.5
