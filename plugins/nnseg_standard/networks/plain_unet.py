"""The plain U-Net: convolution blocks all the way, nnU-Net's default network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from nnseg_core.plan import Topology
from nnseg_standard.networks.memory import plain_unet_memory
from nnseg_standard.networks.options import LEAK, Activation, Layers, Norm, check_counts
from nnseg_standard.networks.places import place_in_unet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PlainUnet:
    """U-Net of convolution blocks, as in nnU-Net's standard plans.

    Attributes:
        convolutions_per_stage: convolutions per encoder stage.
        decoder_convolutions: convolutions per decoder stage.
        deep_supervision: whether lower resolutions have outputs of their own to supervise.
        norm: "instance" normalises each sample by itself, "batch" over the batch, "group" groups
            of channels, "none" nothing.
        activation: "leaky_relu", "relu", "gelu" or "mish".
        slope: slope of the leaky ReLU below 0.
    """

    convolutions_per_stage: int = 2
    decoder_convolutions: int = 2
    deep_supervision: bool = True
    norm: Norm = "instance"
    activation: Activation = "leaky_relu"
    slope: float = LEAK

    def __post_init__(self) -> None:
        counts = {
            "convolutions_per_stage": self.convolutions_per_stage,
            "decoder_convolutions": self.decoder_convolutions,
        }
        check_counts(counts)
        self._layers()

    def build(self, topology: Topology, inputs: int, outputs: int) -> nn.Module:
        """From (batch, inputs, *patch) to logits (batch, outputs, *space), full resolution first.

        Weights are drawn from torch's global generator.
        """
        # Planning needs no torch, which takes two seconds to import.
        from nnseg_standard.networks.blocks import convolution_stage
        from nnseg_standard.networks.unet import Encoder, build_unet

        features = (inputs, *topology.features)
        stages = (
            convolution_stage(
                before,
                after,
                kernel,
                stride,
                convolutions=self.convolutions_per_stage,
                layers=self._layers(),
            )
            for (before, after), kernel, stride in zip(
                pairwise(features), topology.kernel_sizes, topology.strides, strict=True
            )
        )
        return build_unet(
            topology,
            Encoder(stages),
            outputs,
            decoder_convolutions=self.decoder_convolutions,
            deep_supervision=self.deep_supervision,
            layers=self._layers(),
        )

    def _layers(self) -> Layers:
        return Layers(norm=self.norm, activation=self.activation, slope=self.slope)

    def place(self, weight: str, topology: Topology) -> str:
        """Where a weight of that name is, in the same words for U-Nets of every depth."""
        return place_in_unet(weight, topology)

    def memory(self, topology: Topology, outputs: int) -> int:
        """Elements of all convolution outputs for a batch of one."""
        return plain_unet_memory(
            topology, self.convolutions_per_stage, self.decoder_convolutions, outputs
        )
