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
def nnseg_normalizations() -> dict[str, str]:
    """nnU-Net's, for channels of these names."""
    module = "nnseg_standard.preprocessing.normalize"
    return {
        "zscore": f"{module}:ZScore",
        "ct": f"{module}:Ct",
        "ct_per_image": f"{module}:CtPerImage",
        "rescale_to_0_1": f"{module}:RescaleTo01",
        "rgb_to_0_1": f"{module}:RgbTo01",
        "nonorm": f"{module}:NoNormalization",
    }


@hookimpl
def nnseg_architectures() -> dict[str, str]:
    """The two U-Nets."""
    return {
        "plain_unet": "nnseg_standard.networks.plain_unet:PlainUnet",
        "residual_unet": "nnseg_standard.networks.residual_unet:ResidualUnet",
    }


@hookimpl
def nnseg_augmentations() -> dict[str, str]:
    """Standard random changes, stronger ones, batchgenerators' or none; and one batch to time."""
    return {
        "standard": "nnseg_standard.augmentation.recipe:StandardAugmentation",
        "batchgenerators": (
            "nnseg_standard.augmentation.batchgenerators:BatchgeneratorsAugmentation"
        ),
        "strong": "nnseg_standard.augmentation.strong:StrongAugmentation",
        "none": "nnseg_standard.augmentation.recipe:NoAugmentation",
        "constant": "nnseg_standard.measuring:ConstantBatch",
    }


@hookimpl
def nnseg_losses() -> dict[str, str]:
    """Dice and its kin, cross entropy, and sums of both."""
    return {
        "dice_ce": "nnseg_standard.losses.compound:DiceCE",
        "dice": "nnseg_standard.losses.dice:Dice",
        "ce": "nnseg_standard.losses.cross_entropy:CrossEntropy",
        "topk": "nnseg_standard.losses.top_k:TopK",
        "dice_topk": "nnseg_standard.losses.compound:DiceTopK",
        "focal_ce": "nnseg_standard.losses.focal:FocalCE",
        "dice_focal": "nnseg_standard.losses.compound:DiceFocal",
        "tversky": "nnseg_standard.losses.tversky:Tversky",
        "generalized_dice": "nnseg_standard.losses.generalized_dice:GeneralizedDice",
        "correlation": "nnseg_standard.losses.correlation:Correlation",
    }


@hookimpl
def nnseg_trainers() -> dict[str, str]:
    """The standard training, the same on a budget of minutes, and for fine-tuning."""
    return {
        "standard": "nnseg_standard.training.trainer:StandardTrainer",
        "quick": "nnseg_standard.training.quick:quick",
        "finetune": "nnseg_standard.training.finetune:finetune",
    }


@hookimpl
def nnseg_callbacks() -> dict[str, str]:
    """A line, a log, a picture, warnings; figures for the bench."""
    return {
        "line": "nnseg_standard.callbacks.epoch_line:EpochLine",
        "csv": "nnseg_standard.callbacks.csv_log:CsvLog",
        "plot": "nnseg_standard.callbacks.plot:Plot",
        "watchdog": "nnseg_standard.callbacks.watchdog:Watchdog",
        "meter": "nnseg_standard.measuring:Meter",
    }


@hookimpl
def nnseg_predictors() -> dict[str, str]:
    """The sliding window."""
    return {"tiles": "nnseg_standard.inference.predictor:TilePredictor"}


@hookimpl
def nnseg_postprocessors() -> dict[str, str]:
    """Nothing, the largest component, and all large ones."""
    return {
        "none": "nnseg_standard.postprocessing.components:NoPostprocessing",
        "largest": "nnseg_standard.postprocessing.components:LargestComponent",
        "large": "nnseg_standard.postprocessing.components:LargeComponents",
    }


@hookimpl
def nnseg_health(deep: bool) -> Iterable[Probe]:
    """PyTorch and its devices."""
    from nnseg_standard.health import probes

    return probes(deep)
