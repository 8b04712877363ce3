from dataclasses import dataclass

import numpy as np
import pytest

from nnseg_core import kinds
from nnseg_core.plugins import load_plugins
from nnseg_core.testing.conformance import check_normalization

INSTALLED = load_plugins().of_kind(kinds.NORMALIZATION)


@pytest.mark.parametrize("name", INSTALLED)
def test_installed_normalizations_pass(name):
    check_normalization(INSTALLED[name].build())


@dataclass(frozen=True)
class InPlace:
    def apply(self, channel, statistics, inside=None):
        channel -= 1
        return channel


@dataclass(frozen=True)
class Double:
    def apply(self, channel, statistics, inside=None):
        return channel.astype(np.float64)


@dataclass(frozen=True)
class Unsafe:
    def apply(self, channel, statistics, inside=None):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (channel - channel.mean()) / channel.std()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (InPlace(), "it changes its input"),
        (Double(), "it returns float64, not float32"),
        (Unsafe(), "not finite of a constant channel"),
    ],
)
def test_what_is_wrong_is_said(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_normalization(wrong)
