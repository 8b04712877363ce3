"""Our side, where it is not the ``nnseg`` command: ``ours.py TASK ARGUMENT...``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the nnseg command does

import inputs
import meter
import numpy as np

from nnseg_core.case import Prediction, Restoration
from nnseg_core.dataset import Labels
from nnseg_core.geometry import Box, Geometry


def resample(output: str) -> None:
    """Resample a volume by cubic splines."""
    from nnseg_standard.preprocessing.resample import resample_image

    old, new = inputs.RESAMPLED
    spacing = [before / after for before, after in zip(old, new, strict=True)]
    image = inputs.volume()
    np.save(output, meter.call(lambda: resample_image(image, new, (1.0, 1.0, 1.0), spacing)))


def export(output: str) -> None:
    """Bring logits back to the original grid and decide."""
    from nnseg_standard.preprocessing.restore import restore_label

    old, new = inputs.EXPORTED
    prediction = Prediction(
        identifier="case",
        logits=inputs.logits().astype(np.float32),
        restoration=Restoration(
            original=Geometry(shape=new, spacing=(1.0, 1.0, 1.0)),
            axes=(0, 1, 2),
            crop=Box(start=(0, 0, 0), stop=new),
            spacing=tuple(after / before for before, after in zip(old, new, strict=True)),
        ),
    )
    labels = Labels(values={f"class {n}": (n,) for n in range(1, inputs.CLASSES)})
    np.save(output, meter.call(lambda: restore_label(prediction, labels)))


def metrics(output: str) -> None:
    """Count the overlap of every label."""
    from nnseg_core.scoring.overlap import count_overlap

    reference, prediction = inputs.masks()
    labels = Labels(values={str(n): (n,) for n in range(1, inputs.LABELS + 1)})
    found = meter.call(lambda: count_overlap(prediction, reference, labels))
    np.save(output, [[one.tp, one.fp, one.fn, one.tn] for one in found.values()])


def train(dataset: str, workspace: str, steps: str, precision: str) -> None:
    """Train steps of fold 0 at the dataset's own plan with batch size 2, as one epoch."""
    from nnseg_core.dataset import open_dataset
    from nnseg_core.pipeline import (
        TrainingRequest,
        preprocess,
        read_or_make_plan,
        read_or_make_splits,
    )
    from nnseg_core.pipeline.benching import time_steps
    from nnseg_core.plan import ComponentRef
    from nnseg_core.plugins import load_plugins
    from nnseg_core.project import Project, apply_plan_settings
    from nnseg_core.workspace import Workspace

    project = Project(
        dataset=open_dataset(Path(dataset)),
        workspace=Workspace(Path(workspace)),
        plugins=load_plugins(),
    )
    plan = read_or_make_plan(project, ComponentRef(name="standard"), "standard")
    store = preprocess(project, plan, "standard", "3d_fullres")
    settings = {"trainer.batch_size": 2, "trainer.precision": precision}
    request = TrainingRequest(
        plan=apply_plan_settings(plan, settings),
        name="3d_fullres",
        fold="0",
        split=read_or_make_splits(project, "0"),
        store=store,
        folder=Path(workspace) / f"timed-{precision}",
        device="cpu",
    )
    one_epoch = {"steps": int(steps), "per_epoch": int(steps), "seconds": 0, "warm_up": 0}
    times, _ = time_steps(project, request, **one_epoch)
    meter.tell({"call wall": times.seconds})


def weights(model: str, names: str, output: str) -> None:
    """Write our weights under nnU-Net's ``names`` (a JSON list), as npz."""
    import torch
    from safetensors.numpy import load_file

    from nnseg_standard.networks.nnunet_weights import from_nnunet

    theirs = json.loads(Path(names).read_text())
    places = from_nnunet({name: torch.tensor(place) for place, name in enumerate(theirs)})
    ours = load_file(Path(model) / "fold_0" / "weights.safetensors")
    np.savez(output, **{theirs[int(place)]: ours[name] for name, place in places.items()})


if __name__ == "__main__":
    _, task, *arguments = sys.argv
    globals()[task](*arguments)
