"""Names in messages: all of few, the first of many."""

from __future__ import annotations

from nnseg_core.wording import some


def test_few_names_are_all_said():
    assert some(["a", "b"]) == "a, b"
    assert some("abcde") == "a, b, c, d, e"


def test_of_many_names_the_rest_is_counted():
    assert some("abcdefg") == "a, b, c, d, e and 2 more"
    assert some(iter("abc"), shown=1) == "a and 2 more"
