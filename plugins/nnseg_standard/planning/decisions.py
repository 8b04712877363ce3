"""What the planner decided and by which numbers: a plan with the record of its making."""

from __future__ import annotations

from dataclasses import dataclass

from nnseg_core.plan import Configuration, Plan
from nnseg_standard.planning.memory import Batch, Reference, Trial
from nnseg_standard.planning.mirroring import Mirroring
from nnseg_standard.planning.spacing import TargetSpacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """A configuration, the patches that were tried for it, and how its batch came about.

    ``patch_given`` says that the user chose the patch, so that it is the only trial.
    """

    configuration: Configuration
    reference: Reference
    trials: tuple[Trial, ...]
    batch: Batch
    patch_given: bool

    @property
    def chosen(self) -> Trial:
        """The trial that the configuration is made of."""
        return self.trials[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LowResolution:
    """The search for a coarser resolution: ``steps`` of it, none where full resolution will do.

    ``cover`` is the share of the median image in a patch at full resolution, ``low_cover`` at the
    resolution found. ``gain`` is by how many times that has fewer voxels; it is ``kept`` where
    they are few enough.
    """

    cover: float
    steps: int
    low_cover: float
    gain: float
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """A plan, and what decided it.

    ``target`` is what the dataset asks for, ``spacing`` (mm) what was taken: the same, or what the
    user gave. ``median_size`` is that of the images there, in voxels. All three are in the order
    of the files, (z, y, x). ``cases`` are those that count for the batch size. ``low`` is None
    where there are no 3D configurations. ``mirroring`` says whether labels name sides.
    """

    plan: Plan
    target: TargetSpacing
    spacing: tuple[float, ...]
    median_size: tuple[float, ...]
    cases: int
    sizings: dict[str, Sizing]
    low: LowResolution | None
    mirroring: Mirroring
