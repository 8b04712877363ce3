"""Every path that the tool writes, in one class.

WORKSPACE/
    bench.json
    datasets/DATASET/
        fingerprint.json  cases.json  splits.json
        PLAN/
            plan.json
            CONFIGURATION/CASE/       preprocessed cases
    models/DATASET/MODEL/
        plan.json  model.json
        fold_0/                       weights, checkpoints, progress.png, validation/
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

VARIABLE = "NNSEG_WORKSPACE"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder under which everything is kept."""

    root: Path

    @property
    def bench(self) -> Path:
        """What ``nnseg bench`` measured: by device, then by dataset, plan and configuration."""
        return self.root / "bench.json"

    def dataset(self, name: str) -> Path:
        """What has been measured of a dataset, and what was made from it."""
        return self.root / "datasets" / name

    def fingerprint(self, dataset: str) -> Path:
        """What was measured."""
        return self.dataset(dataset) / "fingerprint.json"

    def cases(self, dataset: str) -> Path:
        """Which files were measured: their sizes, dates and content hashes."""
        return self.dataset(dataset) / "cases.json"

    def splits(self, dataset: str) -> Path:
        """The folds. May be edited."""
        return self.dataset(dataset) / "splits.json"

    def plan(self, dataset: str, plan: str) -> Path:
        """What was decided. May be edited."""
        return self.dataset(dataset) / plan / "plan.json"

    def store(self, dataset: str, plan: str, configuration: str) -> Path:
        """The preprocessed cases of a configuration."""
        return self.dataset(dataset) / plan / configuration

    def models(self, dataset: str) -> Path:
        """The model folders of a dataset."""
        return self.root / "models" / dataset

    def model(self, dataset: str, name: str) -> Path:
        """A model folder."""
        return self.models(dataset) / name


def find_workspace(given: Path | None, environment: Mapping[str, str] = os.environ) -> Workspace:
    """``given``, else ``NNSEG_WORKSPACE``, else the platform's folder for a user's data."""
    chosen = given or environment.get(VARIABLE) or platformdirs.user_data_path("nnseg")
    return Workspace(Path(chosen).expanduser().resolve())
