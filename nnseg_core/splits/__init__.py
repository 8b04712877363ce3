"""Which cases train and which validate: drawn, read, and brought up to date."""

from __future__ import annotations

from nnseg_core.splits.append import gone_cases, new_cases, with_cases, without_cases
from nnseg_core.splits.draw import (
    leave_one_site_out,
    make_balanced_splits,
    make_splits,
    validate_with,
)
from nnseg_core.splits.patients import suspected_patients
from nnseg_core.splits.record import (
    SEED,
    Grouping,
    Split,
    Splits,
    broken_groups,
    choose_split,
    grouping,
    require_unbroken,
)

__all__ = [
    "SEED",
    "Grouping",
    "Split",
    "Splits",
    "broken_groups",
    "choose_split",
    "gone_cases",
    "grouping",
    "leave_one_site_out",
    "make_balanced_splits",
    "make_splits",
    "new_cases",
    "require_unbroken",
    "suspected_patients",
    "validate_with",
    "with_cases",
    "without_cases",
]
