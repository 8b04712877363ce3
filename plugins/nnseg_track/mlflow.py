"""MLflow: a run in an experiment per dataset, in a local database or on a server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnseg_track.following import Following, Run, need
from nnseg_track.memory import Known

if TYPE_CHECKING:
    from mlflow import MlflowClient

LONGEST = 500
"""Characters of a parameter that every server takes."""

UNUSUAL = str.maketrans({character: "_" for character in "()[]{}<>+*=!?,;\"'#%&"})
"""Characters of labels that MLflow takes in no name."""


class MLflowRun:
    """One run; the client needs no global state, so that several may be open."""

    def __init__(self, client: MlflowClient, known: Known) -> None:
        self.known = known
        self._client = client
        self._id = known["run"]
        client.update_run(self._id, status="RUNNING")

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """See ``Run``."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [
            Metric(name.translate(UNUSUAL), value, now, epoch) for name, value in numbers.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def show(self, pictures: Sequence[Path], epoch: int) -> None:
        """See ``Run``."""
        for path in pictures:
            self._client.log_artifact(self._id, str(path), "overlays")

    def describe(self, facts: Mapping[str, str]) -> None:
        """Keep facts as parameters."""
        from mlflow.entities import Param

        self._client.log_batch(
            self._id, params=[Param(name, value[:LONGEST]) for name, value in facts.items()]
        )

    def close(self, *, finished: bool) -> None:
        """See ``Run``."""
        if finished:
            self._client.set_terminated(self._id)


@dataclass
class MLflow(Following):
    """Keeps a run in MLflow, by default in ``mlflow.db`` in the current folder.

    Attributes:
        uri: Where: ``sqlite:////path/mlflow.db`` or ``http://server:5000``; by default what
            ``MLFLOW_TRACKING_URI`` says, or else a database in the current folder.
        experiment: Name of the experiment; by default that of the dataset.
    """

    tracker = "mlflow"
    uri: str | None = None
    experiment: str | None = None

    def open(self, folder: Path, name: str, known: Known, epoch: int) -> Run:
        """See ``Following``."""
        if known:
            return again(known)
        mlflow = need("mlflow")
        uri = self.uri or str(mlflow.get_tracking_uri())
        client = mlflow.MlflowClient(tracking_uri=uri)
        title = self.experiment or folder.parent.parent.name
        found = client.get_experiment_by_name(title)
        number = found.experiment_id if found else client.create_experiment(title)
        run = client.create_run(number, run_name=name)
        return MLflowRun(client, {"uri": uri, "run": run.info.run_id})

    def describe(self, run: Run, facts: Mapping[str, str]) -> None:
        """See ``Following``."""
        assert isinstance(run, MLflowRun)
        run.describe(facts)


def again(known: Known) -> Run:
    """The run that ``known`` is of."""
    return MLflowRun(need("mlflow").MlflowClient(tracking_uri=known["uri"]), known)
