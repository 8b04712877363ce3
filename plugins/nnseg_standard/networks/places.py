"""Where a weight of a U-Net is, told in the same words for U-Nets of every depth.

The encoder counts its stages from full resolution down, the decoder from the bottom up: so the
decoder's are counted again, from full resolution down.
"""

from __future__ import annotations

import re

from nnseg_core.plan import Topology

_DECODER = re.compile(r"^decoder\.(upsamplings|stages)\.(\d+)\.")


def place_in_unet(weight: str, topology: Topology) -> str:
    """``decoder.stages.0.1.norm.bias`` of six stages is ``decoder.stages at level 4.1.norm.bias``.

    All other names stay as they are.
    """
    last = len(topology.features) - 2
    return _DECODER.sub(lambda m: f"decoder.{m[1]} at level {last - int(m[2])}.", weight)
