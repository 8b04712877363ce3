"""The U-Net around any encoder: skip connections, a decoder, and a head per resolution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from nnseg_core.plan import Topology
from nnseg_standard.networks.blocks import (
    convolution,
    convolution_stage,
    initialise,
    upsampling,
)
from nnseg_standard.networks.options import Layers


class Encoder(nn.Module):
    """Stages in a row, from full resolution down; the stem comes before the first."""

    def __init__(self, stages: Iterable[nn.Module], stem: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = stem or nn.Identity()
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The features of every stage, full resolution first."""
        current = self.stem(image)
        features = []
        for stage in self.stages:
            current = stage(current)
            features.append(current)
        return features


class Decoder(nn.Module):
    """Upsamples stage by stage, joined each time by the encoder's features of that size.

    ``upsamplings`` and ``stages`` are in the order of use, from the lowest resolution up.
    """

    def __init__(self, upsamplings: Iterable[nn.Module], stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.upsamplings = nn.ModuleList(upsamplings)
        self.stages = nn.ModuleList(stages)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The output of every stage, full resolution first. Empties ``features`` on the way.

        Emptying lets the memory of a skip connection go as soon as it has been used.
        """
        current = features.pop()
        outputs = []
        for upsample, stage in zip(self.upsamplings, self.stages, strict=True):
            current = stage(torch.cat((upsample(current), features.pop()), dim=1))
            outputs.append(current)
        return outputs[::-1]


class UNet(nn.Module):
    """Encoder, decoder, and one head for each resolution that is supervised."""

    def __init__(self, encoder: Encoder, decoder: Decoder, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.heads = nn.ModuleList(heads)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(batch, inputs, *patch) to logits (batch, outputs, *space), full resolution first."""
        decoded = self.decoder(self.encoder(image))
        return [head(features) for head, features in zip(self.heads, decoded, strict=False)]

    def layers(self) -> list[tuple[str, ...]]:
        """The names of its modules by layer, from input to output."""
        stages = [(f"encoder.stages.{number}",) for number in range(len(self.encoder.stages))]
        levels = [
            (f"decoder.upsamplings.{number}", f"decoder.stages.{number}")
            for number in range(len(self.decoder.stages))
        ]
        stem = [("encoder.stem",)] if list(self.encoder.stem.parameters()) else []
        return [*stem, *stages, *levels, ("heads",)]


def build_unet(
    topology: Topology,
    encoder: Encoder,
    outputs: int,
    *,
    decoder_convolutions: int,
    deep_supervision: bool,
    layers: Layers,
) -> UNet:
    """Give ``encoder`` its decoder and heads, and all convolutions their first weights."""
    network = UNet(
        encoder,
        _decoder(topology, decoder_convolutions, layers),
        _heads(topology.features, outputs, len(topology.patch_size), deep_supervision),
    )
    initialise(network, layers)
    return network


def _decoder(topology: Topology, convolutions: int, layers: Layers) -> Decoder:
    """Each stage has the features and the kernel of the encoder's stage at its resolution."""
    ascending = list(pairwise(topology.features))[::-1]
    kernels = topology.kernel_sizes[-2::-1]
    return Decoder(
        (
            upsampling(below, here, stride)
            for (here, below), stride in zip(ascending, topology.strides[:0:-1], strict=True)
        ),
        (
            convolution_stage(
                2 * here, here, kernel, None, convolutions=convolutions, layers=layers
            )
            for (here, _), kernel in zip(ascending, kernels, strict=True)
        ),
    )


def _heads(
    features: Sequence[int], outputs: int, axes: int, deep_supervision: bool
) -> Iterable[nn.Module]:
    """Full resolution first; without deep supervision there is no other."""
    decoded = features[:-1] if deep_supervision else features[:1]
    return (convolution(size, outputs, (1,) * axes) for size in decoded)
