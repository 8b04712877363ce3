"""Checks of a dataset: all findings in one pass, each with case, file and remedy."""

from __future__ import annotations

from nnseg_core.checking.case import CaseCheck, check_case
from nnseg_core.checking.dataset import check_across, check_dataset, check_folder
from nnseg_core.checking.findings import Finding, as_dictionary, grouped

__all__ = [
    "CaseCheck",
    "Finding",
    "as_dictionary",
    "check_across",
    "check_case",
    "check_dataset",
    "check_folder",
    "grouped",
]
