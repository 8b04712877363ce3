"""The standard 2D, 3D and cascade recipe: what this plugin offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nnseg_core import hookimpl

if TYPE_CHECKING:
    from nnseg_core.health import Probe


@hookimpl
def nnseg_planners() -> dict[str, str]:
    """The standard planner, and the residual-encoder presets for larger GPUs."""
    return {
        "standard": "nnseg_standard.planning.planner:StandardPlanner",
        "residual_m": "nnseg_standard.presets:residual_m",
        "residual_l": "nnseg_standard.presets:residual_l",
        "residual_xl": "nnseg_standard.presets:residual_xl",
    }


@hookimpl
def nnseg_preprocessors() -> dict[str, str]:
    """Crop, normalise, resample; and back."""
    return {"standard": "nnseg_standard.preprocessing.preprocessor:StandardPreprocessor"}


@hookimpl
def nnseg_architectures() -> dict[str, str]:
    """The two U-Nets."""
    return {
        "plain_unet": "nnseg_standard.networks.plain_unet:PlainUnet",
        "residual_unet": "nnseg_standard.networks.residual_unet:ResidualUnet",
    }


@hookimpl
def nnseg_augmentations() -> dict[str, str]:
    """The standard random changes, batchgenerators' or none; and one batch, to time a network."""
    return {
        "standard": "nnseg_standard.augmentation.recipe:StandardAugmentation",
        "batchgenerators": (
            "nnseg_standard.augmentation.batchgenerators:BatchgeneratorsAugmentation"
        ),
        "none": "nnseg_standard.augmentation.recipe:NoAugmentation",
        "constant": "nnseg_standard.measuring:ConstantBatch",
    }


@hookimpl
def nnseg_losses() -> dict[str, str]:
    """Dice, cross entropy, and their sums."""
    return {
        "dice_ce": "nnseg_standard.losses.compound:DiceCE",
        "dice": "nnseg_standard.losses.dice:Dice",
        "ce": "nnseg_standard.losses.cross_entropy:CrossEntropy",
        "topk": "nnseg_standard.losses.top_k:TopK",
        "dice_topk": "nnseg_standard.losses.compound:DiceTopK",
    }


@hookimpl
def nnseg_trainers() -> dict[str, str]:
    """The standard training, and the same on a budget of minutes."""
    return {
        "standard": "nnseg_standard.training.trainer:StandardTrainer",
        "quick": "nnseg_standard.training.quick:quick",
    }


@hookimpl
def nnseg_callbacks() -> dict[str, str]:
    """A line for whoever waits, a log for programs, a picture for people, figures for the bench."""
    return {
        "line": "nnseg_standard.callbacks.epoch_line:EpochLine",
        "csv": "nnseg_standard.callbacks.csv_log:CsvLog",
        "plot": "nnseg_standard.callbacks.plot:Plot",
        "meter": "nnseg_standard.measuring:Meter",
    }


@hookimpl
def nnseg_predictors() -> dict[str, str]:
    """The sliding window."""
    return {"tiles": "nnseg_standard.inference.predictor:TilePredictor"}


@hookimpl
def nnseg_postprocessors() -> dict[str, str]:
    """Nothing, and the largest component."""
    return {
        "none": "nnseg_standard.postprocessing.components:NoPostprocessing",
        "largest": "nnseg_standard.postprocessing.components:LargestComponent",
    }


@hookimpl
def nnseg_health(deep: bool) -> Iterable[Probe]:
    """PyTorch and its devices."""
    from nnseg_standard.health import probes

    return probes(deep)
