"""Mend a dataset: a corrected copy, with every change written down."""

from __future__ import annotations

from nnseg_core.fixing.change import Change
from nnseg_core.fixing.dataset import Fixed, fix_dataset
from nnseg_core.fixing.source import Wishes

__all__ = ["Change", "Fixed", "Wishes", "fix_dataset"]
