"""The kinds of component: what users call them, the hook that offers them, what they must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nnseg_core import contracts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of component.

    ``name`` is used on the command line and in plans, ``plural`` in hooks and entry points
    (hook ``nnseg_losses``, entry-point group ``nnseg.losses``).
    """

    name: str
    plural: str
    contract: type

    @property
    def hook(self) -> str:
        """The hook that offers components of this kind."""
        return f"nnseg_{self.plural}"

    @property
    def group(self) -> str:
        """The entry-point group for a single component of this kind."""
        return f"nnseg.{self.plural}"


READER: Kind[contracts.Reader] = Kind("reader", "readers", contracts.Reader)
PLANNER: Kind[contracts.Planner] = Kind("planner", "planners", contracts.Planner)
PREPROCESSOR: Kind[contracts.Preprocessor] = Kind(
    "preprocessor", "preprocessors", contracts.Preprocessor
)
NORMALIZATION: Kind[contracts.Normalization] = Kind(
    "normalization", "normalizations", contracts.Normalization
)
ARCHITECTURE: Kind[contracts.Architecture] = Kind(
    "architecture", "architectures", contracts.Architecture
)
AUGMENTATION: Kind[contracts.Augmentation] = Kind(
    "augmentation", "augmentations", contracts.Augmentation
)
LOSS: Kind[contracts.Loss] = Kind("loss", "losses", contracts.Loss)
TRAINER: Kind[contracts.Trainer] = Kind("trainer", "trainers", contracts.Trainer)
CALLBACK: Kind[contracts.Callback] = Kind("callback", "callbacks", contracts.Callback)
PREDICTOR: Kind[contracts.Predictor] = Kind("predictor", "predictors", contracts.Predictor)
POSTPROCESSOR: Kind[contracts.Postprocessor] = Kind(
    "postprocessor", "postprocessors", contracts.Postprocessor
)

KINDS: tuple[Kind[Any], ...] = (
    READER,
    PLANNER,
    PREPROCESSOR,
    NORMALIZATION,
    ARCHITECTURE,
    AUGMENTATION,
    LOSS,
    TRAINER,
    CALLBACK,
    PREDICTOR,
    POSTPROCESSOR,
)
"""In the order in which data meets them."""
