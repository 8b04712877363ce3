"""nnU-Net's side, where it is not one of its commands: ``theirs.py TASK ARGUMENT...``.

It calls nnU-Net's public functions with the arguments that its own code gives them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import inputs
import meter
import numpy as np


def resample(output: str) -> None:
    """Resample a volume by cubic splines."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    old, new = inputs.RESAMPLED
    spacing = [before / after for before, after in zip(old, new, strict=True)]
    image = inputs.volume()
    resampled = meter.call(
        lambda: resample_data_or_seg_to_shape(
            image, new, (1.0, 1.0, 1.0), spacing, is_seg=False, order=3, order_z=0
        )
    )
    np.save(output, np.asarray(resampled, dtype=np.float32))


def export(output: str) -> None:
    """Bring logits back to the original grid and decide, with the functions of a default plan."""
    import torch
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    old, new = inputs.EXPORTED
    labels = {f"class {n}" if n else "background": n for n in range(inputs.CLASSES)}
    dataset = {"labels": labels, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    plans = PlansManager(
        _export_plan([after / before for before, after in zip(old, new, strict=True)])
    )
    properties = {
        "spacing": [1.0, 1.0, 1.0],
        "shape_after_cropping_and_before_resampling": new,
        "shape_before_cropping": new,
        "bbox_used_for_cropping": [[0, size] for size in new],
    }
    logits = torch.from_numpy(inputs.logits())
    label = meter.call(
        lambda: convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            plans,
            plans.get_configuration("3d_fullres"),
            plans.get_label_manager(dataset),
            properties,
            num_threads_torch=1,
        )
    )
    np.save(output, label)


def _export_plan(spacing: list[float]) -> dict[str, object]:
    """What the export reads of a plan: nnU-Net's defaults."""
    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    return {
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {
            "3d_fullres": {
                "architecture": {},
                "spacing": spacing,
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": linear,
            }
        },
    }


def metrics(output: str) -> None:
    """Count the overlap of every label."""
    from nnunetv2.evaluation.evaluate_predictions import (
        compute_tp_fp_fn_tn,
        region_or_label_to_mask,
    )

    reference, prediction = inputs.masks()

    def count():
        return [
            compute_tp_fp_fn_tn(
                region_or_label_to_mask(reference, label),
                region_or_label_to_mask(prediction, label),
            )
            for label in range(1, inputs.LABELS + 1)
        ]

    np.save(output, meter.call(count))


def train(plans: str, steps: str) -> None:
    """Train steps with nnU-Net's trainer on the CPU, as its own loop does."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(os.cpu_count())  # as nnUNetv2_train -device cpu
    trainer = get_trainer_from_args(
        "4", "3d_fullres", 0, plans_identifier=plans, device=torch.device("cpu")
    )
    trainer.on_train_start()
    trainer.on_epoch_start()

    def epoch() -> None:
        trainer.on_train_epoch_start()
        for _ in range(int(steps)):
            trainer.train_step(next(trainer.dataloader_train))

    meter.call(epoch)
    os._exit(0)  # its data workers would otherwise be waited for


def learn(
    dataset: str,
    configuration: str,
    plans: str,
    fold: str,
    seed: str,
    steps: str,
    learning_rate: str,
    momentum: str,
    threads: str,
) -> None:
    """Train a fold for ``EPOCHSxSTEPS`` on the CPU, then predict its validation cases."""
    import random

    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(int(threads))
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
    trainer = get_trainer_from_args(
        dataset, configuration, int(fold), plans_identifier=plans, device=torch.device("cpu")
    )
    epochs, iterations = map(int, steps.split("x"))
    trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, iterations
    trainer.num_val_iterations_per_epoch = 1
    trainer.initial_lr = float(learning_rate)
    trainer.initialize()
    for group in trainer.optimizer.param_groups:
        group["momentum"] = float(momentum)
    trainer.run_training()
    trainer.perform_actual_validation()
    os._exit(0)  # its data workers would otherwise be waited for


def names(plans: str, dataset: str, output: str) -> None:
    """Write the names of the weights of the network of a plan."""
    Path(output).write_text(json.dumps(list(_network(plans, dataset).state_dict())))


def checkpoint(plans: str, dataset: str, weights: str, folder: str) -> None:
    """Write a model folder with ``weights`` (npz), as nnU-Net's training leaves it."""
    import torch

    network = _network(plans, dataset)
    given = {name: torch.from_numpy(array) for name, array in np.load(weights).items()}
    unknown = network.load_state_dict(given, strict=False).unexpected_keys
    kept = network.state_dict()
    assert not unknown and all(torch.equal(kept[name], given[name]) for name in given)
    target = Path(folder)
    (target / "fold_0").mkdir(parents=True, exist_ok=True)
    (target / "plans.json").write_text(Path(plans).read_text())
    (target / "dataset.json").write_text(Path(dataset).read_text())
    saved = {
        "network_weights": kept,
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(saved, target / "fold_0" / "checkpoint_final.pth")


def _network(plans: str, dataset: str):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    description, manager = json.loads(Path(dataset).read_text()), PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    return nnUNetTrainer.build_network_architecture(
        manager,
        configuration,
        determine_num_input_channels(manager, configuration, description),
        manager.get_label_manager(description).num_segmentation_heads,
        enable_deep_supervision=True,
    )


if __name__ == "__main__":
    _, task, *arguments = sys.argv
    globals()[task](*arguments)
