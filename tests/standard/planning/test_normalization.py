"""Normalisation follows the channel's name."""

import pytest

from nnseg_core.errors import PlanError
from nnseg_core.plan import ComponentRef
from nnseg_standard.planning.normalization import BY_CHANNEL_NAME, choose, masks, normalization_of


@pytest.mark.parametrize(
    ("channel", "scheme"),
    [
        ("CT", "ct"),
        ("ct", "ct"),
        ("noNorm", "nonorm"),
        ("Rescale_to_0_1", "rescale_to_0_1"),
        ("rgb_to_0_1", "rgb_to_0_1"),
        ("zScore", "zscore"),
        ("T1ce", "zscore"),
        ("CT ", "zscore"),
        ("CTA", "zscore"),
        ("", "zscore"),
    ],
)
def test_known_names_in_any_case_all_else_is_zscore(channel, scheme):
    assert normalization_of(channel) == scheme


def test_only_zscore_is_masked_and_only_where_cropping_removes_more_than_a_quarter():
    assert masks("zscore", 0.7499)
    assert not masks("zscore", 0.75)
    assert not masks("ct", 0.3)
    assert not masks("rescale_to_0_1", 0.3)


def test_a_channel_may_be_named_after_any_normalization_that_is_installed():
    assert normalization_of("WINDOW", known=("zscore", "window")) == "window"


def test_what_is_given_for_a_channel_comes_before_its_name():
    window = ComponentRef(name="window", options={"low": 0})

    chosen = choose(("CT", "T1"), BY_CHANNEL_NAME, {"CT": window})

    assert chosen == (window, "zscore")
    assert not masks(window, 0.1)


def test_something_given_for_no_channel_is_refused():
    with pytest.raises(PlanError, match="names channel 'T2', but the dataset has CT, T1"):
        choose(("CT", "T1"), BY_CHANNEL_NAME, {"T2": "ct"})
