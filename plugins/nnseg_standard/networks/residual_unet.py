"""The residual-encoder U-Net, nnU-Net's "ResEnc" network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from nnseg_core.plan import Topology
from nnseg_standard.networks.memory import residual_unet_memory
from nnseg_standard.networks.options import LEAK, Activation, Layers, Norm, check_counts
from nnseg_standard.networks.places import place_in_unet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ResidualUnet:
    """U-Net whose encoder is made of residual blocks, as in nnU-Net's ResEnc plans.

    Attributes:
        blocks_per_stage: residual blocks per encoder stage; the last number counts for all
            deeper stages.
        decoder_convolutions: convolutions per decoder stage.
        deep_supervision: whether lower resolutions have outputs of their own to supervise.
        norm: "instance" normalises each sample by itself, "batch" over the batch, "group" groups
            of channels, "none" nothing.
        activation: "leaky_relu", "relu", "gelu" or "mish".
        slope: slope of the leaky ReLU below 0.
    """

    blocks_per_stage: tuple[int, ...] = (1, 3, 4, 6)  # nnU-Net's ResEnc planners
    decoder_convolutions: int = 1
    deep_supervision: bool = True
    norm: Norm = "instance"
    activation: Activation = "leaky_relu"
    slope: float = LEAK

    def __post_init__(self) -> None:
        counts = {
            "blocks_per_stage": min(self.blocks_per_stage, default=0),
            "decoder_convolutions": self.decoder_convolutions,
        }
        check_counts(counts)
        self._layers()

    def build(self, topology: Topology, inputs: int, outputs: int) -> nn.Module:
        """From (batch, inputs, *patch) to logits (batch, outputs, *space), full resolution first.

        Weights are drawn from torch's global generator.
        """
        # Planning needs no torch, which takes two seconds to import.
        from nnseg_standard.networks.blocks import ConvolutionBlock, residual_stage
        from nnseg_standard.networks.unet import Encoder, build_unet

        first = topology.features[0]
        stages = (
            residual_stage(before, after, kernel, stride, blocks=blocks, layers=self._layers())
            for (before, after), kernel, stride, blocks in zip(
                pairwise((first, *topology.features)),
                topology.kernel_sizes,
                topology.strides,
                self._blocks(topology),
                strict=True,
            )
        )
        stem = ConvolutionBlock(inputs, first, topology.kernel_sizes[0], layers=self._layers())
        return build_unet(
            topology,
            Encoder(stages, stem),
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
        return residual_unet_memory(
            topology, self._blocks(topology), self.decoder_convolutions, outputs
        )

    def _blocks(self, topology: Topology) -> tuple[int, ...]:
        """Residual blocks, one entry per stage of ``topology``."""
        stages = len(topology.features)
        deeper = (self.blocks_per_stage[-1],) * stages
        return (*self.blocks_per_stage, *deeper)[:stages]
